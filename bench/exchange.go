package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
)

// An exchange is one end of bare monitoring: many nodes on one socket, each watching the
// node of its number at the other end. In a single phase each node sends a heartbeat every
// period and judges by those that come. In two phases it sends a request every period, which
// is answered at once, and judges by the answers.

// exchange is one end.
type exchange struct {
	fd        int
	remote    unix.SockaddrInet4
	period    time.Duration
	delay     time.Duration // added to the way here
	two       bool
	life      uint64
	detectors []detect.Detector
	begin     clock.Instant
	next      int // which send is due next, of all nodes
	line      []inFlight
	buf       [exchangeSize]byte
	oob       [64]byte

	mu       sync.Mutex // guards what follows
	peers    []*watched
	sent     uint64
	mistakes [][]mistake   // per detector
	counting clock.Instant // since when
}

// inFlight is a datagram that has come but for the added delay.
type inFlight struct {
	at clock.Instant
	datagram
}

// datagram is what ends exchange.
type datagram struct {
	kind                 byte
	node                 uint32
	life, echo, sequence uint64
	sent, late           int64 // of the heartbeat or request
	answered             int64 // of the answer
}

// The kinds of datagrams, and their length: that of the engine's heartbeats.
const (
	kindBeat = iota + 1
	kindRequest
	kindAnswer

	exchangeSize = 136
)

// put writes d.
func (d *datagram) put(b []byte) {
	b[0] = d.kind
	binary.LittleEndian.PutUint32(b[4:], d.node)
	for i, x := range []uint64{d.life, d.echo, d.sequence, uint64(d.sent), uint64(d.late), uint64(d.answered)} {
		binary.LittleEndian.PutUint64(b[8+8*i:], x)
	}
}

// get reads d.
func (d *datagram) get(b []byte) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	d.kind, d.node = b[0], binary.LittleEndian.Uint32(b[4:])
	d.life, d.echo, d.sequence = word(0), word(1), word(2)
	d.sent, d.late, d.answered = int64(word(3)), int64(word(4)), int64(word(5))
}

// runExchange is an exchange's main.
func runExchange(args []string) error {
	flags := flag.NewFlagSet("exchange", flag.ContinueOnError)
	local := flags.String("local", "", "own address")
	remote := flags.String("remote", "", "the other end's")
	count := flags.Int("count", 100, "nodes")
	period := flags.Duration("period", 10*time.Millisecond, "")
	delay := flags.Duration("delay", 0, "added to the way here")
	two := flags.Bool("two", false, "two phases")
	judges := flags.String("judges", "phases", "set of detectors")
	if err := flags.Parse(args); err != nil {
		return err
	}
	detectors, ok := judgeSets[*judges]
	if !ok {
		return fmt.Errorf("no set of detectors %q", *judges)
	}
	x := &exchange{period: *period, delay: *delay, two: *two, life: uint64(time.Now().UnixNano()), detectors: detectors(*period)}
	for range *count {
		x.peers = append(x.peers, newWatched(x.detectors, 0))
	}
	x.start()
	if err := x.open(*local, *remote); err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		err := errors.Join(prefer(engine.FIFO, endPriority), x.run())
		fmt.Fprintln(os.Stderr, "bench: exchange:", err)
		os.Exit(1) // the parent reads no more
	}()
	return answer(x)
}

// endPriority is the SCHED_FIFO priority of ends, so that mistakes are those of the network
// and not of the neighbours on this machine.
const endPriority = 10

// open opens the socket.
func (x *exchange) open(local, remote string) error {
	from, err := netip.ParseAddrPort(local)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(remote)
	if err != nil {
		return err
	}
	x.remote = unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	x.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	const buffer = 4 << 20
	return errors.Join(
		unix.SetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer),
		unix.Bind(x.fd, &unix.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()}),
	)
}

// run exchanges until that fails.
func (x *exchange) run() error {
	x.begin = clock.Now()
	for {
		wait := max(x.due().Sub(clock.Now()), 0)
		limit := unix.NsecToTimespec(int64(wait))
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(x.fd), Events: unix.POLLIN}}, &limit, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("ppoll", err)
		}
		x.mu.Lock()
		err := x.turn()
		x.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// due returns when there is something to do next.
func (x *exchange) due() clock.Instant {
	at := x.dueSend()
	if len(x.line) > 0 {
		at = min(at, x.line[0].at)
	}
	return at
}

// dueSend returns when the next node sends: they do so by turns, spread over the period.
func (x *exchange) dueSend() clock.Instant {
	return x.begin.Add(time.Duration(x.next) * x.period / time.Duration(len(x.peers)))
}

