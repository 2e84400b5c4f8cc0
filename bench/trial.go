package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// trial is two ends that watch each other over a link that loses datagrams. Both live for a while;
// then SIGSTOP stops one end between two instructions, a crash that no port reports. A new end takes
// its place, and so on.
type trial struct {
	subcommand string     // of both ends: exchange or group
	end        endOptions // but for the addresses and the side
	loss       int        // per cent, each way
	duration   time.Duration
	rounds     int // and crashes; each round takes its share of duration
}

// outcome is the result of a trial.
type outcome struct {
	tally      // of both ends
	detections // of the end that lives
}

const (
	// settleTime is how long ends run before the counting.
	settleTime = time.Second
	// silentTime is how long a trial waits after a crash: many times the longest detection time.
	silentTime = time.Second
	// endPriority is the SCHED_FIFO priority of ends, so that mistakes are due to the network and not
	// to other processes on this machine.
	endPriority = 10
)

// endOptions are the options of the subcommands exchange and group.
type endOptions struct {
	Local, Remote netip.AddrPort // IPv4; further engines of a group use the ports after these
	Side          int            // 0 or 1; of a group
	Count         int            // nodes or engines
	Period        time.Duration  // of heartbeats or requests
	Detectors     string         // key of detectorSets or groupDetectors
	Delay         time.Duration  // added to every arrival; of an exchange
	TwoPhases     bool           // of an exchange
}

// decode decodes the options of an end.
func (o *endOptions) decode(options string) error {
	if err := decodeOptions(options, o); err != nil {
		return err
	}
	if !o.Local.Addr().Is4() || !o.Remote.Addr().Is4() {
		return errors.New("options Local and Remote must be IPv4 addresses with ports")
	}
	if o.Count < 1 || o.Period <= 0 || o.Side != 0 && o.Side != 1 {
		return errors.New("option Count must be at least 1, Period above 0, Side 0 or 1")
	}
	return nil
}

// end is one end of a trial, as its process uses it.
type end interface {
	heardAll() bool                            // all peers are heard
	start()                                    // starts to count anew
	count() tally                              // since start
	detections(crash clock.Instant) detections // of a crash of the other end
}

// serveEnd serves the commands of an end's parent.
func serveEnd(e end) error { return endCommands(e).serve(os.Stdin, os.Stdout) }

// endCommands returns the commands of an end.
func endCommands(e end) commands {
	return commands{
		"await": func(string) (any, error) { return await(e), nil },
		"start": func(string) (any, error) {
			e.start()
			return nil, nil
		},
		"count": func(string) (any, error) { return e.count(), nil },
		"detections": func(arg string) (any, error) {
			crash, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("the instant of the crash: %w", err)
			}
			return e.detections(clock.Instant(crash)), nil
		},
	}
}

// await waits until e hears all peers, and reports whether it does.
func await(e end) bool {
	const timeout, step = 30 * time.Second, 20 * time.Millisecond
	for range timeout / step {
		if e.heardAll() {
			return true
		}
		time.Sleep(step)
	}
	return false
}

// run runs the trial in a lab of its own.
func (t *trial) run(ctx context.Context) (o outcome, err error) {
	lab, err := netlab.New()
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := errors.Join(lab.A.DropIn(t.loss), lab.B.DropIn(t.loss)); err != nil {
		return o, err
	}
	a, err := t.startEnd(ctx, lab.A, lab.B, 0)
	if err != nil {
		return o, err
	}
	defer a.kill()
	for range t.rounds {
		if err := t.round(ctx, lab, a, &o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// startEnd starts the end on a host.
func (t *trial) startEnd(ctx context.Context, here, there *netlab.Host, side int) (*child, error) {
	o := t.end
	o.Local, o.Remote, o.Side = hostAddr(here), hostAddr(there), side
	return startChild(ctx, here, t.subcommand, o)
}

// round starts the other end, counts while both live, and stops it.
func (t *trial) round(ctx context.Context, lab *netlab.Lab, a *child, o *outcome) error {
	b, err := t.startEnd(ctx, lab.B, lab.A, 1)
	if err != nil {
		return err
	}
	defer b.kill()
	if err := t.count(ctx, a, b, &o.tally); err != nil {
		return err
	}
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	crash := clock.Now()
	if err := sleep(ctx, silentTime); err != nil {
		return err
	}
	var d detections
	if err := a.ask(ctx, fmt.Sprintf("detections %d", crash), &d); err != nil {
		return err
	}
	o.detections.add(d)
	return nil
}

// count waits until both ends hear each other, then adds a round's counts of both to sum.
func (t *trial) count(ctx context.Context, a, b *child, sum *tally) error {
	var aHears, bHears bool
	if err := errors.Join(a.ask(ctx, "await", &aHears), b.ask(ctx, "await", &bHears)); err != nil {
		return err
	}
	if !aHears || !bHears {
		return errors.New("the ends do not hear each other")
	}
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	var void any
	if err := errors.Join(a.ask(ctx, "start", &void), b.ask(ctx, "start", &void)); err != nil {
		return err
	}
	if err := sleep(ctx, t.duration/time.Duration(t.rounds)); err != nil {
		return err
	}
	var ours, theirs tally
	if err := errors.Join(a.ask(ctx, "count", &ours), b.ask(ctx, "count", &theirs)); err != nil {
		return err
	}
	sum.add(&ours)
	sum.add(&theirs)
	return nil
}
