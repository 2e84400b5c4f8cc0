package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

const (
	// openTime is how long a loader may take to load and attach; a driver can be slow to take XDP.
	openTime = 30 * time.Second
	// statusTime is how long it may take to say its status.
	statusTime = time.Second
)

// Dial has the loader that serves the Unix socket at path load and attach programs, and maps their memory:
// it needs no capability. Of the options it uses Absorb, Peers and Logger; the others are the loader's, and an
// error here. The loader may allow less, which Status says.
//
// When the loader ends, its programs end, and all datagrams reach the sockets with the kernel's stamps again.
// Status says so, and the logger gets it. The Source does not dial again.
func Dial(path string, o Options) (*Source, error) {
	if err := errors.Join(o.Validate(), o.dialFaults()); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, newError("dial the loader", err, "a loader must serve the socket, and its permissions must allow this user")
	}
	s, err := dial(c, o)
	if err != nil {
		return nil, errors.Join(failed("open at the loader", err), c.Close())
	}
	return s, nil
}

// dialFaults returns an error if options are set that are the loader's.
func (o *Options) dialFaults() error {
	if len(o.Interfaces)+len(o.XDP) > 0 || o.Cgroup != "" || o.Hook != "" {
		return errors.New("bpf: Interfaces, XDP, Cgroup and Hook are options of the loader, and not of Dial")
	}
	return nil
}

// dial opens over a connection.
func dial(c *net.UnixConn, o Options) (*Source, error) {
	if err := c.SetDeadline(time.Now().Add(openTime)); err != nil {
		return nil, err
	}
	f, err := frame(request{Version: protocolVersion, Op: opOpen, Absorb: o.Absorb, Peers: o.Peers})
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(f); err != nil {
		return nil, err
	}
	t, first, err := readOpened(c)
	if err != nil {
		return nil, err
	}
	r := newRemote(c, t, o, first)
	go r.read()
	if err := errors.Join(c.SetDeadline(time.Time{}), r.sameClock()); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return &Source{table: t, owner: r}, nil
}

// sameClock returns an error if the loader's clock is not ours. Its programs stamp in its clock.
func (r *remote) sameClock() error {
	before := clock.Now()
	answer, err := r.ask()
	if err != nil {
		return err
	}
	if after := clock.Now(); answer.Now < before || answer.Now > after {
		return newError("compare clocks", fmt.Errorf("the loader's is %v off", answer.Now.Sub(before)), "run the loader in the same time namespace")
	}
	return nil
}

// numMaps is how many maps a table has.
const numMaps = 4

// readOpened reads the answer to open, and maps the table that rides on it.
func readOpened(c *net.UnixConn) (*table, Status, error) {
	var size [4]byte
	rights := make([]byte, unix.CmsgSpace(4*numMaps))
	n, m, _, _, err := c.ReadMsgUnix(size[:], rights)
	if err != nil {
		return nil, Status{}, err
	}
	descriptors := received(rights[:m])
	defer func() {
		for _, fd := range descriptors {
			_ = unix.Close(fd)
		}
	}()
	if _, err := io.ReadFull(c, size[n:]); err != nil {
		return nil, Status{}, err
	}
	var answer reply
	if err := readBody(c, binary.BigEndian.Uint32(size[:]), &answer, maxReply); err != nil {
		return nil, Status{}, err
	}
	switch {
	case answer.Error != nil:
		return nil, Status{}, answer.Error
	case answer.Status == nil || len(descriptors) != numMaps:
		return nil, Status{}, fmt.Errorf("an answer with %d maps", len(descriptors))
	}
	t, err := mapTable(tableMaps{descriptors[0], descriptors[1], descriptors[2], descriptors[3], answer.Slots, answer.Rings})
	return t, *answer.Status, err
}

// received returns the descriptors in control messages.
func received(control []byte) (descriptors []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			descriptors = append(descriptors, more...)
		}
	}
	return descriptors
}

// remote is a loader at the other end of a connection.
type remote struct {
	connection *net.UnixConn
	table      *table
	absorb     bool // was asked for
	log        *slog.Logger
	replies    chan reply
	ended      chan struct{} // closed when the connection has ended, and end is set
	end        error

	mu   sync.Mutex // guards id and last, and lets one goroutine ask at a time
	id   uint64
	last Status
}

func newRemote(c *net.UnixConn, t *table, o Options, first Status) *remote {
	return &remote{
		connection: c, table: t, absorb: o.Absorb, log: o.Logger,
		replies: make(chan reply, 1), ended: make(chan struct{}), last: first,
	}
}

// read passes replies on until the connection ends.
func (r *remote) read() {
	for {
		var answer reply
		if err := readFrame(r.connection, &answer, maxReply); err != nil {
			r.end = err
			close(r.ended)
			if !errors.Is(err, net.ErrClosed) {
				r.log.Warn("bpf: the loader has ended", "error", err)
			}
			return
		}
		select {
		case <-r.replies: // it came too late for who asked
		default:
		}
		r.replies <- answer
	}
}

// ask asks for the status.
func (r *remote) ask() (reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id++
	f, err := frame(request{Version: protocolVersion, Op: opStatus, ID: r.id})
	if err != nil {
		return reply{}, err
	}
	if err := r.connection.SetWriteDeadline(time.Now().Add(statusTime)); err != nil {
		return reply{}, err
	}
	if _, err := r.connection.Write(f); err != nil {
		_ = r.connection.Close() // a part of a request cannot be taken back
		<-r.ended
		return reply{}, r.end
	}
	timer := time.NewTimer(statusTime)
	defer timer.Stop()
	for {
		select {
		case answer := <-r.replies:
			if answer.ID == r.id && answer.Status != nil {
				r.last = *answer.Status
				return answer, nil
			}
		case <-r.ended:
			return reply{}, r.end
		case <-timer.C:
			return reply{}, errors.New("no answer")
		}
	}
}

// status returns the loader's. If the loader does not answer, its last one counts; if it has ended,
// nothing is attached.
func (r *remote) status() Status {
	_, err := r.ask()
	select {
	case <-r.ended:
		return Status{Tier: Kernel, Loader: newError("ask the loader", r.end, "it has ended, and its programs with it; dial again")}
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.last
	if err != nil {
		s.Loader = newError("ask the loader", err, "")
	}
	if r.absorb && s.Tier == Stamps && s.Limit == nil {
		s.Limit = newError("absorb", errors.New("the loader does not allow it"), "")
	}
	return s
}

// close ends the connection, and with it the programs.
func (r *remote) close() error {
	err := r.connection.Close()
	<-r.ended
	r.table.close()
	if errors.Is(err, net.ErrClosed) {
		return nil // the loader has ended before
	}
	return err
}
