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
	report   time.Duration
	output   string
	levels   []string            // see parseLevels
	recorder *recording.Recorder // may be nil
}

// newPing returns the command that watches peers.
func newPing(p *process) *cobra.Command {
	o := &pingOptions{}
	cmd := &cobra.Command{
		Use:   "ping TARGET...",
		Short: "watch peers and print their states",
		Long: `ping exchanges heartbeats with each TARGET. A peer runs systole serve, or a program that
links the engine. TARGET is ` + targets + `: a name or an address, port ` + defaultPort + ` by default, and
the id that the peer must have, if any. Each target is a peer of its own, even if several lead
to one process.

ping prints each change of a peer's state with its cause, each event about this node, such as
a pause, and the figures of each peer once a second (--report). It ends with a summary on SIGINT or
SIGTERM, after -c heartbeats, or after the time -w. SIGQUIT prints the summary so far.
A peer that -c heartbeats were sent to gets a goodbye. One that cannot be sent so many, because
its name does not resolve or it has failed, is given up 3s after they were due.

Figures: sent counts heartbeats that the kernel accepted. Each side sends at its own period, so
sent and received may differ. Lost out are those that the peer did not receive, as it says;
unanswered are those that were sent while no process was there to say so. Lost in are those of
the peer that this node did not receive. Down is from the last heartbeat until the peer is heard again;
a suspicion that the next heartbeat refuted does not count as such, it was wrong. A quantile needs
enough heartbeats: 2 for p50, 100 for p99.

Exit status: 0 every peer is alive at the end; 1 a peer is not; 2 wrong usage or an error
of the system; 141 the reader of the output has closed its pipe.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args, p)
		},
	}
	o.registerWatch(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", formatHelp)
	cmd.Flags().StringArrayVar(&o.levels, "level", nil, "level `NAME=RAISE[:CLEAR[:STAY]]`: print when the suspicion of a peer reaches RAISE, and when it is back at CLEAR (default RAISE) after at least STAY (default 0s); may be repeated, the lowest level first")
	return cmd
}

// registerWatch adds the flags that ping and record share.
func (o *pingOptions) registerWatch(cmd *cobra.Command) {
	o.register(cmd)
	f := cmd.Flags()
	f.Uint64VarP(&o.count, "count", "c", 0, "send this many heartbeats to each peer, at least 3, which a first contact takes, then end; 0 means no end")
	f.DurationVarP(&o.wait, "wait", "w", 0, "end after this time; 0 means no end")
	f.DurationVar(&o.report, "report", time.Second, "time between two lines of figures of each peer; 0 means none")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the summary only")
}

// run watches the targets until the end, and prints.
func (o *pingOptions) run(cmd *cobra.Command, args []string, p *process) (err error) {
	out, err := newPrinter(o.output, cmd.OutOrStdout(), o.quiet)
	if err != nil {
		return err
	}
	if o.wait < 0 || o.report < 0 {
		return fmt.Errorf("--wait %v, --report %v: must not be negative", o.wait, o.report)
	}
	levels, err := parseLevels(o.levels)
	if err != nil {
		return err
	}
	least := slog.LevelError
	if o.keys != "" {
		least = slog.LevelWarn // for refused heartbeats
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: least}))
	cfg, err := o.config(log)
	if err != nil {
		return err
	}
	cfg.Window = pingWindow
	cfg.Recorder = o.recorder
	stamps, err := o.open(&cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stamps.close()) }()
	e, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // for errors: otherwise Shutdown has closed e
	events := e.Subscribe()
	w := &watch{engine: e, stamps: stamps, out: out, recorder: o.recorder, started: time.Now()}
	for _, target := range args {
		if err := w.add(target, &o.pathOptions); err != nil {
			return err
		}
	}
	if err := stamps.started(e); err != nil {
		return err
	}
	w.follow(o, events, p, levels)
	w.collect()
	w.settle()
	out.summary(w)
	alive := w.allAlive() // before Shutdown, which ends all peers
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
	// pingWindow is the number of heartbeats in a peer's window: more than arrive between two
	// collections at the shortest period.
	pingWindow = 1024
	// collectEvery is the time between two readings of all windows.
	collectEvery = 100 * time.Millisecond
	// goodbyeTimeout bounds the shutdown.
	goodbyeTimeout = time.Second
)

// watch is a run of ping or record.
type watch struct {
	engine   *engine.Engine
	stamps   *stamping
	out      printer
	recorder *recording.Recorder // may be nil
	peers    []*watched
	pauses   pauses
	started  time.Time
}

// add begins to watch a target.
func (w *watch) add(target string, path *pathOptions) error {
	c, full, err := path.peer(target)
	if err != nil {
		return err
	}
	p, err := w.engine.AddPeer(c)
	if err != nil {
		return fmt.Errorf("target %q: %w", target, err)
	}
	w.peers = append(w.peers, newWatched(full, p, w.engine.Grid()))
	return nil
}

// follow prints events and reports until the end: a signal, o.wait or o.count, a closed pipe, or an error
// of the recorder.
func (w *watch) follow(o *pingOptions, events *engine.Subscription, p *process, levels level.List) {
	ctx, cancel := context.WithCancel(context.Background())
	defer events.Close()
	events.OnNode = func(ev engine.NodeEvent) {
		w.pauses.take(&ev)
		w.out.node(w, &ev)
	}
	changes := interpret(ctx, w.engine, levels)
	defer cancel()
	collect := time.NewTicker(o.pollEvery())
	defer collect.Stop()
	var report, end <-chan time.Time
	if o.report > 0 {
		ticker := time.NewTicker(o.report)
		defer ticker.Stop()
		report = ticker.C
	}
	if o.wait > 0 {
		end = time.After(o.wait)
	}
	for {
		// First, because others may be ready all the time.
		if sig, ok := p.next(); ok && w.ends(sig, p) {
			return
		}
		select {
		case <-events.Wake():
			w.printEvents(events)
		case ev := <-changes:
			w.out.level(w, &ev)
		case <-collect.C:
			w.collect()
			if o.count > 0 && w.stop(o.count, o.period()) || w.recorder != nil && w.recorder.Err() != nil {
				return
			}
		case <-report:
			w.out.report(w)
		case sig := <-p.signals:
			if w.ends(sig, p) {
				return
			}
		case <-p.closed:
			return
		case <-end:
			return
		}
	}
}

// ends handles a signal and reports whether it ends the watch.
func (w *watch) ends(sig os.Signal, p *process) bool {
	if sig != syscall.SIGQUIT {
		p.ending.Store(true)
		return true
	}
	w.collect()
	w.out.interim(w)
	return false
}

// printEvents prints the events in the subscription.
func (w *watch) printEvents(events *engine.Subscription) {
	for {
		ev, ok := events.TryNext()
		if !ok {
			return
		}
		switch ev.Cause {
		case engine.NoCause, engine.Added, engine.ByCaller:
			continue
		}
		w.out.event(w, &ev)
		if p := w.find(ev.Peer); p != nil {
			p.history.take(&ev)
		}
	}
}

// find returns the watched peer, nil for the zero Peer.
func (w *watch) find(peer engine.Peer) *watched {
	for _, p := range w.peers {
		if p.peer == peer {
			return p
		}
	}
	return nil
}

// name returns the peer's target.
func (w *watch) name(peer engine.Peer) string {
	if p := w.find(peer); p != nil {
		return p.name
	}
	return thisNode
}

// thisNode is the name in lines about this node.
const thisNode = "this node"

// collect reads the windows of all peers, and records the names of new ids.
func (w *watch) collect() {
	for _, p := range w.peers {
		if p.final != nil {
			continue
		}
		p.collect()
		if id := p.peer.ID(); w.recorder != nil && id != p.recorded {
			p.recorded = id
			w.recorder.Name(id, p.name)
		}
	}
}

// settle counts the last heartbeats of all peers, whose waits in the peers' hosts will not be told any more.
func (w *watch) settle() {
	for _, p := range w.peers {
		p.delays.Flush()
	}
}

// allAlive reports whether every peer is alive now.
func (w *watch) allAlive() bool {
	for _, p := range w.peers {
		if p.stats().State != engine.Alive {
			return false
		}
	}
	return true
}

// formatHelp describes -o. It is the format in every command; -f is a file to write.
const formatHelp = "output format: text, or json for JSON Lines"

var errOutput = errors.New("--output: want text or json")
