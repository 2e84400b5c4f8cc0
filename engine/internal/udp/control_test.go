package udp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// controlMessage builds a control message with its padding.
func controlMessage(level, kind uint32, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(cmsgHeader+len(data)))
	b = binary.NativeEndian.AppendUint32(b, level)
	b = binary.NativeEndian.AppendUint32(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&(cmsgAlign-1))...)
}

// stampMessage is the kernel's message with a software stamp.
func stampMessage(sec, nsec int64) []byte {
	data := binary.NativeEndian.AppendUint64(nil, uint64(sec))
	data = binary.NativeEndian.AppendUint64(data, uint64(nsec))
	return controlMessage(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, append(data, make([]byte, 32)...)...)
}

func TestParseReceived(t *testing.T) {
	overflow := controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 9, 0, 0, 0)
	foreign := controlMessage(unix.SOL_IP, unix.IP_TTL, 64, 0, 0, 0)
	for name, test := range map[string]struct {
		b    []byte
		want received
	}{
		"nothing":             {nil, received{}},
		"a stamp":             {stampMessage(3, 4), received{stamp: 3_000_000_004}},
		"both":                {slices.Concat(stampMessage(3, 4), overflow), received{stamp: 3_000_000_004, overflow: 9, hasOverflow: true}},
		"a foreign one first": {slices.Concat(foreign, stampMessage(3, 4)), received{stamp: 3_000_000_004}},
		"a broken one first":  {slices.Concat(make([]byte, cmsgHeader), stampMessage(3, 4)), received{}},
		"cut short":           {stampMessage(3, 4)[:30], received{}},
		"no clock shows it":   {stampMessage(-1, 4), received{}},
		"too many ns":         {stampMessage(3, 1e9), received{}},
	} {
		if got := parseReceived(test.b); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// What putSource writes for a source is what the kernel writes for a destination, so
// parseDestination reads it; others' messages are passed by.
func TestSourceControl(t *testing.T) {
	for _, test := range []struct {
		local  string
		device uint32
		size   int
		want   string
	}{
		{"192.0.2.7:0", 0, 32, "192.0.2.7:0"},
		{"192.0.2.7:9", 3, 32, "192.0.2.7:0"},
		{"[2001:db8::7]:0", 3, 40, "[2001:db8::7]:0"},
		{"[fe80::7%4]:0", 0, 40, "[fe80::7%4]:0"},
		{"[fe80::7%4]:0", 5, 40, "[fe80::7%5]:0"}, // the kernel refuses the contradiction
	} {
		var b [sourceControl]byte
		local := AddrFrom(netip.MustParseAddrPort(test.local))
		n := putSource(&b, &local, test.device)
		got := parseDestination(slices.Concat(stampMessage(3, 4), b[:n]))
		if want := AddrFrom(netip.MustParseAddrPort(test.want)); n != test.size || got != want {
			t.Errorf("%s through %d: %d bytes, %v; want %d, %v", test.local, test.device, n, got, test.size, want)
		}
	}
	if got := parseDestination(stampMessage(3, 4)); !got.IsZero() {
		t.Errorf("a destination %v out of nothing", got)
	}
}

// FuzzParseReceived: nothing reads past the end, and no stamp overflows.
func FuzzParseReceived(f *testing.F) {
	f.Add(stampMessage(3, 4))
	f.Add(stampMessage(maxStampSeconds, 999_999_999))
	f.Add(controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1))
	f.Add(controlMessage(unix.SOL_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo)...))
	f.Add(controlMessage(unix.SOL_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := parseReceived(slices.Clip(b)); got.stamp < 0 {
			t.Errorf("stamp %d", got.stamp)
		}
		if a := parseDestination(slices.Clip(b)); !a.IsZero() && !a.Is4() && !a.Is6() {
			t.Errorf("destination % x", a[:])
		}
	})
}
