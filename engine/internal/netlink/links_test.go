//go:build linux

package netlink

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// withLinks runs f with a Links in a network namespace of its own.
func withLinks(t *testing.T, f func(*Links)) {
	t.Helper()
	netlab.InNamespace(t, func() {
		links, err := OpenLinks()
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		f(links)
	})
}

func TestLinksHearsOfChanges(t *testing.T) {
	netlab.InNamespace(t, func() {
		links, err := OpenLinks()
		if err != nil {
			t.Error(err)
			return
		}
		heard := make(chan LinkChange, 64)
		ended := make(chan error, 1)
		go func() {
			for {
				changes, err := links.Next()
				if err != nil {
					ended <- err
					return
				}
				for _, c := range changes {
					heard <- c
				}
			}
		}()
		v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
		netlab.IP(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		netlab.IP(t, "link", "set", "b0", "up")
		for _, step := range []struct {
			args []string
			want LinkChange
		}{
			{[]string{"link", "set", "a0", "up"}, LinkChange{Kind: LinkUp}},
			{[]string{"addr", "add", "192.0.2.7/24", "dev", "a0"}, LinkChange{Kind: AddrAdded, Addr: v4}},
			{[]string{"addr", "add", "2001:db8::7/64", "dev", "a0", "nodad"}, LinkChange{Kind: AddrAdded, Addr: v6}},
			{[]string{"addr", "del", "192.0.2.7/24", "dev", "a0"}, LinkChange{Kind: AddrRemoved, Addr: v4}},
			{[]string{"link", "set", "b0", "down"}, LinkChange{Kind: LinkDown}}, // a0 loses its carrier
			{[]string{"link", "set", "b0", "up"}, LinkChange{Kind: LinkUp}},
			{[]string{"addr", "del", "2001:db8::7/64", "dev", "a0"}, LinkChange{Kind: AddrRemoved, Addr: v6}},
			{[]string{"link", "del", "a0"}, LinkChange{Kind: LinkGone}},
		} {
			netlab.IP(t, step.args...)
			if !hears(heard, step.want) {
				t.Errorf("ip %v: did not hear of %v %v", step.args, step.want.Kind, step.want.Addr)
			}
		}
		if err := links.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Next after Close: %v, want os.ErrClosed", err)
		}
	})
}

