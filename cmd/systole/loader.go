package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"github.com/spf13/cobra"

	"systole/bpf"
)

// loaderOptions are the flags of loader.
type loaderOptions struct {
	hookOptions
	socket string
	absorb bool
	peers  int
}

// newLoader returns the command that loads programs for processes without privileges.
func newLoader(p *process) *cobra.Command {
	o := &loaderOptions{}
	cmd := &cobra.Command{
		Use:   "loader --socket PATH",
		Short: "load the programs that stamp heartbeats, for processes without privileges",
		Long: `loader loads and attaches the BPF programs that stamp heartbeats, for each process that connects
to its Unix socket: systole ping, serve and record with --stamps-from, and programs that call
bpf.Dial. Such a process needs no capability. Its programs end with its connection, and all
of them with the loader.

Who may connect may have heartbeats stamped and, with --absorb, taken: the socket is open to the
user and the group of the loader only, mode 0660. chgrp(1) gives it to another group.

loader needs CAP_BPF, CAP_NET_ADMIN and, for hand-offs, CAP_PERFMON. SIGINT and SIGTERM end it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, p) },
	}
	f := cmd.Flags()
	f.StringVar(&o.socket, "socket", "", "`PATH` of the Unix socket, which must not exist")
	f.BoolVar(&o.absorb, "absorb", false, "let processes have their heartbeats taken, with --stamps absorb")
	f.IntVar(&o.peers, "peers", leastSlots, "greatest number of peers of a process, up to 1048576")
	o.registerHooks(cmd)
	if err := cmd.MarkFlagRequired("socket"); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

// run serves until a signal ends it.
func (o *loaderOptions) run(cmd *cobra.Command, p *process) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	options := bpf.Options{Absorb: o.absorb, Peers: o.peers, Interfaces: o.interfaces, XDP: o.xdp, Logger: log}
	if err := options.Validate(); err != nil {
		return err
	}
	l, err := o.listen()
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // removes the socket
	fmt.Fprintf(cmd.OutOrStdout(), "serving on %s\n", o.socket)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		for {
			select {
			case sig := <-p.signals:
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					p.ending.Store(true)
					return
				}
			case <-p.closed:
				return
			}
		}
	}()
	err = bpf.Serve(ctx, l, options)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen makes the socket, which only the user and the group may connect to from the beginning.
func (o *loaderOptions) listen() (*net.UnixListener, error) {
	before := syscall.Umask(0o117)
	defer syscall.Umask(before)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: o.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	return l, nil
}
