package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"systole/engine/enginetest/netlab"
)

//go:embed floor/floor.c
var floorSource []byte

// The floor sends to as many destinations as an engine has peers. All addresses of a destination's
// network belong to the other host.
const (
	destinations = 4096
	towardsA     = "10.81.0.0"
	towardsB     = "10.80.0.0"
	routed       = "/20" // 4096 addresses
)

// floorCase is one measurement of two processes: host A sends, host B receives.
type floorCase struct {
	name string
	size int // of a datagram, bytes
	rate int // datagrams per second; 0: without pause
	tick int // µs
	back int // datagrams per second that B sends
}

// The sizes are those of a heartbeat without and with a tag. The rate is that of 4096 peers at 10 Hz,
// and the tick that of the engine.
var floorCases = []floorCase{
	{"136 bytes, as fast as it goes", 136, 0, 1000, 0},
	{"152 bytes, as fast as it goes", 152, 0, 1000, 0},
	{"136 bytes, 40960/s on a 4 ms tick", 136, 40960, 4000, 0},
	{"136 bytes, 40960/s each way in one loop", 136, 40960, 4000, 40960},
}

// floorCounts are what the floor program prints.
type floorCounts struct {
	Sent     float64 `json:"sent"`
	Received float64 `json:"received"`
	Failed   float64 `json:"failed"`
	Dropped  float64 `json:"dropped"`
	Calls    float64 `json:"calls"`
	User     float64 `json:"user_ns"`
	System   float64 `json:"system_ns"`
	Wall     float64 `json:"wall_ns"`
}

// perDatagram is the CPU time per datagram, sent or received, in nanoseconds.
func (c floorCounts) perDatagram() float64 { return (c.User + c.System) / (c.Sent + c.Received) }

// runFloor is the benchmark floor.
func runFloor(ctx context.Context, o options) (t *table, err error) {
	f, err := newFloor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	t = &table{
		name: "floor",
		about: fmt.Sprintf("CPU time (user + system of the process) per datagram of a bare sendmmsg and recvmmsg loop in C, "+
			"in batches of 64, with the engine's socket options, to %d destinations over veth; "+
			"the cheapest of %d measurements. On veth the sender pays for the receiver's share of the network stack. "+
			"In one loop, a process sends and receives, and a datagram is the mean of one sent and one received.", destinations, o.repeat),
		columns: []string{"send_ns", "receive_ns", "one_loop_ns", "datagrams_per_s", "calls_per_datagram", "dropped"},
	}
	for _, c := range floorCases {
		var b floorPair
		for range o.repeat {
			sent, received, err := f.measure(ctx, c, o.duration)
			if err != nil {
				return nil, err
			}
			b.add(sent, received)
		}
		t.add(c.name, c.figures(b.a, b.b)...)
	}
	return t, nil
}

// floorPair is the cheapest measurement of each host, by CPU time per datagram: other processes only
// add to the cost.
type floorPair struct {
	a, b     floorCounts
	measured bool
}

// add adds a measurement.
func (p *floorPair) add(a, b floorCounts) {
	if !p.measured || a.perDatagram() < p.a.perDatagram() {
		p.a = a
	}
	if !p.measured || b.perDatagram() < p.b.perDatagram() {
		p.b = b
	}
	p.measured = true
}

// figures returns a row of floor.
func (c *floorCase) figures(a, b floorCounts) []float64 {
	calls := (a.Calls + b.Calls) / (a.Sent + a.Received + b.Sent + b.Received)
	rate, dropped := a.Sent/a.Wall*float64(time.Second), a.Dropped+b.Dropped
	if c.back > 0 {
		return []float64{none, none, (a.perDatagram() + b.perDatagram()) / 2, rate, calls, dropped}
	}
	return []float64{a.perDatagram(), b.perDatagram(), none, rate, calls, dropped}
}

// floor is the compiled floor program, with two hosts to run it on.
type floor struct {
	lab          *netlab.Lab
	destinations int
	dir          string
	binary       string
}

