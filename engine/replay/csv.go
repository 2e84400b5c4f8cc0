package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Header is the first line of a recording in CSV.
const Header = "seq,send_ns,nic_ns,app_ns"

// ErrEmpty says that a recording holds too little to judge by.
var ErrEmpty = errors.New("replay: fewer than two heartbeats")

// FormatError says which line of a recording in CSV is not as it must be.
type FormatError struct {
	Line int
	Want string
}

// Error says what was found wrong where.
func (e *FormatError) Error() string { return fmt.Sprintf("replay: line %d: want %s", e.Line, e.Want) }

// ReadCSV reads a recording: Header, then a line per heartbeat in any order, four whole
// numbers each. Where nic_ns is empty, or 0 while app_ns is not, there was no stamp, and
// app_ns counts for it. A byte order mark, spaces around numbers, empty lines and CRLF do
// not matter. CSV does not tell how late after its schedule a heartbeat was sent, so each
// counts as due when it was sent. It returns a *FormatError at the first line that is none,
// or ErrEmpty.
func ReadCSV(in io.Reader) (Trace, error) {
	t, _, err := readCSV(in)
	return t, err
}

// readCSV is ReadCSV, and says how many heartbeats have no stamp.
func readCSV(in io.Reader) (t Trace, unstamped int, err error) {
	lines := bufio.NewScanner(in)
	var p parts
	n := 1
	for ; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case n == 1 && string(bytes.TrimPrefix(line, []byte(byteOrderMark))) != Header:
			return nil, 0, &FormatError{n, wantHeader}
		case n == 1 || len(line) == 0:
			continue
		}
		b, stamped, want := parseBeat(line)
		if want != "" {
			return nil, 0, &FormatError{n, want}
		}
		if !stamped {
			unstamped++
		}
		p.add(b)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong) && n == 1:
		return nil, 0, &FormatError{n, wantHeader}
	case errors.Is(err, bufio.ErrTooLong):
		return nil, 0, &FormatError{n, wantFields}
	case err != nil:
		return nil, 0, fmt.Errorf("replay: read the recording: %w", err)
	}
	if p.n < 2 {
		return nil, 0, ErrEmpty
	}
	return p.trace(), unstamped, nil
}

const (
	byteOrderMark = "\ufeff" // some programs begin UTF-8 with it
	wantHeader    = "a recording of systole record, or the header " + Header
	wantFields    = "four whole numbers with commas between: " + Header
)

// fields are the names in Header.
var fields = [...]string{"seq", "send_ns", "nic_ns", "app_ns"}

// farthest is how far from 0 an instant may lie, ns, so that differences fit as well.
const farthest = math.MaxInt64 / 4

// parseBeat reads a line, and whether the heartbeat was stamped. It says what is wanted of
// a line that is none.
func parseBeat(line []byte) (b Beat, stamped bool, want string) {
	var values [len(fields)]int64
	stamped = true
	for i, name := range fields {
		field, rest, more := bytes.Cut(line, []byte{','})
		if last := i == len(fields)-1; more == last {
			return b, false, wantFields
		}
		if field, line = bytes.TrimSpace(field), rest; len(field) == 0 && name == "nic_ns" {
			stamped = false
			continue
		}
		var ok bool
		if values[i], ok = parseWhole(field); !ok {
			return b, false, fmt.Sprintf("a whole number for %s, not %.40q", name, field)
		}
		switch v := values[i]; {
		case name == "seq" && (v < 0 || v == math.MaxInt64):
			return b, false, fmt.Sprintf("seq from 0 to %d, not %.40s", int64(math.MaxInt64-1), field)
		case name != "seq" && (v > farthest || v < -farthest):
			return b, false, fmt.Sprintf("%s within ±%d, which is 73 years, not %.40s", name, int64(farthest), field)
		}
	}
	b = Beat{Sequence: uint64(values[0]), Send: values[1], NIC: values[2], App: values[3]}
	if stamped = stamped && (b.NIC != 0 || b.App == 0); !stamped {
		b.NIC = b.App
	}
	return b, stamped, ""
}

// parseWhole reads a whole number; one that does not fit is the greatest or least there is.
func parseWhole(field []byte) (v int64, ok bool) {
	negative := len(field) > 0 && field[0] == '-'
	if negative || len(field) > 0 && field[0] == '+' {
		field = field[1:]
	}
	for _, c := range field {
		if c -= '0'; c > 9 {
			return 0, false
		}
		if v > (math.MaxInt64-9)/10 {
			v = math.MaxInt64
			continue
		}
		v = v*10 + int64(c)
	}
	if negative {
		v = -v
	}
	return v, len(field) > 0
}
