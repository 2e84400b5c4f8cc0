package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/detect"
)

// exchange is the end of a trial that consists of bare monitors: many nodes on one socket, each of
// which watches the node with its number at the other end. In a single phase each node sends one
// heartbeat per period, and judges by the heartbeats that arrive. In two phases each node sends one
// request per period, which the other end answers at once, and judges by the answers.
type exchange struct {
	fd          int
	remote      *unix.SockaddrInet4
	period      time.Duration
	delay       time.Duration // added to every arrival
	twoPhases   bool
	incarnation uint64
	detectors   []detect.Detector
	begin       clock.Instant
	next        int        // number of the next send, of all nodes
	queue       []inFlight // by arrival
	buf         [datagramSize]byte
	oob         [64]byte

	mu       sync.Mutex // guards what follows
	monitors []*monitor // of the other end's nodes, by number
	sent     uint64
	mistakes [][]mistake   // by detector
	counting clock.Instant // when the counting began
}

// inFlight is a datagram that the kernel has received but that the added delay holds back.
type inFlight struct {
	at clock.Instant // of its arrival
	datagram
}

// datagram is what the ends exchange.
type datagram struct {
	kind        byte
	node        uint32
	incarnation uint64 // of the sender
	echo        uint64 // answer: incarnation of the end that sent the request
	sequence    uint64
	sent        int64 // when the heartbeat or the request left, ns
	late        int64 // how long after its schedule, ns
	answered    int64 // when the answer left, ns
}

// The kinds of datagrams.
const (
	kindHeartbeat = iota + 1
	kindRequest
	kindAnswer
)

// datagramSize is the size of the engine's heartbeats.
const datagramSize = 136

// put encodes d into b.
func (d *datagram) put(b []byte) {
	b[0] = d.kind
	binary.LittleEndian.PutUint32(b[4:], d.node)
	for i, x := range []uint64{d.incarnation, d.echo, d.sequence, uint64(d.sent), uint64(d.late), uint64(d.answered)} {
		binary.LittleEndian.PutUint64(b[8+8*i:], x)
	}
}

// get decodes d from b.
func (d *datagram) get(b []byte) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	d.kind, d.node = b[0], binary.LittleEndian.Uint32(b[4:])
	d.incarnation, d.echo, d.sequence = word(0), word(1), word(2)
	d.sent, d.late, d.answered = int64(word(3)), int64(word(4)), int64(word(5))
}

// runExchange is the subcommand exchange.
func runExchange(options string) error {
	var o endOptions
	if err := o.decode(options); err != nil {
		return err
	}
	x, err := newExchange(&o, uint64(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	if err := x.open(&o); err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		s := scheduling{FIFO: endPriority}
		exitWith("exchange", errors.Join(s.apply(), x.run()))
	}()
	return serveEnd(x)
}

// newExchange returns an exchange that has no socket yet.
func newExchange(o *endOptions, incarnation uint64) (*exchange, error) {
	set, ok := detectorSets[o.Detectors]
	if !ok {
		return nil, fmt.Errorf("there is no set of detectors %q", o.Detectors)
	}
	x := &exchange{
		fd: -1, period: o.Period, delay: o.Delay, twoPhases: o.TwoPhases, incarnation: incarnation,
		detectors: set(o.Period), begin: clock.Now(),
	}
	for range o.Count {
		x.monitors = append(x.monitors, newMonitor(x.detectors, 0))
	}
	x.start()
	return x, nil
}

// open opens the socket.
func (x *exchange) open(o *endOptions) (err error) {
	const buffer = 4 << 20
	x.remote = sockaddr(o.Remote)
	x.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)),
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)),
		os.NewSyscallError("bind", unix.Bind(x.fd, sockaddr(o.Local))),
	)
}

