package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/wire"
)

// A tap notes when heartbeats pass a device, by the kernel's stamps of a packet socket. On the way in, that is
// before a BPF program at the device runs; on the way out, after the device's queue. The datagrams wait
// in the kernel until they are asked for, so a tap wakes nobody meanwhile.
type tap struct{ fd int }

// passing is a heartbeat that has passed a device.
type passing struct {
	at clock.Instant
	h  wire.Header
}

// The directions of a tap.
const (
	incoming = unix.PACKET_HOST
	outgoing = unix.PACKET_OUTGOING
)

// tapBuffer holds a minute of heartbeats, and more.
const tapBuffer = 64 << 20

// openTap opens a tap at a device of a host, for datagrams to childPort in one direction.
func openTap(h *netlab.Host, device string, direction uint32) (*tap, error) {
	t := &tap{fd: -1}
	err := h.Do(func() error { return t.open(device, direction) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a packet socket at %s: %w", device, err), t.close())
	}
	return t, nil
}

// open opens the socket in the namespace of the calling thread. No protocol is set until the filter is.
func (t *tap) open(device string, direction uint32) (err error) {
	index, err := deviceIndex(device)
	if err != nil {
		return err
	}
	if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	filter, err := tapFilter(direction)
	if err != nil {
		return err
	}
	return errors.Join(
		unix.SetsockoptSockFprog(t.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter),
		unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
		unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}),
	)
}

// deviceIndex returns the index of a device in the namespace of the calling thread.
func deviceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}

// networkOrder returns x as the kernel wants it in a field in network order.
func networkOrder(x uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, x))
}

// tapFilter returns a filter of UDP over IPv4 to childPort, in one direction. The socket has no link
// header, so a datagram begins with the IP header.
func tapFilter(direction uint32) (*unix.SockFprog, error) {
	const protocolAt, portAt = 9, 2
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: direction, SkipTrue: 6},
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: portAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: childPort, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}, nil
}

// close closes the socket.
func (t *tap) close() error {
	if t.fd < 0 {
		return nil
	}
	return unix.Close(t.fd)
}

// passed returns the heartbeats that have passed since the last call.
func (t *tap) passed() (all []passing, err error) {
	offset := wallOffset()
	b, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(t.fd, b, oob, 0)
		if errors.Is(err, unix.EAGAIN) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a packet socket: %w", err)
		}
		stamp, ok := stampOf(oob[:oobn])
		p := passing{at: clock.Instant(stamp + offset)}
		if ok && heartbeatIn(b[:n], &p.h) {
			all = append(all, p)
		}
	}
}

// wallOffset returns what to add to a CLOCK_REALTIME stamp to get an instant. Of many readings it takes
// the one that took least time.
func wallOffset() (offset int64) {
	best := time.Hour
	for range 50 {
		before := clock.Now()
		wall := time.Now().UnixNano()
		after := clock.Now()
		if took := after.Sub(before); took < best {
			best, offset = took, int64(before)+int64(took)/2-wall
		}
	}
	return offset
}

// stampOf returns the kernel's stamp in the control messages of a datagram.
func stampOf(oob []byte) (ns int64, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			seconds, rest := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return int64(seconds)*int64(time.Second) + int64(rest), true
		}
	}
	return 0, false
}

// heartbeatIn decodes the heartbeat in an IPv4 packet that tapFilter lets through.
func heartbeatIn(packet []byte, h *wire.Header) bool {
	const udpHeader = 8
	if len(packet) == 0 {
		return false
	}
	header := int(packet[0]&15)*4 + udpHeader
	if len(packet) < header {
		return false
	}
	_, fault := wire.Decode(packet[header:], h)
	return fault == wire.OK
}
