package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/font"
	_ "gonum.org/v1/plot/plotter" // has the fonts
	"gonum.org/v1/plot/vg"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/recording"
	"systole/engine/replay"
)

// csvRecording writes a recording of 2000 heartbeats at 10 ms, without the last eight of every
// hundred, and returns its path.
func csvRecording(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, "seq,send_ns,nic_ns,app_ns")
	for s := range int64(2000) {
		if s%100 >= 92 {
			continue
		}
		at := s * 10_000_000
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", s, s*10_000_000, at+7_000_000_000, at+7_000_100_000)
	}
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplay(t *testing.T) {
	path := csvRecording(t)
	out, complaint, code := run1("replay", path, "-o", "json", "--detector", "fixed:3", "--detector", "fixed:20", "--detector", "margin:1h", "--warmup", "100")
	if code != exitAlive {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	var rows []replayed
	for line := range strings.Lines(out) {
		var r replayed
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		rows = append(rows, r)
	}
	if len(rows) != 3 || rows[0].Mistakes != 18 || rows[0].TDMean < 29 || rows[1].Mistakes != 0 || rows[1].PA != 1 {
		t.Fatalf("rows %+v", rows)
	}
	if rows[0].Promised != nil || rows[2].Promised == nil || *rows[2].Promised != 1 {
		t.Errorf("promises %v, %v", rows[0].Promised, rows[2].Promised)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "replay", "-", "-o", "json", "-d", "fixed:3", "--warmup", "100")
	cmd.Stdin = strings.NewReader(string(text))
	piped, err := cmd.Output()
	if first, _, _ := strings.Cut(out, "\n"); err != nil || strings.TrimSpace(string(piped)) != first {
		t.Errorf("from the standard input: %s, %v; from a file: %s", piped, err, first)
	}
	all := 0
	for _, sweep := range sweeps {
		out, complaint, code := run1("replay", path, "--sweep", sweep.name)
		if lines := strings.Count(out, "\n"); code != exitAlive || lines != 1+len(sweep.params) {
			t.Errorf("--sweep %s: exit status %d, %d lines, %s", sweep.name, code, lines, complaint)
		}
		all += len(sweep.params)
	}
	if out, _, _ := run1("replay", path, "--sweep", "all"); strings.Count(out, "\n") != 1+all {
		t.Errorf("--sweep all:\n%s", out)
	}
	for name, args := range map[string][]string{
		"no file":           {"/nonexistent"},
		"a bad detector":    {path, "-d", "tea-leaves"},
		"a bad parameter":   {path, "-d", "fixed:many"},
		"no unit":           {path, "-d", "chen:40"},
		"out of range":      {path, "-d", "oz:1.5"},
		"a bad sweep":       {path, "--sweep", "tea-leaves"},
		"bad stamps":        {path, "--stamps", "postage"},
		"a bad format":      {path, "-o", "xml"},
		"negative warm-up":  {path, "--warmup", "-1"},
		"no heartbeat left": {path, "--warmup", "1840", "-o", "json"},
		"all at an instant": {beatsOf(t, 20, func(b *recording.Beat) { b.NIC = 5 }), "-o", "json"},
		"a tiny period":     {path, "--period", "999ns"},
		"a huge period":     {path, "--period", "61m"},
		"no detector":       {path, "-d", ""},
		"no sweep":          {path, "--sweep", ""},
		"no peer":           {path, "--peer", ""},
		"a peer of CSV":     {path, "--peer", "db1"},
		"a directory":       {filepath.Dir(path)},
		"two files":         {path, path},
		"something else":    {binary},
	} {
		out, complaint, code := run1(append([]string{"replay"}, args...)...)
		if code != exitUsage || out != "" || strings.Count(complaint, "\n") != 1 || !strings.HasPrefix(complaint, "systole: ") {
			t.Errorf("%s: exit status %d, %q%q", name, code, out, complaint)
		}
	}
}

// A default detector that does not support the period is left out with a warning; one of --detector
// is refused.
func TestReplayPeriods(t *testing.T) {
	dir := t.TempDir()
	recorded := func(name string, period, last int64) string {
		var b strings.Builder
		fmt.Fprintln(&b, "seq,send_ns,nic_ns,app_ns")
		for s := range last {
			fmt.Fprintf(&b, "%d,%d,%d,%d\n", s, s*period, s*period+1000, s*period+2000)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, period := range map[string]int64{"fast": 500_000, "slow": 120_000_000_000} {
		path := recorded(name, period, 200)
		out, complaint, code := run1("replay", path)
		if code != exitAlive || strings.Count(out, "\n") != len(sweeps) || strings.Contains(out, "margin") || !strings.Contains(complaint, `left out: detector "margin:24h"`) {
			t.Errorf("%s: exit status %d, %s%s", name, code, out, complaint)
		}
		if _, complaint, code := run1("replay", path, "-o", "svg"); code != exitAlive || !strings.Contains(complaint, "left out") {
			t.Errorf("%s, drawn: exit status %d, %s", name, code, complaint)
		}
		for _, flag := range []string{"--detector", "--sweep"} {
			if out, complaint, code := run1("replay", path, flag, "margin"); code != exitUsage || out != "" || !strings.Contains(complaint, "Margin.Period") {
				t.Errorf("%s, %s: exit status %d, %s%s", name, flag, code, out, complaint)
			}
		}
	}
	path := beatsOf(t, 20, func(b *recording.Beat) { b.Send = 7 })
	if _, complaint, code := run1("replay", path); code != exitUsage || !strings.Contains(complaint, "--period") {
		t.Errorf("no period: exit status %d, %s", code, complaint)
	}
	if _, complaint, code := run1("replay", path, "--period", "10ms"); code != exitAlive || complaint != "" {
		t.Errorf("with a period: exit status %d, %s", code, complaint)
	}
}

// beatsOf writes a recording in CSV of n heartbeats at 100 ms, each changed by change, and returns
// its path.
func beatsOf(t *testing.T, n int64, change func(b *recording.Beat)) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintln(&text, "seq,send_ns,nic_ns,app_ns")
	for s := range n {
		b := recording.Beat{Sequence: uint64(s), Send: s * 100_000_000, NIC: 7_200_000_000_000 + s*100_000_000}
		change(&b)
		fmt.Fprintf(&text, "%d,%d,%d,%d\n", b.Sequence, b.Send, b.NIC, b.NIC)
	}
	path := filepath.Join(t.TempDir(), "beats.csv")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Many stale heartbeats cause one warning for all detectors. A few duplicates do not.
func TestReplayStale(t *testing.T) {
	for _, test := range []struct {
		name   string
		stale  int
		said   bool
		change func(b *recording.Beat)
	}{
		{"a restart", 1000, true, func(b *recording.Beat) { b.Sequence %= 1000 }},
		{"a receiver's clock an hour back", 1000, true, func(b *recording.Beat) {
			if b.Sequence >= 1000 {
				b.NIC -= int64(time.Hour)
			}
		}},
		{"one in a hundred twice", 20, false, func(b *recording.Beat) {
			if b.Sequence%100 == 50 {
				b.Sequence--
			}
		}},
	} {
		path := beatsOf(t, 2000, test.change)
		out, complaint, code := run1("replay", path, "-d", "fixed", "-d", "chen", "-o", "json")
		if code != exitAlive || strings.Count(out, fmt.Sprintf(`"stale":%d`, test.stale)) != 2 {
			t.Errorf("%s: exit status %d, %s", test.name, code, out)
		}
		want := fmt.Sprintf("systole: %d of 2000 heartbeats have a sequence not above all before them", test.stale)
		if said := strings.Count(complaint, want); said > 1 || said == 1 != test.said || !test.said && complaint != "" {
			t.Errorf("%s: %s", test.name, complaint)
		}
		if out, _, _ := run1("replay", path, "-d", "fixed"); !strings.Contains(out, "  stale\n") || !strings.HasSuffix(out, fmt.Sprintf("  %d\n", test.stale)) {
			t.Errorf("%s:\n%s", test.name, out)
		}
	}
	none := beatsOf(t, 200, func(*recording.Beat) {})
	if out, complaint, _ := run1("replay", none, "-d", "fixed"); strings.Contains(out, "stale") || complaint != "" {
		t.Errorf("none: %s%s", out, complaint)
	}
	if out, _, _ := run1("replay", none, "-d", "fixed", "-o", "json"); !strings.Contains(out, `"stale":0`) {
		t.Errorf("none: %s", out)
	}
}

// Detection times are corrected for drift, with a warning. A clock that was set causes a warning.
// Small differences cause neither.
func TestReplayClocks(t *testing.T) {
	for _, test := range []struct {
		name, said string
		td, ppm    float64
		late       func(s int64) int64 // by the receiver's clock
	}{
		{"100 ppm", "by +100.0 ppm; T_D is corrected", 300, 100, func(s int64) int64 { return s * 10_000 }},
		{"-50 ppm", "by -50.0 ppm; T_D is corrected", 300, -50, func(s int64) int64 { return s * -5_000 }},
		{"1 ppm", "", 301, 0, func(s int64) int64 { return s * 100 }},
		{"a route longer by 20 ms", "", 310, 0, func(s int64) int64 { return s / 10_000 * 20_000_000 }},
		{"a clock set by a second", "the least delay changes by 1s", 800, 0, func(s int64) int64 { return s / 10_000 * 1_000_000_000 }},
	} {
		path := beatsOf(t, 20_000, func(b *recording.Beat) { b.NIC += test.late(int64(b.Sequence)) })
		out, complaint, code := run1("replay", path, "-d", "fixed", "-d", "fixed:5", "-o", "json", "--warmup", "0")
		var r replayed
		first, _, _ := strings.Cut(out, "\n")
		if err := json.Unmarshal([]byte(first), &r); err != nil || code != exitAlive {
			t.Fatalf("%s: exit status %d, %s%s", test.name, code, out, complaint)
		}
		if math.Abs(r.TDMean-test.td) > 1 || math.Abs(r.SkewPPM-test.ppm) > 0.1 {
			t.Errorf("%s: T_D %v ms, skew %v ppm", test.name, r.TDMean, r.SkewPPM)
		}
		if test.said == "" && complaint != "" || !strings.Contains(complaint, test.said) || strings.Count(complaint, "\n") > 1 {
			t.Errorf("%s: %s", test.name, complaint)
		}
	}
}

// An incarnation without a judged heartbeat has no row. If none has one, that is an error.
func TestReplayUnjudged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "incarnations.sysrec")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recording.New(file, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := clock.Instant(time.Hour)
	for i, n := range []uint64{20, 500, 30} {
		for s := range n {
			at = at.Add(10 * time.Millisecond)
			rec.Record(&recording.Heartbeat{
				Peer: 42, Incarnation: uint64(i + 1), Sequence: s, Send: at, Arrival: at, Read: at, Period: 10_000, Source: clock.Kernel,
			})
		}
	}
	rec.Name(42, "db1")
	if err := errors.Join(rec.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	left := []string{"systole: peer db1: replay: nothing to judge: none of 20 heartbeats is left after the warm-up\n", " none of 30 heartbeats "}
	for _, format := range []string{"text", "json", "svg"} {
		out, complaint, code := run1("replay", path, "--warmup", "100", "-d", "fixed", "-d", "chen", "-o", format)
		if code != exitAlive || strings.Count(complaint, "\n") != 2 || !strings.Contains(complaint, left[0]) || !strings.Contains(complaint, left[1]) {
			t.Errorf("%s: exit status %d, %s", format, code, complaint)
		}
		if rows := strings.Count(out, "db1"); format != "svg" && rows != 2 || format == "svg" && strings.Contains(out, "incarnations together") {
			t.Errorf("%s:\n%s", format, out)
		}
	}
	out, complaint, code := run1("replay", path, "--warmup", "500", "-o", "json")
	if code != exitUsage || out != "" || strings.Count(complaint, "\n") != 4 || !strings.Contains(complaint, "nothing to judge in any of 3 incarnations") {
		t.Errorf("none: exit status %d, %s%s", code, out, complaint)
	}
}

// The default parameters of sweeps are those of the detectors.
func TestDefaultParameters(t *testing.T) {
	period := 10 * time.Millisecond
	for _, s := range sweeps {
		if !slices.Contains(s.params, s.standard) {
			t.Errorf("%s: the default parameter %s is not in its sweep", s.name, s.standard)
		}
		got, err := s.spec(s.standard, period)
		if err != nil || !got.standard {
			t.Fatalf("%s: %+v, %v", s.name, got, err)
		}
		var bare detect.Detector
		for _, d := range []detect.Detector{
			published.Fixed(0, 0), published.Chen(0, 0, 0), published.TwoWindow(0, 0, 0, 0), published.Oz(published.OzOptions{}), published.Bertier(published.BertierOptions{}),
			published.PhiNormal(published.PhiNormalOptions{}), published.PhiExponential(published.PhiExponentialOptions{}), detect.Margin(detect.MarginOptions{Period: period}),
		} {
			if d.Name() == s.name {
				bare = d
			}
		}
		var trace []recording.Beat
		for i := range int64(3000) {
			at := i*int64(period) + i*i%97*10_000
			trace = append(trace, recording.Beat{Sequence: uint64(i), Send: at, NIC: at, App: at})
		}
		want, err := replay.Run(trace, bare, replay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := replay.Run(trace, got.detector, replay.Options{}); err != nil || *r != *want {
			t.Errorf("%s: %+v, %v; without parameters %+v", s.name, r, err, want)
		}
		if _, err := parseSpec(got.name+":"+got.param, period); err != nil {
			t.Errorf("%s:%s, as printed, is refused: %v", got.name, got.param, err)
		}
	}
}

// The picture is valid and reproducible. It has all detectors, both axes and the band of points
// without a mistake.
func TestReplaySVG(t *testing.T) {
	path := csvRecording(t)
	picture, complaint, code := run1("replay", path, "-o", "svg")
	if code != exitAlive {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	texts := svgTexts(t, picture)
	for _, s := range sweeps {
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, s.name+", default ") }) {
			t.Errorf("%s is not in the legend: %q", s.name, texts)
		}
	}
	for _, want := range []string{"mistakes per hour", "detection time T_D, ms", "no mistake in 17.9s", "17.9s observed, nic stamps", "100", "1000"} {
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("%q is missing: %q", want, texts)
		}
	}
	if again, _, _ := run1("replay", path, "-o", "svg"); again != picture {
		t.Error("a second picture differs")
	}
	one, _, code := run1("replay", path, "-o", "svg", "--sweep", "fixed", "--stamps", "app")
	if texts := strings.Join(svgTexts(t, one), "|"); code != exitAlive || strings.Contains(texts, "chen") || !strings.Contains(texts, "app stamps") {
		t.Errorf("one detector: exit status %d, %s", code, texts)
	}
	if strings.Count(picture, "<path") <= strings.Count(one, "<path") {
		t.Error("eight detectors have no more paths than one")
	}
	if out, complaint, code := run1("replay", path, "-o", "svg", "--warmup", "100000"); code != exitUsage || out != "" || complaint == "" {
		t.Errorf("nothing to draw: exit status %d, %s", code, complaint)
	}
}

// The picture in bench/results is that of make picture. Other processors round differently.
func TestPictureIsUpToDate(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		lacking(t, "amd64: floating-point results of other processors may differ in the last digit")
	}
	committed, err := os.ReadFile("../../bench/results/replay-loopback.svg")
	if err != nil {
		t.Fatal(err)
	}
	picture, complaint, code := run1("replay", "../../engine/replay/testdata/loopback.sysrec", "-o", "svg")
	if code != exitAlive || picture != string(committed) {
		t.Errorf("exit status %d, %s; make picture has not been run", code, complaint)
	}
}

