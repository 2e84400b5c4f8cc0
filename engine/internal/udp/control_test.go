//go:build linux

package udp

import (
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// controlMessage builds a control message with its padding.
func controlMessage(level, kind uint32, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// stampMessage is the kernel's message with a software stamp.
func stampMessage(sec, nsec int64) []byte {
	var stamps [3]unix.Timespec
	setInt(&stamps[0].Sec, sec)
	setInt(&stamps[0].Nsec, nsec)
	data := unsafe.Slice((*byte)(unsafe.Pointer(&stamps)), unsafe.Sizeof(stamps))
	return controlMessage(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, data...)
}

// setInt sets a field whose width is the machine's.
func setInt[T int32 | int64](field *T, to int64) { *field = T(to) }

func TestParseStamp(t *testing.T) {
	mark := controlMessage(unix.SOL_SOCKET, unix.SO_MARK, 9, 0, 0, 0)
	foreign := controlMessage(unix.SOL_IP, unix.IP_TTL, 64, 0, 0, 0)
	for name, test := range map[string]struct {
		b    []byte
		want int64
	}{
		"nothing":             {nil, 0},
		"a stamp":             {stampMessage(3, 4), 3_000_000_004},
		"another one after":   {slices.Concat(stampMessage(3, 4), mark), 3_000_000_004},
		"a foreign one first": {slices.Concat(foreign, stampMessage(3, 4)), 3_000_000_004},
		"a broken one first":  {slices.Concat(make([]byte, unix.SizeofCmsghdr), stampMessage(3, 4)), 0},
		"cut short":           {stampMessage(3, 4)[:unix.SizeofCmsghdr+6], 0},
		"no clock shows it":   {stampMessage(-1, 4), 0},
		"too many ns":         {stampMessage(3, 1e9), 0},
	} {
		if got := parseControl(test.b); got.stamp != test.want {
			t.Errorf("%s: %d, want %d", name, got.stamp, test.want)
		}
	}
}

// The kernel writes a destination as putSource writes a source, so destination reads it
// back and ignores other messages.
func TestSourceControl(t *testing.T) {
	for _, test := range []struct {
		local  string
		device uint32
		size   int
		want   string
	}{
		{"192.0.2.7:0", 0, unix.CmsgSpace(unix.SizeofInet4Pktinfo), "192.0.2.7:0"},
		{"192.0.2.7:9", 3, unix.CmsgSpace(unix.SizeofInet4Pktinfo), "192.0.2.7:0"},
		{"[2001:db8::7]:0", 3, unix.CmsgSpace(unix.SizeofInet6Pktinfo), "[2001:db8::7]:0"},
		{"[fe80::7%4]:0", 0, unix.CmsgSpace(unix.SizeofInet6Pktinfo), "[fe80::7%4]:0"},
		{"[fe80::7%4]:0", 5, unix.CmsgSpace(unix.SizeofInet6Pktinfo), "[fe80::7%5]:0"}, // the kernel refuses the contradiction
	} {
		var b [controlSize]byte
		local := network.AddrFrom(netip.MustParseAddrPort(test.local))
		n := putSource(b[:], &local, &local, test.device)
		c := parseControl(slices.Concat(stampMessage(3, 4), b[:n]))
		got := c.destination()
		if want := network.AddrFrom(netip.MustParseAddrPort(test.want)); n != test.size || got != want {
			t.Errorf("%s through %d: %d bytes, %v; want %d, %v", test.local, test.device, n, got, test.size, want)
		}
	}
	c := parseControl(stampMessage(3, 4))
	if got := c.destination(); !got.IsZero() {
		t.Errorf("a destination %v out of nothing", got)
	}
}

// FuzzParseControl: nothing reads past the end, and no stamp overflows.
func FuzzParseControl(f *testing.F) {
	f.Add(stampMessage(3, 4))
	f.Add(stampMessage(maxStampSeconds, 999_999_999))
	f.Add(controlMessage(unix.SOL_SOCKET, unix.SO_MARK, 1))
	f.Add(controlMessage(unix.SOL_IP, unix.IP_RECVERR, make([]byte, extendedSize+unix.SizeofSockaddrInet4)...))
	f.Add(controlMessage(unix.SOL_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo)...))
	f.Add(controlMessage(unix.SOL_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := parseControl(slices.Clip(b))
		if c.stamp < 0 {
			t.Errorf("stamp %d", c.stamp)
		}
		for _, a := range []Addr{c.destination(), parseExtended(c.extended).Offender} {
			if !a.IsZero() && !a.Is4() && !a.Is6() {
				t.Errorf("address % x", a[:])
			}
		}
	})
}