// turn receives, takes what has come and sends what is due.
func (x *exchange) turn() error {
	if err := x.receive(); err != nil {
		return err
	}
	now := clock.Now()
	for len(x.line) > 0 && x.line[0].at <= now {
		x.arrive(&x.line[0])
		x.line = x.line[1:]
	}
	for due := x.dueSend(); due <= now; due = x.dueSend() {
		d := datagram{kind: kindBeat, node: uint32(x.next % len(x.peers)), life: x.life, sequence: uint64(x.next/len(x.peers)) + 1}
		if x.two {
			d.kind = kindRequest
		}
		at := clock.Now()
		d.sent, d.late = int64(at), int64(at.Sub(due))
		x.send(&d)
		x.next++
	}
	return nil
}

// send sends d. What the kernel refuses is lost as if on the way.
func (x *exchange) send(d *datagram) {
	d.put(x.buf[:])
	if unix.Sendto(x.fd, x.buf[:], 0, &x.remote) == nil {
		x.sent++
	}
}

// receive reads the socket until it is empty.
func (x *exchange) receive() error {
	reading := clock.Read()
	for {
		n, oobn, _, _, err := unix.Recvmsg(x.fd, x.buf[:], x.oob[:], 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EINTR):
			continue // the other end is not there
		case err != nil:
			return os.NewSyscallError("recvmsg", err)
		case n != exchangeSize:
			continue
		}
		f := inFlight{at: arrivalOf(x.oob[:oobn], reading).Add(x.delay)}
		f.get(x.buf[:])
		if int(f.node) < len(x.peers) {
			x.line = append(x.line, f)
		}
	}
}

// arrivalOf returns when the kernel stamped a datagram, now if it did not.
func arrivalOf(oob []byte, r clock.Reading) clock.Instant {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) == 0 || len(messages[0].Data) < int(unsafe.Sizeof(unix.Timespec{})) {
		return r.Now
	}
	b := messages[0].Data
	stamp := int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
	return r.Now - clock.Instant(r.Wall-stamp)
}

// arrive takes a datagram.
func (x *exchange) arrive(f *inFlight) {
	if f.kind == kindRequest {
		a := f.datagram
		a.kind, a.echo, a.life, a.answered = kindAnswer, f.life, x.life, int64(clock.Now())
		x.send(&a)
		return
	}
	sent := clock.Instant(f.sent)
	if f.kind == kindAnswer {
		sent = clock.Instant(f.answered)
		if f.echo != x.life {
			return // to an earlier process here
		}
	}
	p := x.peers[f.node]
	if f.life < p.life {
		return
	}
	if f.life > p.life {
		p = newWatched(x.detectors, f.life)
		x.peers[f.node] = p
	}
	h := detect.Heartbeat{Sequence: f.sequence, Send: clock.Instant(f.sent), Late: time.Duration(f.late), Arrival: f.at, Period: x.period}
	p.take(&h, sent, x.mistaken)
}

// met reports whether every peer was heard within a quarter of a second.
func (x *exchange) met() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	since := clock.Now().Add(-250 * time.Millisecond)
	for _, p := range x.peers {
		if p.sent < since {
			return false
		}
	}
	return true
}

// start begins to count.
func (x *exchange) start() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.mistakes, x.counting = 0, make([][]mistake, len(x.detectors)), clock.Now()
}

// mistaken notes a mistake of detector i.
func (x *exchange) mistaken(i int, m mistake) { x.mistakes[i] = append(x.mistakes[i], m) }

// count returns what was counted since start.
func (x *exchange) count() tally {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := tally{Sent: x.sent, Watched: clock.Now().Sub(x.counting) * time.Duration(len(x.peers))}
	for _, made := range x.mistakes {
		t.Mistakes = append(t.Mistakes, uint64(len(made)))
		t.OfLoss = append(t.OfLoss, ofLoss(made, len(x.peers)))
	}
	return t
}

// found returns how the crash of the other end was found.
func (x *exchange) found(crash clock.Instant) findings {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := newFindings(len(x.detectors))
	for _, p := range x.peers {
		p.found(crash, &f)
	}
	return f
}

// judgeSets are the detectors that bare monitors judge by, by period.
var judgeSets = map[string]func(time.Duration) []detect.Detector{
	"solicit": func(period time.Duration) []detect.Detector {
		return []detect.Detector{&detect.Fixed{Multiplier: 4}, &detect.Fixed{Multiplier: 2}, &detect.Chen{Alpha: period}}
	},
	"phases": func(time.Duration) []detect.Detector {
		return []detect.Detector{&detect.Fixed{Multiplier: 3}, &detect.Chen{}}
	},
}

// commandFields splits a line for an end.
func commandFields(line string) (name, arg string) {
	name, arg, _ = strings.Cut(line, " ")
	return name, arg
}
