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

// BIRD is measured as its users run it: one daemon per host, a BFD session per pair of
// addresses, at BFD's 10 ms and a multiplier of 3.
const (
	birdInterval   = 10 * time.Millisecond
	birdMultiplier = 3
	birdDetector   = "fixed:3" // the same rule, as detect.Parse reads it
	perNet         = 250       // addresses of one third octet
	// birdTimeout is how long sessions may take to come up, after a start or a load.
	birdTimeout = 30 * time.Second
)

// runBird is the benchmark bird.
func runBird(ctx context.Context, o options) (t *table, err error) {
	if err := needBird(ctx); err != nil {
		return nil, err
	}
	b, err := newBirds(o.sessions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	t = &table{
		name: "bird",
		about: fmt.Sprintf("%s, %d BFD sessions at %v × %d between two hosts on this machine, while busy loops run at normal priority, each for %v. "+
			"A Down is a session that left Up, counted at both ends; expired are those that an end judged by itself rather than "+
			"was told by the other. One stall of a daemon lets many sessions fall at once: stalls counts the moments, and "+
			"what has few of them is chance. CPU is user + system of both daemons by packet sent or received.",
			birdVersion(ctx), o.sessions, birdInterval, birdMultiplier, o.duration),
		columns: []string{"stalls_per_min", "downs_per_min", "expired_per_min", "cpu_us_per_packet", "packets_per_s"},
	}
	for _, n := range o.loads {
		f, err := b.measure(ctx, n, o.duration)
		if err != nil {
			return nil, err
		}
		t.add(loadName(n), f...)
	}
	return t, nil
}

// birds are two daemons on two hosts.
type birds struct {
	lab      *netlab.Lab
	dir      string
	sessions int
	ends     [2]*birdEnd
}

// birdEnd is one daemon.
type birdEnd struct {
	host *netlab.Host
	log  string // path
	pid  int
	stop func() error
}

// newBirds starts both daemons.
func newBirds(sessions int) (*birds, error) {
	dir, err := os.MkdirTemp("", "systole-bird")
	if err != nil {
		return nil, err
	}
	b := &birds{dir: dir, sessions: sessions}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// start makes the hosts and starts a daemon on each.
func (b *birds) start() (err error) {
	if b.lab, err = netlab.New(); err != nil {
		return err
	}
	for i, h := range []*netlab.Host{b.lab.A, b.lab.B} {
		e := &birdEnd{host: h, log: filepath.Join(b.dir, fmt.Sprintf("%d.log", i))}
		if err := b.address(h, i); err != nil {
			return err
		}
		conf := filepath.Join(b.dir, fmt.Sprintf("%d.conf", i))
		if err := os.WriteFile(conf, []byte(birdConfig(e.log, h.Device, i, b.sessions)), 0o600); err != nil {
			return err
		}
		c := h.Command("bird", "-f", "-c", conf, "-s", filepath.Join(b.dir, fmt.Sprintf("%d.ctl", i)))
		if e.stop, err = start(c); err != nil {
			return err
		}
		e.pid = c.Process.Pid
		b.ends[i] = e
	}
	return nil
}

// address gives a host its sessions' addresses, in one call of ip(8).
func (b *birds) address(h *netlab.Host, end int) error {
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

// birdAddr is the address of one end of session i.
func birdAddr(end, i int) string {
	return fmt.Sprintf("10.79.%d.%d", 1+128*end+i/perNet, 1+i%perNet)
}

// birdConfig is the configuration of one end. Events go to the log; packets do not.
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

// close ends the daemons and removes what newBirds made.
func (b *birds) close() error {
	var errs []error
	for _, e := range b.ends {
		if e != nil {
			errs = append(errs, e.stop())
		}
	}
	if b.lab != nil {
		errs = append(errs, b.lab.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// measure waits until all sessions are up, runs n busy loops for d, and returns the
// figures of one row.
func (b *birds) measure(ctx context.Context, n int, d time.Duration) (figures []float64, err error) {
	if err := b.awaitUp(ctx); err != nil {
		return nil, err
	}
	if n > 0 {
		stop, err := startBusy(n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
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
	took := time.Since(begin)
	fell, packets := since(after.fell, begin), float64(after.packets-before.packets)
	return []float64{
		float64(stalls(fell)) / took.Minutes(),
		float64(len(fell)) / took.Minutes(),
		float64(after.expired-before.expired) / took.Minutes(),
		float64((after.cpu - before.cpu).Microseconds()) / packets,
		packets / took.Seconds(),
	}, nil
}

// birdCounts is what both daemons have done so far.
type birdCounts struct {
	bfdLog
	cpu     time.Duration
	packets uint64
}

// read reads the logs and the kernel's counters.
func (b *birds) read() (sum birdCounts, err error) {
	for _, e := range b.ends {
		log, err := os.ReadFile(e.log)
		if err != nil {
			return sum, err
		}
		l, err := parseBFD(string(log))
		if err != nil {
			return sum, err
		}
		sum.up += l.up
		sum.fell = append(sum.fell, l.fell...)
		sum.expired += l.expired
		cpu, err := cpuTime(e.pid)
		if err != nil {
			return sum, fmt.Errorf("bird ended, see above: %w", err)
		}
		packets, err := packets(e.pid, e.host.Device)
		if err != nil {
			return sum, err
		}
		sum.cpu += cpu
		sum.packets += packets
	}
	return sum, nil
}

// awaitUp waits until every session is up at both ends, and then a second more.
func (b *birds) awaitUp(ctx context.Context) error {
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

// sleep sleeps for d or until ctx ends, which it returns as an error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// birdVersion is what bird calls itself.
func birdVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "bird", "--version").CombinedOutput()
	if err != nil {
		return "BIRD"
	}
	return strings.TrimSpace(strings.Replace(string(out), " version", "", 1))
}
