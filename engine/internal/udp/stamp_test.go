//go:build linux

package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"

	"systole/engine/internal/network"
)

// stampsOf reads transmit stamps until there are n, for at most two seconds.
func stampsOf(t *testing.T, s *Socket, n int) (all []Returned) {
	t.Helper()
	reader := NewErrorReader()
	for end := time.Now().Add(2 * time.Second); len(all) < n && time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		entries, err := reader.Read(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			e.Quoted = []byte(string(e.Quoted))
			all = append(all, e)
		}
	}
	if len(all) != n {
		t.Fatalf("%d stamps, want %d", len(all), n)
	}
	return all
}

// The chosen datagrams of a batch are stamped, each stamp comes with its datagram, and all arrive in order
// from the socket's address.
func TestTransmitStamps(t *testing.T) {
	for _, f := range families {
		a, b := openTest(t, f.addr), openTest(t, f.addr)
		send, recv := NewSender(), NewReceiver()
		to := network.AddrFrom(b.Local())
		before := time.Now().UnixNano()
		var want []string
		for i := range Batch {
			payload := fmt.Sprintf("heartbeat %d %s", i, strings.Repeat("h", 150))
			if n := copy(send.Next(), payload); i%2 == 0 {
				send.Commit(n, &to)
			} else {
				send.CommitFrom(n, &to, a.LocalAddr(), 0)
			}
			if i%5 == 0 {
				send.Stamp()
				want = append(want, payload)
			}
		}
		if a.AwaitsStamps() {
			t.Errorf("%s: awaits stamps of what was not sent", f.name)
		}
		flush(t, send, a)
		if !a.AwaitsStamps() {
			t.Errorf("%s: awaits no stamps", f.name)
		}
		for i, e := range stampsOf(t, a, len(want)) {
			if string(e.Quoted) != want[i] {
				t.Errorf("%s: stamp %d is of %.20q, want %.20q", f.name, i, e.Quoted, want[i])
			}
			if e.Stamp < before || e.Stamp > time.Now().UnixNano() || e.PortUnreachable {
				t.Errorf("%s: stamp %d is %+v", f.name, i, e)
			}
		}
		if n := recvSome(t, recv, b); n != Batch || a.AwaitsStamps() || a.HasErrors() {
			t.Errorf("%s: %d received; still awaits stamps: %v, %v", f.name, n, a.AwaitsStamps(), a.HasErrors())
		}
		for i := range Batch {
			if !strings.HasPrefix(string(recv.Datagram(i)), fmt.Sprintf("heartbeat %d ", i)) || *recv.From(i) != *a.LocalAddr() {
				t.Errorf("%s: datagram %d is %.20q from %v", f.name, i, recv.Datagram(i), recv.From(i))
			}
		}
		put(t, send, "without", b.Local()) // in place of a stamped one
		flush(t, send, a)
		if a.AwaitsStamps() {
			t.Errorf("%s: a request outlived its datagram", f.name)
		}
	}
}

// The stamp of the largest datagram comes with its beginning.
func TestStampOfLargestDatagram(t *testing.T) {
	for _, f := range families {
		a, b := openTest(t, f.addr), openTest(t, f.addr)
		send := NewSender()
		put(t, send, "begins"+strings.Repeat("m", MaxDatagram-6), b.Local())
		send.Stamp()
		flush(t, send, a)
		if e := stampsOf(t, a, 1)[0]; !strings.HasPrefix(string(e.Quoted), "begins") || len(e.Quoted) < MaxDatagram-64 {
			t.Errorf("%s: %d bytes %.20q", f.name, len(e.Quoted), e.Quoted)
		}
	}
}

// Stamps and returned datagrams share a queue, and each is what it is.
func TestStampsAmongErrors(t *testing.T) {
	for _, f := range families {
		s, live := openTest(t, f.addr), openTest(t, f.addr)
		dead, send := closedPort(t, f.addr), NewSender()
		for i := range 4 {
			put(t, send, fmt.Sprint("returned ", i), dead)
			send.Stamp()
			put(t, send, fmt.Sprint("taken ", i), live.Local())
			send.Stamp()
		}
		flush(t, send, s)
		stamped, returned := 0, 0
		for _, e := range stampsOf(t, s, 12) {
			switch {
			case e.PortUnreachable && e.Stamp == 0 && e.Peer == network.AddrFrom(dead) && strings.HasPrefix(string(e.Quoted), "returned"):
				returned++
			case !e.PortUnreachable && e.Stamp != 0 && len(e.Quoted) > 6:
				stamped++
			default:
				t.Errorf("%s: %+v", f.name, e)
			}
		}
		if stamped != 8 || returned != 4 {
			t.Errorf("%s: %d stamps, %d returned", f.name, stamped, returned)
		}
	}
}

