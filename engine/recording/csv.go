package recording

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// header is the first line of a recording in CSV.
const header = "seq,send_ns,nic_ns,app_ns"

// errEmpty means that a recording has too few heartbeats to judge.
var errEmpty = errors.New("recording: fewer than two heartbeats")

// csvError is a fault of a recording in CSV.
type csvError struct {
	Line int    // from 1
	Want string // what should be there
}

// Error returns the place and what was expected there.
func (e *csvError) Error() string { return fmt.Sprintf("recording: line %d: want %s", e.Line, e.Want) }

// readCSV reads a recording in CSV.
func readCSV(in io.Reader) (s Stream, err error) {
	lines := bufio.NewScanner(in)
	var p parts
	n := 1
	for ; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case n == 1 && string(bytes.TrimPrefix(line, []byte(byteOrderMark))) != header:
			return s, &csvError{n, wantHeader}
		case n == 1 || len(line) == 0:
			continue
		}
		b, stamped, want := parseBeat(line)
		if want != "" {
			return s, &csvError{n, want}
		}
		if !stamped {
			s.Unstamped++
		}
		p.add(b)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong) && n == 1:
		return s, &csvError{n, wantHeader}
	case errors.Is(err, bufio.ErrTooLong):
		return s, &csvError{n, wantFields}
	case err != nil:
		return s, fmt.Errorf("recording: read the recording: %w", err)
	}
	if p.n < 2 {
		return s, errEmpty
	}
	s.Beats = p.beats()
	return s, nil
}

const (
	byteOrderMark = "\ufeff" // begins UTF-8 files of some programs
	wantHeader    = "a recording of systole record, or the header " + header
	wantFields    = "four whole numbers with commas between: " + header
)

// fields are the names in header.
var fields = [...]string{"seq", "send_ns", "nic_ns", "app_ns"}

// farthestCSV bounds the distance of instants from 0, in ns, so that differences do not overflow.
const farthestCSV = math.MaxInt64 / 4

// parseBeat parses a line, and reports whether the heartbeat has a stamp. For a faulty line it
// returns what should be there.
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
		case name != "seq" && (v > farthestCSV || v < -farthestCSV):
			return b, false, fmt.Sprintf("%s within ±%d, which is 73 years, not %.40s", name, int64(farthestCSV), field)
		}
	}
	b = Beat{Sequence: uint64(values[0]), Send: values[1], NIC: values[2], App: values[3]}
	if stamped = stamped && (b.NIC != 0 || b.App == 0); !stamped {
		b.NIC = b.App
	}
	return b, stamped, ""
}

// parseWhole parses a whole number. It returns math.MaxInt64 or -math.MaxInt64 for one that is out
// of range.
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
