package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"systole/engine"
	"systole/engine/level"
	"systole/engine/recording"
)

// pingOptions are the flags of ping.
type pingOptions struct {
	nodeOptions
	count    uint64
	wait     time.Duration
	quiet    bool
	output   string
	levels   []string            // NAME=RAISE[:CLEAR[:STAY]]
	recorder *recording.Recorder // may be nil
}

// newPing returns the command that watches peers and prints.
func newPing(signals <-chan os.Signal) *cobra.Command {
	o := &pingOptions{}
	cmd := &cobra.Command{
		Use:   "ping TARGET...",
		Short: "watch peers and print what happens to them",
		Long: `ping sends heartbeats to each TARGET, ` + targets + `,
and prints each change of a peer's state with its cause, each event about this node itself, such as
a pause, and once a second what it measured.
Each target is a peer of its own, also where several lead to one process. It ends on SIGINT or SIGTERM, after -c heartbeats or -w time, with
a summary. SIGQUIT prints the summary so far and goes on.

A peer must run systole serve, or a program that links the engine. A quantile is printed
only when enough heartbeats stand behind it: 2 for p50, 100 for p99.

Exit status: 0 every peer was alive at the end; 1 a peer failed or was never heard;
2 wrong usage or an error of the system.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args, signals)
		},
	}
	o.registerWatch(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text, or json for JSON Lines")
	cmd.Flags().StringArrayVar(&o.levels, "level", nil, "NAME=RAISE[:CLEAR[:STAY]]: print when a peer's suspicion reaches RAISE and falls to CLEAR again, after STAY at least, with its unit; may be repeated, from the lowest on")
	return cmd
}

// registerWatch adds the flags of a run that watches.
func (o *pingOptions) registerWatch(cmd *cobra.Command) {
	o.register(cmd)
	f := cmd.Flags()
	f.Uint64VarP(&o.count, "count", "c", 0, "end after this many heartbeats to each peer; 0 is no end")
	f.DurationVarP(&o.wait, "wait", "w", 0, "end after this time, with its unit; 0 is no end")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the summary only")
}

// defaultPort is the port of serve and of targets that name none.
const defaultPort = "7373"

// run watches the targets until it is to end, and prints.
func (o *pingOptions) run(cmd *cobra.Command, args []string, signals <-chan os.Signal) error {
	out, err := newPrinter(o.output, cmd.OutOrStdout(), o.quiet)
	if err != nil {
		return err
	}
	if o.wait < 0 {
		return fmt.Errorf("--wait %v: must not be negative", o.wait)
	}
	levels, err := parseLevels(o.levels)
	if err != nil {
		return err
	}
	least := slog.LevelError
	if o.keys != "" {
		least = slog.LevelWarn // heartbeats with a wrong key are worth a line; that there is no key is not
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: least}))
	cfg, err := o.config(log)
	if err != nil {
		return err
	}
	cfg.Window = pingWindow
	cfg.Accept = engine.Accept{}
	cfg.Recorder = o.recorder
	e, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // Shutdown has closed it before, unless there was an error
	events := e.Subscribe()
	w := &watch{engine: e, out: out, recorder: o.recorder, started: time.Now()}
	for _, target := range args {
		if err := w.add(target, &o.pathOptions); err != nil {
			return err
		}
	}
	w.follow(o, events, signals, levels)
	w.collect()
	out.summary(w)
	alive := w.allAlive() // after Shutdown no peer is watched
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		return err
	}
	if !alive {
		return errPeer
	}
	return nil
}

const (
	// pingWindow is how many heartbeats a peer's window holds: more than come between
	// two collections at the shortest period.
	pingWindow = 1024
	// goodbyeTimeout bounds the goodbyes at the end.
	goodbyeTimeout = time.Second
	// collectEvery is how often windows are read.
	collectEvery = 100 * time.Millisecond
	reportEvery  = time.Second
)

// watch is the peers that ping watches.
type watch struct {
	engine   *engine.Engine
	out      printer
	recorder *recording.Recorder // may be nil
	peers    []*watched
	started  time.Time
}

// add begins to watch a target as the user wrote it.
func (w *watch) add(target string, path *pathOptions) error {
	c, full, err := path.peer(target)
	if err != nil {
		return err
	}
	p, err := w.engine.AddPeer(c)
	if err != nil {
		return fmt.Errorf("target %q: %w", target, err)
	}
	w.peers = append(w.peers, newWatched(full, p))
	return nil
}

// follow prints events and reports until it is time to end.
func (w *watch) follow(o *pingOptions, events *engine.Subscription, signals <-chan os.Signal, levels level.List) {
	ctx, cancel := context.WithCancel(context.Background())
	defer events.Close()
	events.OnNode = func(ev engine.NodeEvent) { w.out.node(w, &ev) }
	changes := interpret(ctx, w.engine, levels)
	defer cancel()
	collect, report := time.NewTicker(collectEvery), time.NewTicker(reportEvery)
	defer collect.Stop()
	defer report.Stop()
	var end <-chan time.Time
	if o.wait > 0 {
		end = time.After(o.wait)
	}
	for {
		select {
		case <-events.Wake():
			w.printEvents(events)
		case ev := <-changes:
			w.out.level(w, &ev)
		case <-collect.C:
			w.collect()
			if o.count > 0 && w.sentAll(o.count) || w.recorder != nil && w.recorder.Err() != nil {
				return
			}
		case <-report.C:
			w.out.report(w)
		case sig := <-signals:
			if sig != syscall.SIGQUIT {
				return
			}
			w.collect()
			w.out.interim(w)
		case <-end:
			return
		}
	}
}

// printEvents prints the transitions, and the events about this node, that have happened.
func (w *watch) printEvents(events *engine.Subscription) {
	for {
		ev, ok := events.TryNext()
		if !ok {
			return
		}
		if ev.Cause != engine.NoCause && ev.Cause != engine.Added {
			w.out.event(w, &ev)
		}
	}
}

// name returns the peer as the user wrote it.
func (w *watch) name(peer engine.Peer) string {
	for _, p := range w.peers {
		if p.peer == peer {
			return p.name
		}
	}
	return thisNode
}

// thisNode is the peer of lines about this node.
const thisNode = "this node"

// collect reads the windows of all peers, and tells the recorder who a new id is.
func (w *watch) collect() {
	for _, p := range w.peers {
		p.collect()
		if id := p.peer.ID(); w.recorder != nil && id != p.recorded {
			p.recorded = id
			w.recorder.Name(id, p.name)
		}
	}
}

// sentAll reports whether n heartbeats to every peer are over, be it that the kernel refused
// them, and the peer has had the time to answer the last.
func (w *watch) sentAll(n uint64) bool {
	for _, p := range w.peers {
		s := p.peer.Stats()
		if over := s.Sent + s.Missed; over < n || s.Received < n && s.State != engine.Failed && over < n+graceHeartbeats {
			return false
		}
	}
	return true
}

// graceHeartbeats is how many heartbeats more than asked for are sent while answers are
// still missing.
const graceHeartbeats = 3

// allAlive reports whether every peer is alive now.
func (w *watch) allAlive() bool {
	for _, p := range w.peers {
		if p.peer.State() != engine.Alive {
			return false
		}
	}
	return true
}

var errOutput = errors.New("--output: want text or json")
