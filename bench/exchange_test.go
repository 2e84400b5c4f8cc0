package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// A decoded datagram is the encoded one, and no byte is written beyond its fields.
func TestDatagram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Uint64()
		in := datagram{
			kind: rapid.Byte().Draw(t, "kind"), node: rapid.Uint32().Draw(t, "node"), incarnation: word.Draw(t, "incarnation"), echo: word.Draw(t, "echo"),
			sequence: word.Draw(t, "sequence"), sent: rapid.Int64().Draw(t, "sent"), late: rapid.Int64().Draw(t, "late"), answered: rapid.Int64().Draw(t, "answered"),
		}
		var b [datagramSize]byte
		in.put(b[:])
		var out datagram
		if out.get(b[:]); out != in {
			t.Fatalf("got %+v of %+v", out, in)
		}
		if slices.ContainsFunc(b[56:], func(x byte) bool { return x != 0 }) {
			t.Fatalf("written beyond the fields: %v", b)
		}
	})
}

// newTestExchange returns an exchange of three nodes with a period of 30 ms, without a socket.
func newTestExchange(t *testing.T, twoPhases bool) *exchange {
	t.Helper()
	x, err := newExchange(&endOptions{Count: 3, Period: 30 * ms, Detectors: "phases", TwoPhases: twoPhases}, 5)
	if err != nil {
		t.Fatal(err)
	}
	x.begin = at(0)
	return x
}

// The nodes send by turns, spread over the period. A datagram says how late it leaves.
func TestExchangeSchedule(t *testing.T) {
	for _, twoPhases := range []bool{false, true} {
		x := newTestExchange(t, twoPhases)
		kind := byte(kindHeartbeat)
		if twoPhases {
			kind = kindRequest
		}
		for i := range 7 {
			due := at(10 * i)
			if got := x.dueSend(); got != due || x.due() != due {
				t.Errorf("send %d is due at %v, want %v", i, got, due)
			}
			now := due.Add(time.Duration(i) * time.Microsecond)
			want := datagram{
				kind: kind, node: uint32(i % 3), incarnation: 5, sequence: uint64(i/3) + 1,
				sent: int64(now), late: int64(i) * 1000,
			}
			if got := x.nextDatagram(now); got != want {
				t.Errorf("send %d: %+v, want %+v", i, got, want)
			}
		}
		x.queue = []inFlight{{at: at(65)}, {at: at(80)}}
		if got := x.due(); got != at(65) {
			t.Errorf("due at %v, want the arrival at 65 ms", got)
		}
	}
}

// Heartbeats of a new incarnation begin anew, and those of an earlier one change nothing. An answer
// counts if it is to this process, from when it left.
func TestExchangeArrivals(t *testing.T) {
	for _, c := range []struct {
		name                  string
		arrivals              []datagram
		incarnation, sequence uint64
		sent                  int64
	}{
		{"nothing", nil, 0, 0, 0},
		{"a heartbeat", []datagram{{kind: kindHeartbeat, incarnation: 9, sequence: 4, sent: 100}}, 9, 4, 100},
		{"a restart", []datagram{{kind: kindHeartbeat, incarnation: 9, sequence: 4, sent: 100}, {kind: kindHeartbeat, incarnation: 10, sequence: 1, sent: 200}}, 10, 1, 200},
		{"an earlier life", []datagram{{kind: kindHeartbeat, incarnation: 9, sequence: 4, sent: 100}, {kind: kindHeartbeat, incarnation: 8, sequence: 7, sent: 200}}, 9, 4, 100},
		{"a stale one", []datagram{{kind: kindHeartbeat, incarnation: 9, sequence: 4, sent: 100}, {kind: kindHeartbeat, incarnation: 9, sequence: 3, sent: 200}}, 9, 4, 100},
		{"an answer", []datagram{{kind: kindAnswer, incarnation: 9, echo: 5, sequence: 4, sent: 100, answered: 150}}, 9, 4, 150},
		{"an answer to another process", []datagram{{kind: kindAnswer, incarnation: 9, echo: 4, sequence: 4, sent: 100, answered: 150}}, 0, 0, 0},
	} {
		x := newTestExchange(t, true)
		for i, d := range c.arrivals {
			d.node = 1
			x.arrive(&inFlight{at: at(i), datagram: d})
		}
		m := x.monitors[1]
		if m.incarnation != c.incarnation || m.sequence != c.sequence || m.sent != clock.Instant(c.sent) {
			t.Errorf("%s: incarnation %d, sequence %d, sent at %d", c.name, m.incarnation, m.sequence, m.sent)
		}
		if x.monitors[0].sequence != 0 || x.monitors[2].sequence != 0 {
			t.Errorf("%s: other nodes have heard it", c.name)
		}
	}
}

