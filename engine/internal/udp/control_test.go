package udp

import (
	"encoding/binary"
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

// FuzzParseReceived: nothing reads past the end, and no stamp overflows.
func FuzzParseReceived(f *testing.F) {
	f.Add(stampMessage(3, 4))
	f.Add(stampMessage(maxStampSeconds, 999_999_999))
	f.Add(controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := parseReceived(slices.Clip(b)); got.stamp < 0 {
			t.Errorf("stamp %d", got.stamp)
		}
	})
}
