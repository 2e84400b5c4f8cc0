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
	"systole/wire"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	nodeOptions
	perSecond int
	max       int
	peers     []string
	closed    bool
	slowest   time.Duration
	fastest   time.Duration
}

// newServe returns the command that answers heartbeats.
func newServe(p *process) *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "answer heartbeats",
		Long: `serve answers the heartbeats of every node; with --keys of nodes with a key, with --closed
of the given peers only. By default it listens on port ` + defaultPort + ` of all addresses. It logs
transitions and events about this node to the standard error.

SIGINT and SIGTERM end it, with a goodbye to all peers. SIGQUIT prints each
peer and its figures to the standard error. SIGHUP
reads the file of --keys again; if that is faulty, the keys stay as they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, p)
		},
	}
	o.register(cmd)
	f := cmd.Flags()
	f.IntVar(&o.perSecond, "admit-rate", 100, "greatest number of strangers (senders other than --peer) admitted per second, up to 1000000")
	f.IntVar(&o.max, "admit-max", 1024, "greatest number of strangers watched at a time")
	f.StringSliceVar(&o.peers, "peer", nil, "peer to watch: `"+targets+"`, as for ping; may be repeated")
	f.BoolVar(&o.closed, "closed", false, "admit no strangers")
	f.DurationVar(&o.fastest, "admit-period", 10*time.Millisecond, "shortest period of heartbeats to strangers, from 1ms to 1m; a stranger with a longer period gets heartbeats at its own")
	f.DurationVar(&o.slowest, "accept-period", 0, "shortest period at which peers are asked to send, up to 1m; 0 means no limit")
	return cmd
}

// run serves until a signal ends it.
func (o *serveOptions) run(cmd *cobra.Command, p *process) (err error) {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	cfg, err := o.config(log)
	if err != nil {
		return err
	}
	cfg.MinReceivePeriod = o.slowest
	cfg.Accept = engine.Accept{Anyone: !o.closed, PerSecond: o.perSecond, Max: o.max, MinPeriod: o.fastest}
	if len(cfg.Listen) == 0 {
		cfg.Listen = anyAddress(defaultPortNumber, log)
	}
	if len(o.peers) == 0 && cmd.Flags().Changed("peer") {
		return errors.New(`--peer "": no target is given`) // an unset variable of a script
	}
	peers := make([]engine.PeerConfig, len(o.peers))
	for i, target := range o.peers {
		if peers[i], _, err = o.peer(target); err != nil {
			return fmt.Errorf("--peer %w", err)
		}
	}
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
	events := e.Subscribe()          // before the first peer, whose contact may take less than a millisecond
	defer events.Close()
	for i, c := range peers {
		if _, err := e.AddPeer(c); err != nil {
			return fmt.Errorf("--peer %q: %w", o.peers[i], err)
		}
	}
	if err := stamps.started(e); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "serving on %v, id %016x\n", e.Addrs(), e.ID())
	log.Info("stamps", "tier", stamps.report().Tier, "reason", stamps.report().Reason)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go logEvents(ctx, events, log)
	o.handle(cmd, e, stamps, log, p)
	cancel()
	goodbye, done := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer done()
	return e.Shutdown(goodbye)
}

// handle handles signals until one ends the server, or a closed pipe does.
func (o *serveOptions) handle(cmd *cobra.Command, e *engine.Engine, stamps *stamping, log *slog.Logger, p *process) {
	for {
		var sig os.Signal
		select {
		case sig = <-p.signals:
		case <-p.closed:
			return
		}
		switch sig {
		case syscall.SIGQUIT:
			fmt.Fprint(cmd.ErrOrStderr(), status(e, stamps.report()))
		case syscall.SIGHUP:
			if err := o.reloadKeys(e); err != nil {
				log.Error("keys not read; the old ones stay in use", "error", err)
			} else {
				log.Info("keys read anew")
			}
		default:
			p.ending.Store(true)
			return
		}
	}
}

// reloadKeys reads the file of --keys again.
func (o *serveOptions) reloadKeys(e *engine.Engine) error {
	if o.keys == "" {
		return errors.New("no --keys")
	}
	ring, err := wire.LoadKeyRing(o.keys)
	if err != nil {
		return err
	}
	return e.SetKeys(ring)
}

// logEvents logs transitions and events about this node until ctx ends.
func logEvents(ctx context.Context, events *engine.Subscription, log *slog.Logger) {
	events.OnNode = func(ev engine.NodeEvent) { logNode(log, &ev) }
	for {
		ev, err := events.Next(ctx)
		if err != nil {
			return
		}
		if ev.Cause == engine.NoCause || ev.Cause == engine.Added {
			continue
		}
		log.Info("transition", transition(&ev)...)
	}
}

// transition returns the attributes of an event: whom people know first.
func transition(ev *engine.Event) []any {
	var args []any
	if name := ev.Peer.Name(); name != "" {
		args = append(args, "name", name)
	}
	if addr := addrText(ev.Peer); addr != "" {
		args = append(args, "addr", addr)
	}
	if ev.ID != 0 {
		args = append(args, "id", shortID(ev.ID))
	}
	args = append(args, "from", ev.From, "to", ev.To, "cause", ev.Cause)
	if ev.To == engine.Suspect || ev.To == engine.Failed {
		args = append(args, "silence", ev.Silence, "lag", ev.Lag)
	}
	return args
}

// logNode logs an event about this node.
func logNode(log *slog.Logger, ev *engine.NodeEvent) {
	args := []any{"cause", ev.Cause}
	if ev.Cause == engine.LocalPause {
		args = append(args, "pause", ev.Pause)
	}
	if ev.Cause == engine.IDCollision {
		args = append(args, "id", shortID(ev.ID), "incarnation", ev.Incarnation)
	}
	for i, p := range ev.Others {
		if !p.IsZero() {
			args = append(args, slog.Group([]string{"one", "other"}[i], "addr", addrText(p), "incarnation", p.Stats().Incarnation))
		}
	}
	log.Warn("this node", args...)
}