// No text reaches past an edge of the picture, even in a font that is wider by a fifth.
func TestPictureHasRoom(t *testing.T) {
	slow := beatsOf(t, 2000, func(b *recording.Beat) { b.NIC += int64(b.Sequence * 7919 % 40_000_000) }) // longer parameters
	for _, file := range []string{"../../engine/replay/testdata/loopback.sysrec", slow, csvRecording(t)} {
		picture, complaint, code := run1("replay", file, "-o", "svg")
		if code != exitAlive {
			t.Fatalf("exit status %d: %s", code, complaint)
		}
		if !strings.Contains(picture, fontFamily) {
			t.Error("no choice of fonts")
		}
		d := xml.NewDecoder(strings.NewReader(picture))
		var x, size, width float64
		inText, turned := false, false
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				if token.Name.Local == "g" {
					for _, a := range token.Attr {
						turned = turned || strings.Contains(a.Value, "rotate")
					}
				}
				if inText = token.Name.Local == "text" && !turned; !inText {
					if token.Name.Local == "svg" {
						fmt.Sscanf(attribute(token, "viewBox"), "0 0 %f", &width)
					}
					continue
				}
				fmt.Sscan(attribute(token, "x"), &x)
				_, rest, _ := strings.Cut(attribute(token, "style"), "font-size:")
				fmt.Sscanf(rest, "%fpx", &size)
			case xml.EndElement:
				inText = false
				if token.Name.Local == "g" {
					turned = false
				}
			case xml.CharData:
				if !inText {
					continue
				}
				f := font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Length(size))
				face := font.DefaultCache.Lookup(f, f.Size)
				if end := x + float64(face.Width(string(token)))*1.2; x < 0 || end > width {
					t.Errorf("%s: %q from %.0f to %.0f of %.0f", file, token, x, end, width)
				}
			}
		}
	}
}

