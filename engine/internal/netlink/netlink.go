//go:build linux

// Package netlink asks the kernel for the links, addresses and routes of this host, and
// receives their changes (rtnetlink(7)). It needs no privilege. Each socket is in the
// network namespace of the thread that opened it.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// open opens a non-blocking socket that receives the messages of multicast groups.
func open(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, failed("open a socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, errors.Join(failed("bind a socket", err), unix.Close(fd))
	}
	return fd, nil
}

// failed returns a non-nil err with the step that failed.
func failed(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("netlink: %s: %w", step, err)
}

// listener receives the messages of multicast groups.
type listener struct{ file *os.File }

func listen(groups uint32) (listener, error) {
	fd, err := open(groups)
	return listener{os.NewFile(uintptr(fd), "netlink")}, err
}

// read calls f when there is something to read, until f returns true. Its only error is
// os.ErrClosed, after Close.
func (l *listener) read(f func(fd uintptr) bool) error {
	conn, err := l.file.SyscallConn()
	if err == nil {
		err = conn.Read(f)
	}
	if err != nil {
		return os.ErrClosed
	}
	return nil
}

// receive waits for a datagram and returns its length, which may exceed that of b. The
// length is 0 if another process sent it. After Close the error is os.ErrClosed.
func (l *listener) receive(b []byte) (n int, err error) {
	closed := l.read(func(fd uintptr) bool {
		var from unix.Sockaddr
		n, from, err = unix.Recvfrom(int(fd), b, unix.MSG_TRUNC)
		// With CAP_NET_ADMIN any process can write to this socket; only the kernel has port 0.
		if kernel, ok := from.(*unix.SockaddrNetlink); err == nil && (!ok || kernel.Pid != 0) {
			n = 0
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if closed != nil {
		return 0, closed
	}
	return n, failed("receive changes", err)
}

// Close ends listening: a Next that waits returns os.ErrClosed. Any goroutine may call it.
func (l *listener) Close() error { return l.file.Close() }

// Fields are in host order; messages and attributes are padded to 4 bytes (netlink(7)).
const (
	headerSize = unix.SizeofNlMsghdr
	attrHeader = unix.SizeofRtAttr
)

// align returns n padded.
func align(n int) int { return (n + 3) &^ 3 }

// appendHeader begins a message, whose length setLength sets at the end.
func appendHeader(b []byte, kind, flags uint16, sequence uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	return binary.NativeEndian.AppendUint32(b, 0) // the kernel sets the sender's port
}

// appendAttribute appends an attribute whose value needs no padding.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...)
}

func setLength(b []byte) { binary.NativeEndian.PutUint32(b, uint32(len(b))) }

// messages yields the type and the body of each message of a datagram, up to the first
// message that does not fit.
func messages(datagram []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for b := datagram; len(b) >= headerSize; {
			n := int(binary.NativeEndian.Uint32(b))
			if n < headerSize || n > len(b) || !yield(binary.NativeEndian.Uint16(b[4:]), b[headerSize:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// attributes yields the type and the value of each attribute, up to the first one that
// does not fit.
func attributes(list []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for b := list; len(b) >= attrHeader; {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrHeader || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:]), b[attrHeader:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}