func TestExchangeAnswer(t *testing.T) {
	x := newTestExchange(t, true)
	request := datagram{kind: kindRequest, node: 2, incarnation: 9, sequence: 4, sent: 100, late: 3}
	want := datagram{kind: kindAnswer, node: 2, incarnation: 5, echo: 9, sequence: 4, sent: 100, late: 3, answered: 150}
	if got := x.answer(&request, 150); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Mistakes are counted by detector and from start on; crashes are detected three periods after the last
// heartbeat.
func TestExchangeCounts(t *testing.T) {
	x := newTestExchange(t, false)
	hear := func(node uint32, sequence uint64, when int) {
		x.arrive(&inFlight{at: at(when), datagram: datagram{kind: kindHeartbeat, node: node, incarnation: 1, sequence: sequence, sent: int64(at(when - 1))}})
	}
	hear(0, 1, 0)
	hear(0, 2, 100) // by then suspected at 90 ms
	if got := x.count(); got.Mistakes[0] != 1 || got.OfLoss[0] != 0 {
		t.Errorf("counted %+v", got)
	}
	x.start()
	hear(0, 4, 220) // with a heartbeat lost before
	hear(1, 1, 230)
	got := x.count()
	if got.Mistakes[0] != 1 || got.OfLoss[0] != 1 || len(got.Mistakes) != 2 || got.Sent != 0 || got.Watched < 0 || got.Watched%3 != 0 {
		t.Errorf("counted %+v", got)
	}
	d := x.detections(at(240))
	want := []time.Duration{220*ms + 90*ms - 240*ms, 230*ms + 90*ms - 240*ms}
	if !reflect.DeepEqual(d.Crash[0], want) || !reflect.DeepEqual(d.Silence[0], []time.Duration{91 * ms, 91 * ms}) {
		t.Errorf("detected %+v, want %v", d, want)
	}
	if x.heardAll() {
		t.Error("all nodes are heard, although one never was")
	}
	now := int64(clock.Now())
	for node := range uint32(3) {
		x.arrive(&inFlight{at: clock.Now(), datagram: datagram{kind: kindHeartbeat, node: node, incarnation: 2, sequence: 1, sent: now}})
	}
	if !x.heardAll() {
		t.Error("not all nodes are heard")
	}
}

// The kernel's stamp counts; without it, or where it is short or something else, the instant of reading.
func TestArrivalOf(t *testing.T) {
	r := clock.Reading{Now: at(0), Wall: 5e9 + 700}
	message := func(level, kind int32, data []byte) []byte {
		b := make([]byte, unix.CmsgSpace(len(data)))
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
		binary.NativeEndian.PutUint32(b[8:], uint32(level))
		binary.NativeEndian.PutUint32(b[12:], uint32(kind))
		copy(b[unix.CmsgLen(0):], data)
		return b
	}
	var stamp [16]byte
	binary.NativeEndian.PutUint64(stamp[:], 5)
	binary.NativeEndian.PutUint64(stamp[8:], 200) // 500 ns before the reading
	stamped := message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, stamp[:])
	other := message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, stamp[:])
	for name, c := range map[string]struct {
		oob  []byte
		want clock.Instant
	}{
		"a stamp":              {stamped, r.Now - 500},
		"after another":        {slices.Concat(other, stamped), r.Now - 500},
		"none":                 {nil, r.Now},
		"another":              {other, r.Now},
		"of another level":     {message(unix.SOL_IP, unix.SCM_TIMESTAMPNS, stamp[:]), r.Now},
		"a short stamp":        {message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, stamp[:8]), r.Now},
		"a message cut in two": {stamped[:20], r.Now},
	} {
		if got := arrivalOf(c.oob, r); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// An exchange sends what is due, and takes the datagrams that arrive from a socket, but for those of another
// size and of nodes that it does not have.
func TestExchangeSocket(t *testing.T) {
	netlab.InNamespace(t, func() {
		other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Error(err)
			return
		}
		defer other.Close()
		x := newTestExchange(t, true)
		if err := x.open(&endOptions{Local: netip.MustParseAddrPort("127.0.0.1:7853"), Remote: other.LocalAddr().(*net.UDPAddr).AddrPort()}); err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(x.fd)
		x.begin = clock.Now().Add(-15 * ms) // two of three requests are due
		x.turnUntil(t, func() bool { return x.next >= 2 })
		got := make([]datagram, 2)
		for i := range got {
			got[i] = receiveFrom(t, other)
			if want := (datagram{kind: kindRequest, node: uint32(i), incarnation: 5, sequence: 1, sent: got[i].sent, late: got[i].late}); got[i] != want || got[i].late < 0 {
				t.Errorf("request %+v, want %+v", got[i], want)
			}
		}
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7853}
		write := func(b []byte) {
			if _, err := other.WriteTo(b, to); err != nil {
				t.Error(err)
			}
		}
		var b [datagramSize]byte
		write([]byte("short"))
		(&datagram{kind: kindAnswer, node: 3, incarnation: 9, echo: 5, sequence: 1}).put(b[:])
		write(b[:])
		(&datagram{kind: kindAnswer, node: 1, incarnation: 9, echo: 5, sequence: 1, sent: got[1].sent, answered: got[1].sent}).put(b[:])
		write(b[:])
		x.turnUntil(t, func() bool { return x.monitors[1].sequence == 1 })
		if m := x.monitors[1]; m.incarnation != 9 || m.sent != clock.Instant(got[1].sent) || len(x.queue) != 0 {
			t.Errorf("monitor %+v, %d in the queue", m, len(x.queue))
		}
		if x.sent != uint64(x.next) {
			t.Errorf("%d sent, %d were due", x.sent, x.next)
		}
	})
}

// turnUntil turns until something is so, or for some seconds.
func (x *exchange) turnUntil(t *testing.T, so func() bool) {
	for end := clock.Now().Add(10 * time.Second); !so(); time.Sleep(ms) {
		if err := x.turn(); err != nil || clock.Now() > end {
			t.Errorf("after many turns: %v", err)
			return
		}
	}
}

// receiveFrom reads a datagram of an exchange.
func receiveFrom(t *testing.T, c *net.UDPConn) (d datagram) {
	b := make([]byte, 2*datagramSize)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(b); err != nil || n != datagramSize {
		t.Errorf("read %d bytes, %v", n, err)
	}
	d.get(b)
	return d
}