// When an interface leaves a bridge, the bridge announces it as deleted. It still exists.
func TestLeavingBridgeIsNotGone(t *testing.T) {
	withLinks(t, func(links *Links) {
		netlab.IP(t, "link", "add", "br0", "type", "bridge")
		netlab.IP(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		netlab.IP(t, "link", "set", "a0", "master", "br0")
		netlab.IP(t, "link", "set", "a0", "nomaster")
		netlab.IP(t, "addr", "add", "192.0.2.7/24", "dev", "lo") // the last change
		for {
			changes, err := links.Next()
			if err != nil {
				t.Error(err)
				return
			}
			for _, c := range changes {
				if c.Kind == LinkGone {
					t.Errorf("interface %d counts as gone", c.Index)
				}
				if c.Kind == AddrAdded {
					return
				}
			}
		}
	})
}

// hears waits for a change of the wanted kind and address.
func hears(heard <-chan LinkChange, want LinkChange) bool {
	timeout := time.After(2 * time.Second)
	for {
		select {
		case c := <-heard:
			if c.Kind == want.Kind && c.Addr == want.Addr && c.Index > 0 {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// Next returns ErrResync if changes come faster than they are read. The kernel drops changes
// until the queue is empty.
func TestLinksAsksForResync(t *testing.T) {
	withLinks(t, func(links *Links) {
		err := links.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
		if err != nil {
			t.Error(err)
			return
		}
		for range 10 {
			netlab.IP(t, "addr", "add", "192.0.2.7/24", "dev", "lo")
			netlab.IP(t, "addr", "del", "192.0.2.7/24", "dev", "lo")
		}
		resync, heard := make(chan bool, 64), make(chan LinkChange, 256)
		go func() {
			for {
				changes, err := links.Next()
				if errors.Is(err, ErrResync) {
					resync <- true
				} else if err != nil {
					return
				}
				for _, c := range changes {
					heard <- c
				}
			}
		}()
		select {
		case <-resync:
		case <-time.After(2 * time.Second):
			t.Error("an overflow was not announced as ErrResync")
		}
		for range 20 {
			netlab.IP(t, "addr", "add", "192.0.2.8/24", "dev", "lo")
			netlab.IP(t, "addr", "del", "192.0.2.8/24", "dev", "lo")
		}
		if !hears(heard, LinkChange{Kind: AddrRemoved, Addr: netip.MustParseAddr("192.0.2.8")}) {
			t.Error("changes after the overflow were not heard")
		}
	})
}

// control calls f with the descriptor.
func (l *Links) control(f func(fd int) error) (err error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := conn.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(controlErr, err)
}

// message builds a message with a body and attributes of type, value pairs.
func message(kind uint16, body []byte, attrs ...any) []byte {
	b := append(appendHeader(nil, kind, 0, 0), body...)
	for i := 0; i < len(attrs); i += 2 {
		b = appendAttribute(b, uint16(attrs[i].(int)), attrs[i+1].([]byte))
		b = append(b, make([]byte, align(len(b))-len(b))...)
	}
	setLength(b)
	return b
}

// On a point-to-point link, IFA_ADDRESS is the address of the other end.
func TestLocalAddressOfPointToPoint(t *testing.T) {
	body := []byte{unix.AF_INET, 32, 0, 0, 9, 0, 0, 0}
	theirs, ours := []byte{10, 0, 0, 2}, []byte{10, 0, 0, 1}
	for _, attrs := range [][]any{
		{unix.IFA_ADDRESS, theirs, unix.IFA_LOCAL, ours},
		{unix.IFA_LOCAL, ours, unix.IFA_ADDRESS, theirs},
		{unix.IFA_ADDRESS, ours},
		{unix.IFA_LABEL, []byte("ppp0\x00"), unix.IFA_LOCAL, ours},
	} {
		got := appendChanges(nil, message(unix.RTM_NEWADDR, body, attrs...))
		want := []LinkChange{{Kind: AddrAdded, Index: 9, Addr: netip.MustParseAddr("10.0.0.1")}}
		if !slices.Equal(got, want) {
			t.Errorf("attributes %v: %v, want %v", attrs, got, want)
		}
	}
}

// FuzzAppendChanges: no input reads past the end, and there is never more than one
// change per header's length.
func FuzzAppendChanges(f *testing.F) {
	addr := message(unix.RTM_DELADDR, []byte{unix.AF_INET, 32, 0, 0, 9, 0, 0, 0}, unix.IFA_LOCAL, []byte{10, 0, 0, 1})
	link := message(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg))
	f.Add(addr)
	f.Add(append(link, addr...))
	f.Add(addr[:len(addr)-1])                                             // the message is longer than the datagram
	f.Add(link[:headerSize])                                              // no body
	f.Add(append(make([]byte, 4), addr...))                               // a length of 0
	f.Add(append(addr[:len(addr)-8:len(addr)-8], 3, 0, 1, 0, 0, 0, 0, 0)) // an attribute shorter than its header
	f.Fuzz(func(t *testing.T, b []byte) {
		got := appendChanges(nil, slices.Clip(b))
		if len(got) > len(b)/headerSize {
			t.Fatalf("%d changes in %d bytes", len(got), len(b))
		}
		for _, c := range got {
			if isAddr := c.Kind == AddrAdded || c.Kind == AddrRemoved; isAddr != c.Addr.IsValid() {
				t.Fatalf("%v with address %v", c.Kind, c.Addr)
			}
		}
	})
}
