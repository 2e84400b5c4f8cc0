// Package replay runs detectors over a recording of heartbeats, without clocks or
// sockets: what would each have suspected, how soon, and how often wrongly? The method is
// that of Chen, Toueg and Aguilera and of those after them: every detector sees the
// same heartbeats, so whole curves can be compared.
package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// Beat is one heartbeat that arrived. Send is on the sender's clock, the others are on
// the receiver's, which need not agree with it.
type Beat struct {
	Sequence uint64
	Send     int64 // ns
	NIC      int64 // stamped by the kernel or the card, ns
	App      int64 // read by the program, ns
}

// Trace is a recording. What was lost is absent.
type Trace []Beat

// Header is the first line of a recording in CSV.
const Header = "seq,send_ns,nic_ns,app_ns"

// ErrEmpty says that a recording holds too little to judge by.
var ErrEmpty = errors.New("replay: fewer than two heartbeats")

// FormatError says which line of a recording is not as it must be.
type FormatError struct {
	Line int
	Want string
}

// Error says what was found wrong where.
func (e *FormatError) Error() string { return fmt.Sprintf("replay: line %d: want %s", e.Line, e.Want) }

// ReadCSV reads a recording: Header, then a line per heartbeat in any order, four whole
// numbers each. It returns a *FormatError at the first line that is none, or ErrEmpty.
func ReadCSV(in io.Reader) (Trace, error) {
	lines := bufio.NewScanner(in)
	var t Trace
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case n == 1 && string(line) != Header:
			return nil, &FormatError{n, "the header " + Header}
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
		field, rest, more := bytes.Cut(line, []byte{','})
		if more != (i < len(values)-1) {
			return b, false
		}
		v, err := strconv.ParseInt(string(bytes.TrimSpace(field)), 10, 64)
		if err != nil {
			return b, false
		}
		values[i], line = v, rest
	}
	// Differences of instants must fit as well.
	for _, v := range values[1:] {
		if v > math.MaxInt64/4 || v < -math.MaxInt64/4 {
			return b, false
		}
	}
	return Beat{uint64(values[0]), values[1], values[2], values[3]}, values[0] >= 0
}

// Stamps says which of a heartbeat's two arrivals counts.
type Stamps uint8

// The stamps.
const (
	NIC Stamps = iota
	App
)

// arrival returns the one that counts.
func (s Stamps) arrival(b *Beat) int64 {
	if s == App {
		return b.App
	}
	return b.NIC
}

// Period estimates the sender's period: the median over neighbours of the time per
// sequence between their sends. 0 if no two neighbours tell.
func (t Trace) Period() time.Duration {
	var each []int64
	for i := 1; i < len(t) && len(each) < 100_001; i++ {
		if steps := int64(t[i].Sequence - t[i-1].Sequence); steps > 0 {
			if d := (t[i].Send - t[i-1].Send) / steps; d > 0 {
				each = append(each, d)
			}
		}
	}
	if len(each) == 0 {
		return 0
	}
	slices.Sort(each)
	return time.Duration(each[len(each)/2]).Round(time.Microsecond)
}

// sorted returns the trace in the order of arrival.
func (t Trace) sorted(s Stamps) Trace {
	byArrival := func(a, b Beat) int {
		switch x, y := s.arrival(&a), s.arrival(&b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if slices.IsSortedFunc(t, byArrival) {
		return t
	}
	t = slices.Clone(t)
	slices.SortStableFunc(t, byArrival)
	return t
}
