package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// A trial is two ends that watch each other over a link that loses datagrams. One end is
// let live for a while, then the other is stopped between two instructions (SIGSTOP), which
// is a crash that no port reports; a new one takes its place, and so on.

// end is one of them, as its parent asks it.
type end interface {
	met() bool // it hears all its peers
	start()
	count() tally
	found(crash clock.Instant) findings
}

// answer obeys the parent: each line asks for a line of JSON, until there are no more.
func answer(e end) error {
	fmt.Println("ready")
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var reply any
		switch name, arg := commandFields(in.Text()); name {
		case "meet":
			reply = meet(e)
		case "start":
			e.start()
		case "count":
			reply = e.count()
		case "found":
			crash, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				return err
			}
			reply = e.found(clock.Instant(crash))
		default:
			return fmt.Errorf("no command %q", name)
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
	}
	return io.ErrUnexpectedEOF
}

// meet waits until e has met its peers, and reports whether it did.
func meet(e end) bool {
	const timeout, step = 30 * time.Second, 20 * time.Millisecond
	for range timeout / step {
		if e.met() {
			return true
		}
		time.Sleep(step)
	}
	return false
}

// ask sends an end a command and reads its reply.
func (c *child) ask(ctx context.Context, command string, reply any) error {
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return err
	}
	line, err := c.line(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", command, errors.Join(err, ctx.Err()))
	}
	return json.Unmarshal([]byte(line), reply)
}

// trial is one case.
type trial struct {
	kind     string // the ends' program
	args     []string
	judges   int // detectors per end
	loss     int // per cent, each way
	duration time.Duration
	rounds   int // and crashes
}

// outcome is what came of it.
type outcome struct {
	tally    // of both ends
	findings // of the one that lived
}

const (
	// settleTime is how long ends may settle before they are counted.
	settleTime = time.Second
	// silentTime is how long a crash is watched: many times what detection may take.
	silentTime = time.Second
)

// run measures in a lab of its own.
func (t *trial) run(ctx context.Context) (o outcome, err error) {
	lab, err := netlab.New()
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := errors.Join(lab.A.DropIn(t.loss), lab.B.DropIn(t.loss)); err != nil {
		return o, err
	}
	o.findings = newFindings(t.judges)
	a, err := t.start(ctx, lab.A, lab.B, 0)
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

// start starts the end on a host.
func (t *trial) start(ctx context.Context, here, there *netlab.Host, side int) (*child, error) {
	args := append([]string{t.kind, "-local", address(here), "-remote", address(there)}, t.args...)
	if t.kind == "group" {
		args = append(args, "-side", strconv.Itoa(side))
	}
	return startChild(ctx, here, args...)
}

// kill ends it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.cmd.Wait()         // says that it was killed
}

// round starts the other end, counts, and lets it crash.
func (t *trial) round(ctx context.Context, lab *netlab.Lab, a *child, o *outcome) error {
	b, err := t.start(ctx, lab.B, lab.A, 1)
	if err != nil {
		return err
	}
	defer b.kill()
	var both [2]bool
	if err := errors.Join(a.ask(ctx, "meet", &both[0]), b.ask(ctx, "meet", &both[1])); err != nil {
		return err
	}
	if !both[0] || !both[1] {
		return errors.New("the ends did not meet")
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
	var mine, theirs tally
	if err := errors.Join(a.ask(ctx, "count", &mine), b.ask(ctx, "count", &theirs)); err != nil {
		return err
	}
	o.tally.add(&mine)
	o.tally.add(&theirs)
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	crash := clock.Now()
	if err := sleep(ctx, silentTime); err != nil {
		return err
	}
	var f findings
	if err := a.ask(ctx, fmt.Sprintf("found %d", crash), &f); err != nil {
		return err
	}
	o.findings.add(f)
	return nil
}
