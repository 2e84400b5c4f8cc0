//go:build !systole_portable

package split_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/engine/split"
)

// pair is two engines on the hosts of a lab, turned by the test. to watches from as peer.
type pair struct {
	t        *testing.T
	from, to *engine.Engine
	peer     engine.Peer
}

// newPair returns a pair that is in touch.
func newPair(t *testing.T, lab *netlab.Lab) *pair {
	t.Helper()
	q := &pair{t: t}
	cfg := engine.Config{Period: 20 * time.Millisecond, Window: 64, StampSends: 1, Manual: true}
	for _, side := range []struct {
		host   *netlab.Host
		engine **engine.Engine
	}{{lab.A, &q.from}, {lab.B, &q.to}} {
		cfg.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(side.host.Addr), 0)}
		if err := side.host.Do(func() (err error) { *side.engine, err = engine.Open(cfg); return err }); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*side.engine).Close() })
	}
	var err error
	if q.peer, err = q.to.AddPeer(engine.PeerConfig{Addr: q.from.Addrs()[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err = q.from.AddPeer(engine.PeerConfig{Addr: q.to.Addrs()[0]}); err != nil {
		t.Fatal(err)
	}
	q.run(500*time.Millisecond, q.from, q.to)
	return q
}

// run turns engines for d.
func (q *pair) run(d time.Duration, engines ...*engine.Engine) {
	q.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		for _, e := range engines {
			if _, err := e.Turn(clock.Read()); err != nil {
				q.t.Fatal(err)
			}
		}
	}
}

// Each cause lands in its part, over real sockets: a sender that is late, a full queue in its host, and a
// receiver that does not read.
func TestCausesOnSockets(t *testing.T) {
	lab := netlab.Test(t)
	if err := lab.A.Run("tc", "qdisc", "add", "dev", lab.A.Device, "root", "tbf", "rate", "2mbit", "burst", "1600", "limit", "50000"); err != nil {
		t.Fatal(err)
	}
	var flood net.Conn
	if err := lab.A.Do(func() (err error) { flood, err = net.Dial("udp", net.JoinHostPort(lab.B.Addr, "9")); return err }); err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	for _, test := range []struct {
		part    string
		disturb func(q *pair)
	}{
		{"late", func(q *pair) { q.run(18*time.Millisecond, q.to) }},
		{"read", func(q *pair) { q.run(50*time.Millisecond, q.from) }},
		{"send-wait", func(q *pair) {
			for range 12 { // of 4 ms each
				_, _ = flood.Write(make([]byte, 1000)) // the port refuses them
			}
		}},
	} {
		q := newPair(t, lab)
		c, buf := split.New(q.to.Grid()), make([]engine.Sample, 64)
		for range 12 {
			test.disturb(q)
			q.run(53*time.Millisecond, q.from, q.to)
			n, total := q.peer.Samples(buf)
			c.Take(buf[:n], total)
		}
		c.Flush()
		sum := c.Sum()
		t.Logf("%v: %v, on average %v of %d heartbeats", test.part, sum.Cause(), sum.Delay(), sum.Heartbeats())
		h := c.Histograms()
		t.Logf("  late %v; wait %v; network %v; host %v; read %v", h.Late, h.SendWait, h.Network, h.Host, h.Read)
		if got := sum.Cause().Part; got != test.part {
			t.Errorf("%v instead of %v", got, test.part)
		}
	}
}
