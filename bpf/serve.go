package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// A loader and its clients talk in frames: a length of four bytes, big-endian, and an object in JSON.
// The client asks, the loader answers each request. The descriptors of the maps ride on the answer to open.
// The first request opens, all others ask for the status.

const (
	protocolVersion = 1
	maxRequest      = 1 << 10
	maxReply        = 4 << 20

	// maxConnections stays below what tcx holds at one interface, 64 programs.
	maxConnections = 32
	// handshakeTime is how long a client may take to open, and to read an answer.
	handshakeTime = 5 * time.Second
)

const (
	opOpen   = "open"
	opStatus = "status"
)

// request is what a client asks for.
type request struct {
	Version int    `json:"version"`
	ID      uint64 `json:"id"`
	Op      string `json:"op"`
	Absorb  bool   `json:"absorb,omitempty"` // of open, as Options have it
	Peers   int    `json:"peers,omitempty"`  // of open
}

// reply answers the request of the same ID.
type reply struct {
	ID     uint64        `json:"id"`
	Now    clock.Instant `json:"now"`             // when it was written
	Slots  int           `json:"slots,omitempty"` // of the table that is opened
	Rings  int           `json:"rings,omitempty"`
	Status *Status       `json:"status,omitempty"`
	Error  *Error        `json:"error,omitempty"`
}

// Serve loads and attaches programs for other processes, which then need no capability: each connection
// that Dial makes gets a table and programs of its own, which end with the connection, and with this
// process. The options bound what a client gets: Peers is the most, and Absorb allows it. Programs are attached
// in the network namespace of the calling thread.
//
// The permissions of the socket's file are the access control. Who may connect may have heartbeats stamped,
// and with Absorb taken, whose discriminators it knows, of whichever process they are. A client trusts the loader.
//
// Serve returns when ctx ends, with its error, or when the listener fails; all programs have ended then. It
// does not close the listener.
func Serve(ctx context.Context, l *net.UnixListener, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	namespace, err := netns.Get()
	if err != nil {
		return failed("find the network namespace", err)
	}
	defer func() { _ = namespace.Close() }()
	return newServer(o.withDefaults(), namespace).run(ctx, l)
}

// server is the connections of one Serve.
type server struct {
	options     Options
	namespace   netns.NsHandle
	room        chan struct{}
	handshake   time.Duration
	connections sync.WaitGroup
}

func newServer(o Options, namespace netns.NsHandle) *server {
	return &server{options: o, namespace: namespace, room: make(chan struct{}, maxConnections), handshake: handshakeTime}
}

// run accepts connections until ctx ends or the listener fails.
func (s *server) run(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer s.connections.Wait()
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return context.Cause(ctx)
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ECONNABORTED):
			s.options.Logger.Warn("bpf: accept", "error", err)
			time.Sleep(firstRetry)
		case err != nil:
			return err
		default:
			s.accept(ctx, c)
		}
	}
}

// accept serves a connection in a goroutine of its own, or closes it if there are too many.
func (s *server) accept(ctx context.Context, c *net.UnixConn) {
	select {
	case s.room <- struct{}{}:
	default:
		s.options.Logger.Warn("bpf: too many connections", "limit", maxConnections)
		_ = c.Close()
		return
	}
	s.connections.Go(func() {
		defer func() { <-s.room }()
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		defer func() { _ = c.Close() }()
		if err := s.serve(c); err != nil && !errors.Is(err, io.EOF) {
			s.options.Logger.Warn("bpf: connection", "error", err)
		}
	})
}

// serve answers the requests of one connection, until it ends.
func (s *server) serve(c *net.UnixConn) error {
	l, err := s.open(c)
	if err != nil {
		return err
	}
	defer func() { _ = l.close() }()
	for {
		var r request
		if err := readFrame(c, &r, maxRequest); err != nil {
			return err
		}
		if r.Op != opStatus || r.Version != protocolVersion {
			return fmt.Errorf("request %q of version %d", r.Op, r.Version)
		}
		status := l.status()
		if err := writeReply(c, reply{ID: r.ID, Status: &status}, nil); err != nil {
			return err
		}
	}
}

// open answers the first request.
func (s *server) open(c *net.UnixConn) (*loader, error) {
	if err := c.SetReadDeadline(time.Now().Add(s.handshake)); err != nil {
		return nil, err
	}
	var r request
	if err := readFrame(c, &r, maxRequest); err != nil {
		return nil, err
	}
	l, err := s.load(r)
	if err != nil {
		return nil, errors.Join(err, writeReply(c, reply{ID: r.ID, Error: failed("open", err)}, nil))
	}
	m, status := l.programs.maps(), l.status()
	opened := reply{ID: r.ID, Slots: m.numSlots, Rings: m.numRings, Status: &status}
	err = writeReply(c, opened, []int{m.control, m.slots, m.rings, m.counters})
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	s.options.Logger.Info("bpf: client", "credentials", credentials(c))
	return l, nil
}

// load loads what an open request may have.
func (s *server) load(r request) (*loader, error) {
	if r.Op != opOpen || r.Version != protocolVersion {
		return nil, newError("open", fmt.Errorf("request %q of version %d", r.Op, r.Version), "loader and client should be of one release")
	}
	if r.Peers < 1 || r.Peers > MaxPeers {
		return nil, newError("open", fmt.Errorf("%d peers", r.Peers), "")
	}
	o := s.options
	o.Peers = min(o.Peers, r.Peers)
	o.Absorb = o.Absorb && r.Absorb
	return newLoader(o, s.namespace)
}

// credentials says who is at the other end.
func credentials(c *net.UnixConn) string {
	text := "unknown"
	raw, err := c.SyscallConn()
	if err != nil {
		return text
	}
	_ = raw.Control(func(fd uintptr) {
		if u, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			text = fmt.Sprintf("pid %d uid %d", u.Pid, u.Uid)
		}
	})
	return text
}

// readFrame reads one frame into v. It reads at most limit bytes, and no part of a frame that is malformed.
func readFrame(c io.Reader, v any, limit uint32) error {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	return readBody(c, binary.BigEndian.Uint32(size[:]), v, limit)
}

// readBody reads the rest of a frame.
func readBody(c io.Reader, size uint32, v any, limit uint32) error {
	if size > limit {
		return fmt.Errorf("a frame of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("a frame with more than one value")
	}
	return nil
}

// frame returns v as a frame.
func frame(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), nil
}

// writeReply writes a reply, on which descriptors ride.
func writeReply(c *net.UnixConn, r reply, descriptors []int) error {
	r.Now = clock.Now()
	f, err := frame(r)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	n, _, err := c.WriteMsgUnix(f, rights, nil)
	if err == nil && n < len(f) {
		_, err = c.Write(f[n:])
	}
	return err
}