// attribute returns the value of an attribute.
func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// svgTexts returns the texts in a picture.
func svgTexts(t *testing.T, picture string) []string {
	t.Helper()
	var texts []string
	inText := false
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, picture)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		}
	}
}

// A recording has the heartbeats of each peer, at this node's period, and can be replayed.
func TestRecord(t *testing.T) {
	s, other := serve(t, anyPort), serve(t, anyPort)
	path := filepath.Join(t.TempDir(), "trace.sysrec")
	_, complaint, code := run1("record", s.addr, other.addr, "-f", path, "--interval", "10ms", "--wait", "2s", "--quiet")
	if code != exitAlive {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rec, err := recording.Read(file)
	if err != nil || len(rec.Streams) != 2 || rec.Overflowed != 0 || rec.Truncated != 0 {
		t.Fatalf("%+v, %v", rec, err)
	}
	for _, l := range rec.Streams {
		if period := l.Period(); len(l.Beats) < 100 || period < 9*time.Millisecond || period > 13*time.Millisecond {
			t.Errorf("%s: %d heartbeats recorded, period %v", l.Name, len(l.Beats), period)
		}
		for i, b := range l.Beats {
			if i > 0 && b.Sequence <= l.Beats[i-1].Sequence || b.App < b.NIC {
				t.Fatalf("%s: heartbeat %d: %+v after %+v", l.Name, i, b, l.Beats[max(i-1, 0)])
			}
		}
	}
	out, complaint, code := run1("replay", path)
	if code != exitAlive || strings.Count(out, "\n") != 1+2*len(sweeps) || strings.Count(out, "\n"+s.addr) != len(sweeps) {
		t.Errorf("replay: exit status %d, %s%s", code, out, complaint)
	}
	out, _, code = run1("replay", path, "--peer", s.addr, "-o", "json")
	if code != exitAlive || strings.Count(out, `"peer":"`+s.addr+`"`) != len(sweeps) || strings.Contains(out, other.addr) {
		t.Errorf("one peer: exit status %d, %s", code, out)
	}
	if _, complaint, code = run1("replay", path, "--peer", "nobody"); code != exitUsage || !strings.Contains(complaint, s.addr) {
		t.Errorf("a peer that is not in it: exit status %d, %s", code, complaint)
	}
	for name, args := range map[string][]string{
		"no file named": {s.addr}, "a file that is there": {s.addr, "-f", path}, "no target": {"-f", path + "2"},
		"a bad format": {s.addr, "-f", path + "3", "-o", "xml"},
	} {
		if _, complaint, code := run1(append([]string{"record"}, args...)...); code != exitUsage || complaint == "" {
			t.Errorf("%s: exit status %d, %q", name, code, complaint)
		}
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Errorf("recordings of nothing were left: %q", left)
	}
}

// The recording of a killed process can be replayed.
func TestRecorderKilled(t *testing.T) {
	s := serve(t, anyPort)
	path := filepath.Join(t.TempDir(), "trace.sysrec")
	cmd := exec.Command(binary, "record", s.addr, "-f", path, "--interval", "10ms", "--quiet")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3500 * time.Millisecond)
	cmd.Process.Kill()
	cmd.Wait()
	rec, err := readRecording(nil, path)
	if err != nil || len(rec.Streams) != 1 || len(rec.Streams[0].Beats) < 100 {
		t.Fatalf("%+v, %v", rec, err)
	}
	if out, complaint, code := run1("replay", path); code != exitAlive || strings.Count(out, "\n") != 1+len(sweeps) {
		t.Errorf("exit status %d, %s%s", code, out, complaint)
	}
}