// newFloor compiles the program and creates the hosts.
func newFloor() (*floor, error) {
	dir, err := os.MkdirTemp("", "systole-floor")
	if err != nil {
		return nil, err
	}
	f := &floor{destinations: destinations, dir: dir, binary: filepath.Join(dir, "floor")}
	if err := errors.Join(f.compile(), f.connect()); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// compile compiles the program.
func (f *floor) compile() error {
	c := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-x", "c", "-o", f.binary, "-")
	c.Stdin = bytes.NewReader(floorSource)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the floor program (a C compiler is needed: apt-get install gcc libc6-dev): %w\n%s", err, out)
	}
	return nil
}

// connect creates the hosts and the destinations on each.
func (f *floor) connect() (err error) {
	if f.lab, err = netlab.New(); err != nil {
		return err
	}
	for _, r := range []struct {
		at, from *netlab.Host
		to       string
	}{{f.lab.A, f.lab.B, towardsA}, {f.lab.B, f.lab.A, towardsB}} {
		err = errors.Join(err,
			r.at.Run("ip", "route", "add", "local", r.to+routed, "dev", "lo"),
			r.from.Run("ip", "route", "add", r.to+routed, "via", r.at.Addr))
	}
	return err
}

// close removes the hosts and the program.
func (f *floor) close() error {
	err := os.RemoveAll(f.dir)
	if f.lab != nil {
		err = errors.Join(err, f.lab.Close())
	}
	return err
}

// measure runs a case once for d, each process on a CPU of its own.
func (f *floor) measure(ctx context.Context, c floorCase, d time.Duration) (a, b floorCounts, err error) {
	argsA, argsB := c.args(f.destinations, d)
	received := make(chan error, 1)
	go func() { received <- f.runOn(ctx, f.lab.B, argsB, d, &b) }()
	err = f.runOn(ctx, f.lab.A, argsA, d, &a)
	if err = errors.Join(err, <-received); err == nil {
		err = disturbed(a, b)
	}
	return a, b, err
}

// args returns the arguments of the floor program on host A and B.
func (c *floorCase) args(destinations int, d time.Duration) (a, b []string) {
	common := []string{
		"-s", strconv.Itoa(c.size), "-t", strconv.Itoa(c.tick),
		"-n", strconv.Itoa(destinations), "-T", strconv.FormatFloat(d.Seconds(), 'g', -1, 64),
	}
	a = append([]string{"-c", "0", "-d", towardsB, "-r", strconv.Itoa(c.rate)}, common...)
	b = append([]string{"-c", strconv.Itoa(lastCPU()), "-R"}, common...)
	if c.back > 0 {
		a, b = append(a, "-R"), append(b, "-d", towardsA, "-r", strconv.Itoa(c.back))
	}
	return a, b
}

// errDisturbed is the error of a measurement whose figures mean nothing, for instance because a busy
// machine did not run both programs at the same time.
var errDisturbed = errors.New("the measurement was disturbed")

// disturbed returns an errDisturbed if the counts of A and B mean nothing.
func disturbed(a, b floorCounts) error {
	if a.Sent == 0 || b.Received == 0 {
		return fmt.Errorf("%w: no datagram arrived", errDisturbed)
	}
	if failed := a.Failed + b.Failed; failed > 0 {
		return fmt.Errorf("%w: the kernel refused %.0f datagrams", errDisturbed, failed)
	}
	return nil
}

// floorTimeout is how long the floor program may take beyond its measurement.
const floorTimeout = 10 * time.Second

// runOn runs the program on a host to its end and decodes what it prints.
func (f *floor) runOn(ctx context.Context, h *netlab.Host, args []string, d time.Duration, counts *floorCounts) error {
	ctx, cancel := context.WithTimeout(ctx, d+floorTimeout)
	defer cancel()
	c := h.Command(f.binary, args...)
	endWithParent(c)
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() }) // it may have ended meanwhile
	defer stop()
	if err := c.Wait(); err != nil {
		return fmt.Errorf("run the floor program: %w", errors.Join(err, ctx.Err()))
	}
	if err := json.Unmarshal(out.Bytes(), counts); err != nil {
		return fmt.Errorf("decode what the floor program printed: %w", err)
	}
	return nil
}
