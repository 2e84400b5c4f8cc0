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
	"syscall"
	"time"

	"systole/engine/enginetest/netlab"
)

//go:embed floor/floor.c
var floorSource []byte

// The floor sends to as many destinations as the engine is measured with: addresses of
// their own, all of which the other host takes as its own.
const (
	destinations = 4096
	towardsA     = "10.81.0.0"
	towardsB     = "10.80.0.0"
	routed       = "/20" // 4096 addresses
)

// floorCase is one measurement: what each of two processes does.
type floorCase struct {
	name string
	size int // of a datagram, bytes
	rate int // datagrams per second; 0: as fast as it goes
	tick int // µs
	back int // datagrams per second from the receiver to the sender
}

// The sizes are those of a heartbeat without and with a tag; the paced rate is that of
// 4096 peers at 10 Hz, on a tick as the engine's.
var floorCases = []floorCase{
	{"136 bytes, as fast as it goes", 136, 0, 1000, 0},
	{"152 bytes, as fast as it goes", 152, 0, 1000, 0},
	{"136 bytes, 40960/s on a 4 ms tick", 136, 40960, 4000, 0},
	{"136 bytes, 40960/s each way in one loop", 136, 40960, 4000, 40960},
}

// floorCounts is what the floor program prints.
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

// perDatagram is the CPU time of one datagram, sent or received, in nanoseconds.
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
			"the cheapest of %d measurements. On veth the receiver's share of the network stack is charged to the sender. "+
			"In one loop, a process sends and receives, and a datagram is the mean of one sent and one received.", destinations, o.repeat),
		columns: []string{"send_ns", "receive_ns", "one_loop_ns", "datagrams_per_s", "calls_per_datagram", "dropped"},
	}
	for _, c := range floorCases {
		a, b, err := f.cheapest(ctx, c, o)
		if err != nil {
			return nil, err
		}
		calls := (a.Calls + b.Calls) / (a.Sent + a.Received + b.Sent + b.Received)
		rate, dropped := a.Sent/a.Wall*float64(time.Second), a.Dropped+b.Dropped
		if c.back > 0 {
			t.add(c.name, none, none, (a.perDatagram()+b.perDatagram())/2, rate, calls, dropped)
		} else {
			t.add(c.name, a.perDatagram(), b.perDatagram(), none, rate, calls, dropped)
		}
	}
	return t, nil
}

// floor is the compiled floor program with two hosts to run it between.
type floor struct {
	lab          *netlab.Lab
	destinations int
	dir          string
	binary       string
}

// newFloor compiles the program and makes the hosts.
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

// compile makes the binary.
func (f *floor) compile() error {
	c := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-x", "c", "-o", f.binary, "-")
	c.Stdin = bytes.NewReader(floorSource)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the floor program (a C compiler is needed: apt-get install gcc libc6-dev): %w\n%s", err, out)
	}
	return nil
}

// connect makes the hosts and the destinations on each.
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

// close removes what newFloor made.
func (f *floor) close() error {
	err := os.RemoveAll(f.dir)
	if f.lab != nil {
		err = errors.Join(err, f.lab.Close())
	}
	return err
}

// cheapest measures a case several times and returns, for host A and B each, the
// measurement with the least CPU time per datagram: what disturbs only adds.
func (f *floor) cheapest(ctx context.Context, c floorCase, o options) (a, b floorCounts, err error) {
	for i := range o.repeat {
		x, y, err := f.measure(ctx, c, o.duration)
		if err != nil {
			return a, b, err
		}
		if i == 0 || x.perDatagram() < a.perDatagram() {
			a = x
		}
		if i == 0 || y.perDatagram() < b.perDatagram() {
			b = y
		}
	}
	return a, b, nil
}

// measure runs one case once: A sends, B receives and may send back. Each has a CPU of its own.
func (f *floor) measure(ctx context.Context, c floorCase, d time.Duration) (a, b floorCounts, err error) {
	common := []string{
		"-s", strconv.Itoa(c.size), "-t", strconv.Itoa(c.tick),
		"-n", strconv.Itoa(f.destinations), "-T", strconv.FormatFloat(d.Seconds(), 'g', -1, 64),
	}
	argsA := append([]string{"-c", "0", "-d", towardsB, "-r", strconv.Itoa(c.rate)}, common...)
	argsB := append([]string{"-c", strconv.Itoa(lastCPU()), "-R"}, common...)
	if c.back > 0 {
		argsA, argsB = append(argsA, "-R"), append(argsB, "-d", towardsA, "-r", strconv.Itoa(c.back))
	}
	bResult := make(chan error, 1)
	go func() { bResult <- f.one(ctx, f.lab.B, argsB, d, &b) }()
	err = f.one(ctx, f.lab.A, argsA, d, &a)
	err = errors.Join(err, <-bResult)
	if err == nil && (a.Sent == 0 || b.Received == 0) {
		err = fmt.Errorf("%w: nothing came through", errDisturbed)
	}
	if failed := a.Failed + b.Failed; err == nil && failed > 0 {
		err = fmt.Errorf("%w: the kernel refused %.0f datagrams, so the figures would be of something else", errDisturbed, failed)
	}
	return a, b, err
}

// errDisturbed is a measurement of programs that did not run at the same time, for instance
// because the machine had too much else to do.
var errDisturbed = errors.New("disturbed")

// startTime is how long a floor program may take beyond its measurement.
const startTime = 10 * time.Second

// one runs the program on one host to its end.
func (f *floor) one(ctx context.Context, h *netlab.Host, args []string, d time.Duration, counts *floorCounts) error {
	ctx, cancel := context.WithTimeout(ctx, d+startTime)
	defer cancel()
	c := h.Command(f.binary, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() }) // it may have ended meanwhile
	defer stop()
	if err := c.Wait(); err != nil {
		return fmt.Errorf("the floor program: %w", errors.Join(err, ctx.Err()))
	}
	return json.Unmarshal(out.Bytes(), counts)
}
