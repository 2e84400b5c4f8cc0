package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"systole/engine/enginetest/netlab"
)

// BIRD runs as its users run it: one daemon per host, a BFD session per pair of addresses, at
// BFD's usual 10 ms and multiplier of 3.
const (
	birdInterval   = 10 * time.Millisecond
	birdMultiplier = 3
	birdDetector   = "fixed:3"        // the same rule, as published.Parse reads it
	perNet         = 250              // addresses with one third octet
	birdTimeout    = 30 * time.Second // for all sessions to come up
)

// runBird is the benchmark bird.
func runBird(ctx context.Context, o options) (t *table, err error) {
	if err := installBird(ctx); err != nil {
		return nil, err
	}
	b, err := newBirdPair(o.sessions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	t = &table{
		name: "bird",
		about: fmt.Sprintf("%s: %d BFD sessions at %v × %d between two hosts on this machine, beside busy loops at normal priority, each case for %v. "+
			"A down is a change from Up to another state, counted at both ends. Of these, the end itself judged the expired; the others were reported "+
			"by the other end. One stall of a daemon takes many sessions down at once: stalls counts such moments. Few stalls are chance. "+
			"CPU is user + system of both daemons, per packet sent or received.",
			birdVersion(ctx), o.sessions, birdInterval, birdMultiplier, o.duration),
		columns: []string{"stalls_per_min", "downs_per_min", "expired_per_min", "cpu_us_per_packet", "packets_per_s"},
	}
	for _, n := range o.loads {
		figures, err := b.measure(ctx, n, o.duration)
		if err != nil {
			return nil, err
		}
		t.add(loadName(n), figures...)
	}
	return t, nil
}

// birdPair is two daemons on two hosts.
type birdPair struct {
	lab      *netlab.Lab
	dir      string
	sessions int
	daemons  [2]*birdDaemon
}

// birdDaemon is one daemon.
type birdDaemon struct {
	device string // of its host
	log    string // path
	pid    int
	stop   func() error
}

// newBirdPair starts both daemons.
func newBirdPair(sessions int) (*birdPair, error) {
	dir, err := os.MkdirTemp("", "systole-bird")
	if err != nil {
		return nil, err
	}
	b := &birdPair{dir: dir, sessions: sessions}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// start creates the hosts and starts a daemon on each.
func (b *birdPair) start() (err error) {
	if b.lab, err = netlab.New(); err != nil {
		return err
	}
	for i, h := range []*netlab.Host{b.lab.A, b.lab.B} {
		d := &birdDaemon{device: h.Device, log: filepath.Join(b.dir, fmt.Sprintf("%d.log", i))}
		if err := b.addAddresses(h, i); err != nil {
			return err
		}
		conf := filepath.Join(b.dir, fmt.Sprintf("%d.conf", i))
		if err := os.WriteFile(conf, []byte(birdConfig(d.log, h.Device, i, b.sessions)), 0o600); err != nil {
			return err
		}
		c := h.Command("bird", "-f", "-c", conf, "-s", filepath.Join(b.dir, fmt.Sprintf("%d.ctl", i)))
		if d.stop, err = start(c); err != nil {
			return err
		}
		d.pid = c.Process.Pid
		b.daemons[i] = d
	}
	return nil
}

// addAddresses adds the addresses of one end of all sessions to a host, by one call of ip(8).
func (b *birdPair) addAddresses(h *netlab.Host, end int) error {
	var lines strings.Builder
	for i := range b.sessions {
		fmt.Fprintf(&lines, "addr add %s/16 dev %s\n", birdAddr(end, i), h.Device)
	}
	batch := filepath.Join(b.dir, "addresses")
	if err := os.WriteFile(batch, []byte(lines.String()), 0o600); err != nil {
		return err
	}
	return h.Run("ip", "-batch", batch)
}

// birdAddr returns the address of one end, 0 or 1, of session i.
func birdAddr(end, i int) string {
	return fmt.Sprintf("10.79.%d.%d", 1+128*end+i/perNet, 1+i%perNet)
}

// birdConfig returns the configuration of one end. BIRD logs changes of sessions, but no packets.
func birdConfig(log, device string, end, sessions int) string {
	var c strings.Builder
	fmt.Fprintf(&c, "log %q all;\ntimeformat log iso long ms;\nrouter id %s;\nprotocol device {}\nprotocol bfd {\n\tdebug { events };\n", log, birdAddr(end, 0))
	fmt.Fprintf(&c, "\tinterface %q { interval %d ms; multiplier %d; };\n", device, birdInterval.Milliseconds(), birdMultiplier)
	for i := range sessions {
		fmt.Fprintf(&c, "\tneighbor %s dev %q local %s;\n", birdAddr(1-end, i), device, birdAddr(end, i))
	}
	c.WriteString("}\n")
	return c.String()
}

// close kills the daemons and removes the hosts and files.
func (b *birdPair) close() error {
	var errs []error
	for _, d := range b.daemons {
		if d != nil {
			errs = append(errs, d.stop())
		}
	}
	if b.lab != nil {
		errs = append(errs, b.lab.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// measure waits until all sessions are up, then counts for d beside n busy loops. It returns the
// figures of one row.
func (b *birdPair) measure(ctx context.Context, n int, d time.Duration) (figures []float64, err error) {
	if err := b.awaitUp(ctx); err != nil {
		return nil, err
	}
	stop, err := startBusy(n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	begin := time.Now()
	before, err := b.read()
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, d); err != nil {
		return nil, err
	}
	after, err := b.read()
	if err != nil {
		return nil, err
	}
	return after.figures(before, begin, time.Since(begin)), nil
}

// birdCounts is what both daemons have done since they started.
type birdCounts struct {
	bfdLog
	cpu     time.Duration
	packets uint64
}

// figures returns one row: what both daemons did from begin, where the counts were those of
// before, for so long.
func (c *birdCounts) figures(before birdCounts, begin time.Time, took time.Duration) []float64 {
	downs := since(c.downs, begin)
	packets := float64(c.packets - before.packets)
	return []float64{
		float64(countStalls(downs)) / took.Minutes(),
		float64(len(downs)) / took.Minutes(),
		float64(c.expired-before.expired) / took.Minutes(),
		float64((c.cpu - before.cpu).Microseconds()) / packets,
		packets / took.Seconds(),
	}
}

// read sums up the logs of both daemons and the kernel's counters.
func (b *birdPair) read() (sum birdCounts, err error) {
	for _, d := range b.daemons {
		log, err := os.ReadFile(d.log)
		if err != nil {
			return sum, err
		}
		l, err := parseBFD(string(log))
		if err != nil {
			return sum, err
		}
		sum.up += l.up
		sum.downs = append(sum.downs, l.downs...)
		sum.expired += l.expired
		cpu, err := cpuTime(d.pid)
		if err != nil {
			return sum, fmt.Errorf("bird has ended and printed why above: %w", err)
		}
		packets, err := packets(d.pid, d.device)
		if err != nil {
			return sum, err
		}
		sum.cpu += cpu
		sum.packets += packets
	}
	return sum, nil
}

// awaitUp waits until every session is up at both ends, and then one second more.
func (b *birdPair) awaitUp(ctx context.Context) error {
	for begin := time.Now(); ; {
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		c, err := b.read()
		switch {
		case err != nil && time.Since(begin) > birdTimeout:
			return err
		case err == nil && c.up == 2*b.sessions:
			return sleep(ctx, time.Second)
		case time.Since(begin) > birdTimeout:
			return fmt.Errorf("%d of %d ends of sessions are up after %v", c.up, 2*b.sessions, birdTimeout)
		}
	}
}

// sleep returns after d, or with the error of ctx when ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// birdVersion returns BIRD's name and version, or only the name if BIRD does not run.
func birdVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "bird", "--version").CombinedOutput()
	if err != nil {
		return "BIRD"
	}
	return strings.TrimSpace(strings.Replace(string(out), " version", "", 1))
}
