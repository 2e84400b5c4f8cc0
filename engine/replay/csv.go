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
// numbers each. CSV does not tell how late after its schedule a heartbeat was sent, so each
// counts as due when it was sent. It returns a *FormatError at the first line that is none, or ErrEmpty.
func ReadCSV(in io.Reader) (Trace, error) {
	lines := bufio.NewScanner(in)
	var t Trace
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case n == 1 && string(line) != Header:
			return nil, &FormatError{n, "a recording of systole record, or the header " + Header}
		case n == 1 || len(line) == 0:
			continue
		}
		b, ok := parseBeat(line)
		if !ok {
			return nil, &FormatError{n, "four whole numbers with commas between: a sequence from 0 up, and nanoseconds"}
		}
		t = append(t, b)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("replay: read the recording: %w", err)
	}
	if len(t) < 2 {
		return nil, ErrEmpty
	}
	return t, nil
}

// parseBeat reads a line.
func parseBeat(line []byte) (b Beat, ok bool) {
	var values [4]int64
	for i := range values {
		if values[i], line, ok = parseField(line, i == len(values)-1); !ok {
			return b, false
		}
	}
	// Differences of instants must fit as well.
	for _, v := range values[1:] {
		if v > math.MaxInt64/4 || v < -math.MaxInt64/4 {
			return b, false
		}
	}
	b.Sequence, b.Send, b.NIC, b.App = uint64(values[0]), values[1], values[2], values[3]
	return b, values[0] >= 0
}

// parseField reads a whole number, up to the end of the line or to a comma, and returns
// what is behind it.
func parseField(line []byte, last bool) (v int64, rest []byte, ok bool) {
	field := line
	if at := bytes.IndexByte(line, ','); at >= 0 {
		field, rest = line[:at], line[at+1:]
	}
	if last != (rest == nil) {
		return 0, nil, false
	}
	field = bytes.TrimSpace(field)
	negative := len(field) > 0 && field[0] == '-'
	if len(field) > 0 && (negative || field[0] == '+') {
		field = field[1:]
	}
	const digits = 18 // fit into 63 bits
	for len(field) > 1 && field[0] == '0' {
		field = field[1:]
	}
	if len(field) == 0 || len(field) > digits+1 {
		return 0, nil, false
	}
	for _, c := range field {
		if c -= '0'; c > 9 || v > (math.MaxInt64-9)/10 {
			return 0, nil, false
		}
		v = v*10 + int64(c)
	}
	if negative {
		v = -v
	}
	return v, rest, true
}
