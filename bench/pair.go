package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netlab"
)

// pairing is a node with its population, each on a host of its own.
type pairing struct {
	peers            int
	period           time.Duration // of the node's heartbeats
	theirs           time.Duration // of each peer's; 0: the same
	class            engine.SchedClass
	priority         int
	spin, procs      int
	pinned           bool          // the node to the first CPU, the population to the last
	detector         string        // of the node, as detect.Parse reads it; empty: the engine's default
	warm             time.Duration // from when both ends are in touch until the counting
	lab              *netlab.Lab
	node, population *child
}

// child is this program, run as one end.
type child struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// startTimeout is how long an end may take until it is ready, and to report.
const startTimeout = 60 * time.Second

// start starts both ends and returns when they are in touch.
func (p *pairing) start(ctx context.Context) error {
	nodeAddr, peersAddr := address(p.lab.A), address(p.lab.B)
	first, last := -1, -1
	if p.pinned {
		first, last = 0, lastCPU()
	}
	if p.theirs == 0 {
		p.theirs = p.period
	}
	var err error
	p.population, err = startChild(ctx, p.lab.B, "population", "-local", peersAddr, "-target", nodeAddr,
		"-count", strconv.Itoa(p.peers), "-period", p.theirs.String(), "-cpu", strconv.Itoa(last),
		"-class", strconv.Itoa(int(p.class)), "-priority", strconv.Itoa(p.priority))
	if err != nil {
		return err
	}
	p.node, err = startChild(ctx, p.lab.A, "node", "-local", nodeAddr, "-peers", peersAddr,
		"-count", strconv.Itoa(p.peers), "-period", p.period.String(), "-cpu", strconv.Itoa(first),
		"-class", strconv.Itoa(int(p.class)), "-priority", strconv.Itoa(p.priority),
		"-spin", strconv.Itoa(p.spin), "-procs", strconv.Itoa(p.procs),
		"-detector", p.detector)
	return err
}

// address is where an end listens.
func address(h *netlab.Host) string {
	return netip.AddrPortFrom(netip.MustParseAddr(h.Addr), benchPort).String()
}

// stop ends both.
func (p *pairing) stop() {
	for _, c := range []*child{p.node, p.population} {
		if c != nil {
			_ = c.cmd.Process.Kill() // it may have ended
			_ = c.cmd.Wait()         // says that it was killed
		}
	}
}

// measure counts for d, while meanwhile runs if it is not nil.
func (p *pairing) measure(ctx context.Context, d time.Duration, meanwhile func(context.Context) error) (n counted, q peopled, err error) {
	for _, c := range []*child{p.population, p.node} {
		if _, err := fmt.Fprintln(c.in, "begin"); err != nil {
			return n, q, err
		}
	}
	if meanwhile == nil {
		meanwhile = func(ctx context.Context) error { return sleep(ctx, d) }
	}
	if err := meanwhile(ctx); err != nil {
		return n, q, err
	}
	return n, q, errors.Join(p.node.report(&n), p.population.report(&q))
}

// run measures one pairing from start to end in a lab of its own.
func (p *pairing) run(ctx context.Context, d time.Duration, busy int) (n counted, q peopled, err error) {
	if p.lab, err = netlab.New(); err != nil {
		return n, q, err
	}
	defer func() { err = errors.Join(err, p.lab.Close()) }()
	defer p.stop()
	if err := p.start(ctx); err != nil {
		return n, q, err
	}
	if busy > 0 {
		stop, err := startBusy(busy)
		if err != nil {
			return n, q, err
		}
		defer func() { _ = stop() }() // they die with this program
	}
	if err := sleep(ctx, max(p.warm, time.Second)); err != nil {
		return n, q, err
	}
	return p.measure(ctx, d, nil)
}

// startChild starts this program as one end on a host and waits until it is ready.
func startChild(ctx context.Context, h *netlab.Host, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: h.Command(self, args...)}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := c.line(ctx)
	if err != nil || line != "ready\n" {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		return nil, fmt.Errorf("%s did not become ready: %q: %w", args[0], line, errors.Join(err, ctx.Err()))
	}
	return c, nil
}

// line reads a line that the end prints, which it must within startTimeout.
func (c *child) line(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	defer stop()
	return c.out.ReadString('\n')
}

// report ends the counting and reads what was counted.
func (c *child) report(to any) error {
	if _, err := fmt.Fprintln(c.in, "end"); err != nil {
		return err
	}
	line, err := c.line(context.Background())
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), to)
}
