// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

//go:build linux

package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is the memory of one recvmmsg(2) or sendmmsg(2). The headers point to the elements
// of the other slices.
type batch struct {
	headers  []unix.Mmsghdr
	vectors  []unix.Iovec
	addrs    []Addr // of the other side
	controls [][]byte
	data     [][slotSize]byte
	received int // headers that the kernel wrote to
}

// newBatch returns a batch of n datagrams, about 1.3 KiB each, and so much for the control messages of each.
func newBatch(n, control int) batch {
	b := batch{
		headers: make([]unix.Mmsghdr, n), vectors: make([]unix.Iovec, n), addrs: make([]Addr, n),
		controls: make([][]byte, n), data: make([][slotSize]byte, n),
	}
	slab := make([]byte, n*control)
	for i := range n {
		b.controls[i] = slab[i*control : (i+1)*control : (i+1)*control]
		b.vectors[i].Base = &b.data[i][0]
		b.vectors[i].SetLen(slotSize)
		h := &b.headers[i].Hdr
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Name = &b.addrs[i][0]
		h.Control = &b.controls[i][0]
	}
	b.received = n
	return b
}

// receive reads datagrams, or entries of the error queue, without waiting.
func (b *batch) receive(s *Socket, flags int) (int, unix.Errno) {
	for i := range b.headers[:b.received] {
		// The kernel has shortened the lengths.
		b.headers[i].Hdr.Namelen = uint32(len(Addr{}))
		b.headers[i].Hdr.SetControllen(len(b.controls[i]))
	}
	b.received = 0
	s.calls.Add(1)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers[0])),
		uintptr(len(b.headers)), uintptr(unix.MSG_DONTWAIT|flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	b.received = int(n)
	for i := range b.headers[:n] {
		canonical(&b.addrs[i], b.headers[i].Hdr.Namelen)
	}
	return int(n), 0
}

// datagram returns the data of datagram i, cut to the length of a slot.
func (b *batch) datagram(i int) []byte { return b.data[i][:min(b.headers[i].Len, slotSize)] }

// control returns the control messages of datagram i.
func (b *batch) control(i int) control {
	return parseControl(b.controls[i][:min(int(b.headers[i].Hdr.Controllen), len(b.controls[i]))])
}
