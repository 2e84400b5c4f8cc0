package recording

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine/clock"
)

const ms = int64(time.Millisecond)

// csv returns a recording of beats, each as sequence, send, nic, app in milliseconds.
func csv(beats ...[4]int64) string {
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, x := range beats {
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", x[0], x[1]*ms, x[2]*ms, x[3]*ms)
	}
	return b.String()
}

// jittery returns n heartbeats at 100 ms, over a path with exponential delays that loses one of a
// thousand.
func jittery(n int) []Beat {
	r := rand.New(rand.NewPCG(1, 2))
	var trace []Beat
	for s := int64(0); len(trace) < n; s++ {
		if r.IntN(1000) == 0 {
			continue
		}
		late := int64(50_000 + r.IntN(50_000))
		send := s*100*ms + late
		nic := send + 5*int64(time.Second) + int64(r.ExpFloat64()*float64(ms))
		app := max((nic+int64(r.IntN(300_000)))&^255, nic) // rounded as Heartbeat.Read in a file is
		trace = append(trace, Beat{uint64(s), send, nic, app, late, 100 * ms})
	}
	return trace
}

// recorded returns a recording of trace.
func recorded(t testing.TB, trace []Beat) []byte {
	t.Helper()
	var out bytes.Buffer
	rec, err := New(&out, Options{Ring: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range trace {
		rec.Record(&Heartbeat{
			Peer: 42, Incarnation: 7, Sequence: b.Sequence, Send: clock.Instant(b.Send), Arrival: clock.Instant(b.NIC),
			Read: clock.Instant(b.App), Late: uint32(b.Late), Period: uint32(b.Period / 1000), Source: clock.Kernel,
		})
	}
	rec.Name(42, "db1")
	if err := rec.Close(); err != nil || rec.Stats().Overflowed > 0 {
		t.Fatal(err, rec.Stats())
	}
	return out.Bytes()
}

// asCSV returns trace in CSV.
func asCSV(trace []Beat) []byte {
	out := []byte(header + "\n")
	for _, b := range trace {
		out = fmt.Appendf(out, "%d,%d,%d,%d\n", b.Sequence, b.Send, b.NIC, b.App)
	}
	return out
}

// parsed parses a valid recording in CSV.
func parsed(t *testing.T, text string) []Beat {
	t.Helper()
	s, err := readCSV(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Beats
}

// Read returns the recorded heartbeats, and tells CSV from recordings.
func TestRead(t *testing.T) {
	trace := jittery(3000)
	r, err := Read(bytes.NewReader(recorded(t, trace)))
	if err != nil || len(r.Streams) != 1 || r.Overflowed != 0 || r.Truncated != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := r.Streams[0]
	if s.Name != "db1" || s.Peer != 42 || s.Incarnation != 7 || s.Unstamped != 0 || !slices.Equal(s.Beats, trace) {
		t.Errorf("%s, %d heartbeats of %d", s.Name, len(s.Beats), len(trace))
	}
	r, err = Read(bytes.NewReader(asCSV(trace)))
	if err != nil || len(r.Streams) != 1 || len(r.Streams[0].Beats) != len(trace) || r.Streams[0].Beats[7].App != trace[7].App {
		t.Errorf("CSV: %v", err)
	}
	file := recorded(t, trace)
	file[len(file)/2] ^= 1
	var bad *formatError
	if _, err := Read(bytes.NewReader(file)); !errors.As(err, &bad) {
		t.Errorf("a corrupt recording: %v", err)
	}
	if _, err := Read(bytes.NewReader(recorded(t, trace[:1]))); !errors.Is(err, errEmpty) {
		t.Errorf("one heartbeat: %v", err)
	}
	if _, err := Read(strings.NewReader("SYST")); err == nil {
		t.Error("a part of the magic was read")
	}
}

// Each incarnation of each peer is a stream.
func TestReadStreams(t *testing.T) {
	var out bytes.Buffer
	rec, err := New(&out, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for s := range uint64(10) {
		for _, h := range []Heartbeat{{Peer: 1, Incarnation: 1 + s/5}, {Peer: 2, Incarnation: 1}} {
			h.Sequence, h.Arrival, h.Read = s, clock.Instant(s), clock.Instant(s)
			rec.Record(&h)
		}
	}
	rec.Record(&Heartbeat{Peer: 3}) // one heartbeat is too few
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Read(&out)
	if err != nil || len(r.Streams) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, want := range []struct{ peer, incarnation, beats uint64 }{{1, 1, 5}, {2, 1, 10}, {1, 2, 5}} {
		s := r.Streams[i]
		if s.Peer != want.peer || s.Incarnation != want.incarnation || len(s.Beats) != int(want.beats) || s.Unstamped != len(s.Beats) {
			t.Errorf("stream %d: %+v", i, s)
		}
	}
}

// Faults of CSV are reported with their line.
func TestReadCSVRefuses(t *testing.T) {
	type fault struct {
		line int
		want string
	}
	long := strings.Repeat("1", 100_000)
	for text, fault := range map[string]fault{
		"": {}, "\r\n": {1, "the header"}, header + "\n": {}, header + "\r\n1,2,3,4\r\n": {},
		"seq\n1\n":                     {1, "the header " + header},
		"1,2,3,4\n2,3,4,5\n":           {1, "the header " + header},
		strings.ToUpper(header) + "\n": {1, "the header " + header},
		long:                           {1, "the header " + header},
		string(make([]byte, 100_000)):  {1, "the header " + header},
		header + "\n" + long + "\n":    {2, "four whole numbers"},
		header + "\n1,2,3,4\n1,2,3\n":  {3, "four whole numbers"},
		header + "\n1,2,3,4,5\n":       {2, "four whole numbers"},
		header + "\n1,2,3,4,\n":        {2, "four whole numbers"},
		header + "\n-1,2,3,4\n":        {2, "seq from 0 to 9223372036854775806, not -1"},
		header + "\n,2,3,4\n":          {2, `for seq, not ""`},
		header + "\n1,2.5,3,4\n":       {2, `a whole number for send_ns, not "2.5"`},
		header + "\n1,2,0x3,4\n":       {2, `for nic_ns, not "0x3"`},
		header + "\n1,2,3,\n":          {2, `for app_ns, not ""`},
		header + "\n1,2,3,--4\n":       {2, `for app_ns, not "--4"`},
		header + "\n1,-,3,4\n":         {2, `for send_ns, not "-"`},
		header + "\n1,9e18,3,4\n":      {2, `for send_ns, not "9e18"`},
		header + "\n1,2," + long[:9] + "a" + long[:5000] + ",4\n":  {2, "for nic_ns"},
		header + "\n1,9000000000000000000,3,4\n1,2,3,4\n":          {2, "send_ns within ±2305843009213693951, which is 73 years"},
		header + "\n1,2,-99999999999999999999999,4\n1,2,3,4\n":     {2, "nic_ns within ±"},
		header + "\n18446744073709551616,2,3,4\n2,2,3,4\n":         {2, "seq from 0"},
		header + "\n99999999999999999999999999999999,1,1,1\n2,2,3": {2, "seq from 0"},
	} {
		_, err := readCSV(strings.NewReader(text))
		var f *csvError
		short := text[:min(len(text), 60)]
		switch {
		case fault.line == 0 && !errors.Is(err, errEmpty):
			t.Errorf("%q: %v", short, err)
		case fault.line > 0 && (!errors.As(err, &f) || f.Line != fault.line || !strings.Contains(f.Want, fault.want) || len(f.Want) > 200):
			t.Errorf("%q: %v, want a fault in line %d about %s", short, err, fault.line, fault.want)
		}
	}
}

// Line ends, a byte order mark, spaces, signs, leading zeros and a missing last line end make no
// difference.
func TestReadCSVTolerates(t *testing.T) {
	plain := header + "\n1,-20,30,40\n2,50,60,70\n"
	want := parsed(t, plain)
	for _, text := range []string{
		strings.ReplaceAll(plain, "\n", "\r\n"), "\ufeff" + plain, strings.TrimSpace(plain), header + "\n\n 001 , -20,+30,\t40\n\n2,50,60,0070\n\n",
	} {
		if got := parsed(t, text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A heartbeat without a stamp arrived when it was read, and Unstamped counts it.
func TestReadCSVUnstamped(t *testing.T) {
	r, err := Read(strings.NewReader(header + "\n0,0,0,0\n1,10,,1010\n2,20,0,1020\n3,30,1029,1030\n"))
	if err != nil || len(r.Streams) != 1 || r.Streams[0].Unstamped != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, want := range []int64{0, 1010, 1020, 1029} {
		if got := r.Streams[0].Beats[i].NIC; got != want {
			t.Errorf("heartbeat %d arrived at %d, want %d", i, got, want)
		}
	}
}

// parts returns all heartbeats in order, wherever a part ends.
func TestParts(t *testing.T) {
	for _, n := range []int{0, 1, firstPart, firstPart + 1, 3*firstPart + 1, 2 * greatestPart, 3*greatestPart + 7} {
		var p parts
		var want []Beat
		for i := range n {
			b := Beat{Sequence: uint64(i), Send: int64(2 * i)}
			p.add(b)
			want = append(want, b)
		}
		if got := p.beats(); p.n != n || !slices.Equal(got, want) {
			t.Errorf("%d heartbeats: %d returned, counted as %d", n, len(got), p.n)
		}
	}
}

// The period of a stream without announced periods follows from the sends.
func TestPeriod(t *testing.T) {
	s := Stream{Beats: parsed(t, csv([4]int64{5, 0, 1, 1}, [4]int64{6, 21, 22, 22}, [4]int64{9, 80, 81, 81}, [4]int64{10, 100, 101, 101}))}
	if got := s.Period(); got != 20*time.Millisecond {
		t.Errorf("period %v", got)
	}
}

// Heartbeats yields what was recorded, up to the first fault.
func TestHeartbeats(t *testing.T) {
	hs := quiet(500)
	file := written(hs, 100)
	var got []Heartbeat
	for h, err := range Heartbeats(bytes.NewReader(file)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h)
	}
	if want, _, _ := read(file); len(got) != len(hs) || !slices.Equal(got, want) {
		t.Errorf("%d heartbeats of %d", len(got), len(hs))
	}
	file[len(file)-1] ^= 1 // in the last block
	n, faults := 0, 0
	for _, err := range Heartbeats(bytes.NewReader(file)) {
		var bad *formatError
		switch {
		case err == nil && faults == 0:
			n++
		case errors.As(err, &bad):
			faults++
		default:
			t.Fatalf("after %d faults: %v", faults, err)
		}
	}
	if n != 400 || faults != 1 {
		t.Errorf("%d heartbeats, %d faults", n, faults)
	}
	for _, err := range Heartbeats(strings.NewReader("seq")) {
		if err == nil {
			t.Error("a heartbeat of no recording")
		}
	}
}

// BenchmarkReadStreams measures reading a million heartbeats.
func BenchmarkReadStreams(b *testing.B) {
	const n = 1_000_000
	trace := jittery(n)
	for name, file := range map[string][]byte{"read": recorded(b, trace), "read-csv": asCSV(trace)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if r, err := Read(bytes.NewReader(file)); err != nil || len(r.Streams[0].Beats) != n {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/heartbeat")
			b.ReportMetric(float64(len(file))/n, "bytes/heartbeat")
		})
	}
}
