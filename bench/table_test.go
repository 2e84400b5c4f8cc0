package main

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sample is a table with figures that have no meaning.
func sample(name string) *table {
	t := &table{name: name, about: "About.", command: "run " + name, columns: []string{"cost_ns", "lost"}}
	t.add("one", 1834.25, none)
	t.add("two", 0.01834, 3)
	t.add("a third × 3", math.Inf(1), -0.5)
	return t
}

func TestTable(t *testing.T) {
	s := sample("x")
	const text = `x: About.

case         cost ns  lost
one          1834     -
two          0.0183   3
a third × 3  -        -0.5
`
	const page = "| case | cost ns | lost |\n|---|---:|---:|\n| one | 1834 | - |\n| two | 0.0183 | 3 |\n| a third × 3 | - | -0.5 |\n"
	const lines = `{"bench":"x","case":"one","cost_ns":1834.25}
{"bench":"x","case":"two","cost_ns":0.01834,"lost":3}
{"bench":"x","case":"a third × 3","lost":-0.5}
`
	for _, c := range []struct{ what, got, want string }{{"text", s.text(), text}, {"markdown", s.markdown(), page}, {"lines", s.lines(), lines}} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.what, c.got, c.want)
		}
	}
}

func TestFigure(t *testing.T) {
	for _, c := range []struct {
		x    float64
		want string
	}{
		{0, "0"}, {3, "3"}, {-2, "-2"}, {1e6, "1000000"}, {1834.5, "1834"}, {1835.5, "1836"}, {100.4, "100"}, {-100.6, "-101"},
		{99.94, "99.9"}, {99.96, "100"}, {1.2345, "1.23"}, {0.5, "0.5"}, {0.000123456, "0.000123"}, {1.5e-7, "1.5e-07"},
		{none, "-"}, {math.Inf(1), "-"}, {math.Inf(-1), "-"},
	} {
		if got := figure(c.x); got != c.want {
			t.Errorf("%v: %s, want %s", c.x, got, c.want)
		}
	}
}

// A printed figure differs from the figure by half a unit of its third digit at most.
func TestFigureIsNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(-1e9, 1e9).Draw(t, "x")
		got, err := strconv.ParseFloat(figure(x), 64)
		if err != nil || math.Abs(got-x) > 0.00501*math.Abs(x) {
			t.Fatalf("%v is printed as %s: %v", x, figure(x), err)
		}
	})
}

// Each line is a JSON object with the names of the row and exactly the figures that have a meaning.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := table{name: rapid.String().Draw(t, "name"), columns: []string{"a_ns", "b", `with "quotes"`}}
		values := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{none, math.Inf(1), math.Inf(-1)}))
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			in.add(rapid.String().Draw(t, "case"), values.Draw(t, "a"), values.Draw(t, "b"), values.Draw(t, "c"))
		}
		lines := strings.SplitAfter(in.lines(), "\n")
		if len(lines) != len(in.rows)+1 || lines[len(in.rows)] != "" {
			t.Fatalf("%d lines of %d rows", len(lines)-1, len(in.rows))
		}
		for i, r := range in.rows {
			want := map[string]any{"bench": strings.ToValidUTF8(in.name, "\ufffd"), "case": strings.ToValidUTF8(r.name, "\ufffd")}
			for k, x := range r.figures {
				if meaningful(x) {
					want[in.columns[k]] = x
				}
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
				t.Fatalf("%q: %v", lines[i], err)
			}
			if len(got) != len(want) {
				t.Fatalf("%v, want %v", got, want)
			}
			for name, x := range want {
				if got[name] != x {
					t.Fatalf("%s: %v, want %v", name, got[name], x)
				}
			}
		}
	})
}

func TestAddPanics(t *testing.T) {
	defer func() {
		if got := recover(); got != "bench: 1 figures for 2 columns" {
			t.Errorf("panicked with %v", got)
		}
	}()
	sample("x").add("too short", 1)
}