// If the recording cannot be written, record ends with an error, and the recording so far can be
// replayed. Here files are limited to 4 KiB, some seconds of heartbeats.
func TestRecordingFull(t *testing.T) {
	s := serve(t, anyPort)
	path := filepath.Join(t.TempDir(), "trace.sysrec")
	cmd := exec.Command("sh", "-c", `ulimit -f 8 && exec "$@"`, "sh", binary, "record", s.addr, "-f", path, "--interval", "10ms", "--wait", "60s", "--quiet")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	started := time.Now()
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(complaints.String(), path) || time.Since(started) > 50*time.Second {
		t.Errorf("exit status %d after %v: %s", code, time.Since(started), complaints.String())
	}
	if out, complaint, code := run1("replay", path, "-d", "fixed"); code != exitAlive || !strings.Contains(complaint, "interrupted") {
		t.Errorf("replay: exit status %d, %s%s", code, out, complaint)
	}
}

// A failed write to the standard output is an error. An empty recording is removed.
func TestOutputFull(t *testing.T) {
	s := serve(t, anyPort)
	for _, args := range [][]string{
		{"ping", s.addr, "--wait", "300ms"}, {"ping", s.addr, "--wait", "300ms", "-o", "json"}, {"record", s.addr, "-f", "-", "--wait", "300ms"},
		{"replay", csvRecording(t)}, {"replay", csvRecording(t), "-o", "svg"}, {"sim", "testdata/crash.json"}, {"sim", "--seeds", "1", "-o", "json"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, args...)
		var complaints strings.Builder
		cmd.Stdout, cmd.Stderr = full, &complaints
		cmd.Run()
		full.Close()
		if code := cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(complaints.String(), "no space") {
			t.Errorf("%v: exit status %d, %s", args, code, complaints.String())
		}
	}
	path := filepath.Join(t.TempDir(), "trace.sysrec")
	cmd := exec.Command("sh", "-c", `ulimit -f 0 && exec "$@"`, "sh", binary, "record", s.addr, "-f", path, "--wait", "300ms")
	cmd.Run()
	if _, err := os.Stat(path); cmd.ProcessState.ExitCode() != exitUsage || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("exit status %d, the recording: %v", cmd.ProcessState.ExitCode(), err)
	}
}

// A recording goes through a pipe, and other output goes to the standard error.
func TestRecordPiped(t *testing.T) {
	s := serve(t, anyPort)
	record := exec.Command(binary, "record", s.addr, "-f", "-", "--interval", "10ms", "--wait", "1s")
	var printed strings.Builder
	record.Stderr = &printed
	pipe, err := record.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := record.Start(); err != nil {
		t.Fatal(err)
	}
	replayer := exec.Command(binary, "replay", "-", "-d", "fixed", "-o", "json")
	replayer.Stdin = pipe
	out, err := replayer.Output()
	record.Wait()
	if err != nil || !strings.Contains(string(out), `"detector":"fixed"`) || !strings.Contains(printed.String(), "first-contact") {
		t.Errorf("%v: %s; printed %s", err, out, printed.String())
	}
}