// Where the kernel does not know the request, the datagram is sent without a stamp. Its own EINVAL stays.
func TestUnknownStampRequest(t *testing.T) {
	for _, f := range families {
		a, b := openTest(t, f.addr), openTest(t, f.addr)
		send, recv := NewSender(), NewReceiver()
		for i := range 4 {
			put(t, send, fmt.Sprint("heartbeat ", i), b.Local())
			if i%2 == 0 {
				send.Stamp()
				(*unix.Cmsghdr)(unsafe.Pointer(&send.controls[i][0])).Type = 0x7fff
			}
		}
		flush(t, send, a)
		if n := recvSome(t, recv, b); n != 4 || a.AwaitsStamps() {
			t.Errorf("%s: %d of 4 received; awaits stamps: %v", f.name, n, a.AwaitsStamps())
		}
		put(t, send, "to no port", netip.AddrPortFrom(f.addr, 0))
		send.Stamp()
		if sent := send.Flush(a); sent != 0 || send.Err(0) != unix.EINVAL {
			t.Errorf("%s: %d sent to port 0, %v", f.name, sent, send.Err(0))
		}
	}
}

// A stamp that comes after the queue was read is found by Wait. The wait in this host is in the stamp.
func TestLateStamps(t *testing.T) {
	needs(t, "tc")
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		netlab.IP(t, "neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "a0")
		run(t, "tc", "qdisc", "add", "dev", "a0", "root", "tbf", "rate", "800kbit", "burst", "1600", "limit", "100000")
		s, send, reader := openTest(t, netip.IPv4Unspecified()), NewSender(), NewErrorReader()
		w, err := NewWaiter(s)
		if err != nil {
			t.Error(err)
			return
		}
		defer w.Close()
		const datagrams = 8
		for i := range datagrams {
			put(t, send, fmt.Sprint(i, strings.Repeat("h", 957)), netip.MustParseAddrPort("192.0.2.9:9")) // 10 ms each
			send.Stamp()
		}
		before := time.Now().UnixNano()
		if sent := send.Flush(s); sent != datagrams {
			t.Errorf("%d sent", sent)
		}
		entries, _ := reader.Read(s)
		got := len(entries)
		if got == datagrams || s.HasErrors() || s.AwaitsStamps() {
			t.Errorf("%d stamps at once; more: %v, %v", got, s.HasErrors(), s.AwaitsStamps())
		}
		last := time.Duration(0)
		for end := time.Now().Add(3 * time.Second); got < datagrams && time.Now().Before(end); {
			ready, err := w.Wait(time.Second, true)
			if err != nil || ready.Errors > 0 && !s.HasErrors() {
				t.Errorf("%v, %v while %d stamps are missing", ready, err, datagrams-got)
				return
			}
			if ready.Errors == 0 {
				continue // the stamp that ended the wait was read before
			}
			entries, _ := reader.Read(s)
			for _, e := range entries {
				got++
				last = time.Duration(e.Stamp - before)
			}
		}
		if last < 40*time.Millisecond || last > time.Second {
			t.Errorf("the last of %d datagrams that take 10 ms each left after %v", got, last)
		}
	})
}

// The UDP header is found behind any others, and only there.
func TestPayloadBehindHeaders(t *testing.T) {
	packet := func(headers, says, length int) []byte {
		b := make([]byte, headers+udpHeader+length)
		binary.BigEndian.PutUint16(b[headers:], 7853)
		binary.BigEndian.PutUint16(b[headers+4:], uint16(says))
		return b
	}
	for _, test := range []struct {
		headers, says, length int
		found                 bool
	}{
		{20, 108, 100, true}, {14 + 40, 108, 100, true}, {18 + 60, 8, 0, true}, {maxHeaders, 108, 100, true},
		{19, 108, 100, false}, {maxHeaders + 1, 108, 100, false}, {34, 107, 100, false}, {34, 109, 100, false},
		{34, 8 + 1300, slotSize - 34 - udpHeader, true}, {34, 8 + 1000, slotSize - 34 - udpHeader, false},
	} {
		b := packet(test.headers, test.says, test.length)
		if got := payload(b, 7853); (got != nil) != test.found || test.found && len(got) != test.length {
			t.Errorf("%+v: %d bytes", test, len(got))
		}
		if test.found && payload(b, 7947) != nil {
			t.Errorf("%+v: found for another port", test)
		}
	}
	for n := range 40 {
		if payload(make([]byte, n), 7853) != nil {
			t.Errorf("a payload in %d bytes", n)
		}
	}
}
