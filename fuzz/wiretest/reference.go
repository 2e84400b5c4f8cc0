// Package wiretest is a second codec of the datagram, written from PROTOCOL.md alone: a
// table of fields, slow and printable. Tests and fuzz targets compare it with package
// wire. It shares no code with it, only types.
package wiretest

import (
	"fmt"
	"reflect"
	"strings"

	"systole/wire"
)

// field is one field of the header: where it lies, and which field of wire.Header it is;
// none for what follows from the layout.
type field struct {
	Name         string
	Offset, Size int
	Header       string
}

// fields is the table of rule W1.
var fields = []field{
	{"magic", 0, 4, ""}, {"version", 4, 1, ""}, {"kind", 5, 1, ""}, {"flags", 6, 2, "Flags"},
	{"length", 8, 2, ""}, {"message bytes", 10, 2, ""}, {"key id", 12, 4, "KeyID"},
	{"your discriminator", 16, 8, "YourDiscriminator"}, {"my discriminator", 24, 8, "MyDiscriminator"},
	{"sender", 32, 8, "Sender"}, {"incarnation", 40, 8, "Incarnation"}, {"sequence", 48, 8, "Sequence"},
	{"send instant", 56, 8, "SendInstant"}, {"lateness", 64, 4, "Lateness"}, {"period", 68, 4, "Period"},
	{"min receive period", 72, 4, "MinReceivePeriod"}, {"echo lost", 76, 4, "EchoLost"},
	{"progress", 80, 8, "Progress"}, {"echo incarnation", 88, 8, "EchoIncarnation"},
	{"echo sequence", 96, 8, "EchoSequence"}, {"echo residence", 104, 8, "EchoResidence"},
	{"echo deadline", 112, 4, "EchoDeadline"}, {"echo verdict", 116, 1, "EchoVerdict"},
	{"reserved", 117, 1, ""}, {"reserved", 118, 2, ""}, {"follow-up wait", 120, 4, "FollowUpWait"},
	{"reserved", 124, 4, ""}, {"follow-up sequence", 128, 8, "FollowUpSequence"},
}

// number reads a big-endian number.
func number(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// get returns the value of every field of the table, by name. Reserved ones are added up.
func get(b []byte) map[string]uint64 {
	values := make(map[string]uint64)
	for _, f := range fields {
		values[f.Name] += number(b[f.Offset : f.Offset+f.Size])
	}
	return values
}

// decode decodes a datagram by the rules, one after the other. A fault is the one of the name.
func decode(b []byte) (h wire.Header, messages []byte, fault string) {
	if len(b) < 136 {
		return h, nil, "too-short"
	}
	if len(b) > 1232 {
		return h, nil, "too-long"
	}
	v := get(b)
	end := 136 + int(v["message bytes"])
	total := end
	if v["key id"] != 0 {
		total += 16
	}
	for _, rule := range []struct {
		broken bool
		fault  string
	}{
		{v["magic"] != 0x53595354, "bad-magic"},
		{v["version"] != 1, "bad-version"},
		{v["kind"] != 1, "bad-kind"},
		{v["length"] != uint64(len(b)), "bad-length"},
		{total != len(b), "bad-message-length"},
		{v["flags"] > 15, "bad-flags"},
		{v["reserved"] != 0, "bad-reserved"},
		{v["my discriminator"] == 0, "no-discriminator"},
		{v["sender"] == 0, "no-sender"},
		{v["incarnation"] == 0 || v["incarnation"] > 1<<63, "no-incarnation"},
		{v["sequence"] == 0 || v["sequence"] > 1<<63, "no-sequence"},
		{v["send instant"] > 1<<62, "bad-instant"}, // negative ones too, read without their sign
		{v["period"] == 0 || v["period"] > 60e6 || v["min receive period"] > 60e6, "bad-period"},
		{v["echo incarnation"] == 0 && (v["echo sequence"] != 0 || v["echo residence"] != 0), "bad-echo"},
		{v["echo incarnation"] > 1<<63 || v["echo sequence"] > 1<<63 || v["echo residence"] > 1<<62, "bad-echo"},
		{v["echo verdict"] > 5, "bad-verdict"},
		{v["flags"]&8 == 0 && (v["follow-up wait"] != 0 || v["follow-up sequence"] != 0), "bad-follow-up"},
		{v["flags"]&8 != 0 && v["follow-up sequence"] == 0, "bad-follow-up"},
		{v["flags"]&8 != 0 && v["follow-up sequence"] >= v["sequence"], "bad-follow-up"},
	} {
		if rule.broken {
			return wire.Header{}, nil, rule.fault
		}
	}
	for rest := b[136:end]; len(rest) > 0; {
		if len(rest) < 4 || len(rest) < 4+int(number(rest[2:4])) {
			return wire.Header{}, nil, "bad-message"
		}
		rest = rest[4+int(number(rest[2:4])):]
	}
	fill(&h, v)
	return h, b[136:end], "ok"
}

// fill sets the fields of h.
func fill(h *wire.Header, values map[string]uint64) {
	s := reflect.ValueOf(h).Elem()
	for _, f := range fields {
		if f.Header == "" {
			continue
		}
		value := s.FieldByName(f.Header)
		if value.CanInt() {
			value.SetInt(int64(values[f.Name]))
		} else {
			value.SetUint(values[f.Name])
		}
	}
}

// Encode encodes a valid header and message section, with zeros for the tag.
func Encode(h *wire.Header, messages []byte) []byte {
	size := 136 + len(messages)
	if h.KeyID != 0 {
		size += 16
	}
	b := make([]byte, size)
	s := reflect.ValueOf(h).Elem()
	for _, f := range fields {
		var n uint64
		switch f.Name {
		case "magic":
			n = 0x53595354
		case "version", "kind":
			n = 1
		case "length":
			n = uint64(size)
		case "message bytes":
			n = uint64(len(messages))
		default:
			if f.Header != "" {
				if value := s.FieldByName(f.Header); value.CanInt() {
					n = uint64(value.Int())
				} else {
					n = value.Uint()
				}
			}
		}
		for i := f.Size - 1; i >= 0; i-- {
			b[f.Offset+i] = byte(n)
			n >>= 8
		}
	}
	copy(b[136:], messages)
	return b
}

// dump prints a datagram field by field.
func dump(b []byte) string {
	var out strings.Builder
	for _, f := range fields {
		if f.Offset+f.Size > len(b) {
			fmt.Fprintf(&out, "%3d %s: cut off\n", f.Offset, f.Name)
			break
		}
		fmt.Fprintf(&out, "%3d %s: %#x\n", f.Offset, f.Name, number(b[f.Offset:f.Offset+f.Size]))
	}
	return out.String()
}