// sockaddr returns an IPv4 address as the kernel has it.
func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// run exchanges datagrams until that fails.
func (x *exchange) run() error {
	x.begin = clock.Now()
	for {
		limit := unix.NsecToTimespec(int64(max(x.due().Sub(clock.Now()), 0)))
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

// due returns the instant of the next send or arrival.
func (x *exchange) due() clock.Instant {
	at := x.dueSend()
	if len(x.queue) > 0 {
		at = min(at, x.queue[0].at)
	}
	return at
}

// dueSend returns the instant of the next send. The nodes' sends are spread over the period.
func (x *exchange) dueSend() clock.Instant {
	return x.begin.Add(time.Duration(x.next) * x.period / time.Duration(len(x.monitors)))
}

// turn receives, takes the arrivals and sends what is due.
func (x *exchange) turn() error {
	if err := x.receive(); err != nil {
		return err
	}
	now := clock.Now()
	for len(x.queue) > 0 && x.queue[0].at <= now {
		x.arrive(&x.queue[0])
		x.queue = x.queue[1:]
	}
	for x.dueSend() <= now {
		d := x.nextDatagram(clock.Now())
		x.send(&d)
	}
	return nil
}

// nextDatagram returns the heartbeat or request of the next send, as it leaves now.
func (x *exchange) nextDatagram(now clock.Instant) datagram {
	nodes := len(x.monitors)
	d := datagram{
		kind: kindHeartbeat, node: uint32(x.next % nodes), incarnation: x.incarnation, sequence: uint64(x.next/nodes) + 1,
		sent: int64(now), late: int64(now.Sub(x.dueSend())),
	}
	if x.twoPhases {
		d.kind = kindRequest
	}
	x.next++
	return d
}

// send sends d. A datagram that the kernel refuses counts as lost on the path.
func (x *exchange) send(d *datagram) {
	d.put(x.buf[:])
	if unix.Sendto(x.fd, x.buf[:], 0, x.remote) == nil {
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
			continue // ECONNREFUSED: the other end does not run
		case err != nil:
			return os.NewSyscallError("recvmsg", err)
		case n != datagramSize:
			continue
		}
		f := inFlight{at: arrivalOf(x.oob[:oobn], reading).Add(x.delay)}
		f.get(x.buf[:])
		if int(f.node) < len(x.monitors) {
			x.queue = append(x.queue, f)
		}
	}
}

// arrivalOf returns the kernel's stamp of a datagram, or the instant of r if there is no stamp.
func arrivalOf(oob []byte, r clock.Reading) clock.Instant {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return r.Now
	}
	i := slices.IndexFunc(messages, func(m unix.SocketControlMessage) bool {
		return m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{}))
	})
	if i < 0 {
		return r.Now
	}
	b := messages[i].Data
	stamp := int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
	return r.Now - clock.Instant(r.Wall-stamp)
}

// arrive takes a datagram.
func (x *exchange) arrive(f *inFlight) {
	if f.kind == kindRequest {
		a := x.answer(&f.datagram, clock.Now())
		x.send(&a)
		return
	}
	sent := clock.Instant(f.sent)
	if f.kind == kindAnswer {
		if f.echo != x.incarnation {
			return // to an earlier process of this end
		}
		sent = clock.Instant(f.answered)
	}
	m := x.monitors[f.node]
	if f.incarnation < m.incarnation {
		return
	}
	if f.incarnation > m.incarnation {
		m = newMonitor(x.detectors, f.incarnation)
		x.monitors[f.node] = m
	}
	h := detect.Heartbeat{Sequence: f.sequence, Send: clock.Instant(f.sent), Late: time.Duration(f.late), Arrival: f.at, Period: x.period}
	m.take(&h, sent, x.mistaken)
}

// answer returns the answer to a request, as it leaves now.
func (x *exchange) answer(request *datagram, now clock.Instant) datagram {
	a := *request
	a.kind, a.echo, a.incarnation, a.answered = kindAnswer, request.incarnation, x.incarnation, int64(now)
	return a
}

// mistaken notes a mistake.
func (x *exchange) mistaken(detector int, m mistake) {
	x.mistakes[detector] = append(x.mistakes[detector], m)
}

// heardAll implements end: it reports whether every node was heard in the last quarter of a second.
func (x *exchange) heardAll() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	since := clock.Now().Add(-250 * time.Millisecond)
	for _, m := range x.monitors {
		if m.sent < since {
			return false
		}
	}
	return true
}

// start implements end.
func (x *exchange) start() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.mistakes, x.counting = 0, make([][]mistake, len(x.detectors)), clock.Now()
}

// count implements end.
func (x *exchange) count() tally {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := tally{Sent: x.sent, Watched: clock.Now().Sub(x.counting) * time.Duration(len(x.monitors))}
	for _, mistakes := range x.mistakes {
		t.Mistakes = append(t.Mistakes, uint64(len(mistakes)))
		t.OfLoss = append(t.OfLoss, ofLoss(mistakes, len(x.monitors)))
	}
	return t
}

// detections implements end.
func (x *exchange) detections(crash clock.Instant) detections {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := newDetections(len(x.detectors))
	for _, m := range x.monitors {
		m.detect(crash, &d)
	}
	return d
}
