package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is the result of a benchmark: one row per case, one column per figure.
type table struct {
	name    string
	about   string   // what was measured and how to read it; one paragraph
	command string   // that repeats it
	columns []string // names of the figures with their units, as in JSON: cpu_ns_per_datagram
	rows    []row
}

// row is one case.
type row struct {
	name    string
	figures []float64 // one per column; none or infinite where a figure has no meaning
}

// none is a figure that has no meaning in its row.
var none = math.NaN()

// meaningful reports whether x is a figure. A ratio to nothing is NaN or infinite, and JSON has
// neither.
func meaningful(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// add appends a case. It panics when figures and columns differ in number.
func (t *table) add(name string, figures ...float64) {
	if len(figures) != len(t.columns) {
		panic(fmt.Sprintf("bench: %d figures for %d columns", len(figures), len(t.columns)))
	}
	t.rows = append(t.rows, row{name, figures})
}

// figure formats x for reading: whole numbers and those from 100 up without decimals, others with
// three significant digits.
func figure(x float64) string {
	switch {
	case !meaningful(x):
		return "-"
	case x == math.Trunc(x) || math.Abs(x) >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// cells returns the heading and the rows as text.
func (t *table) cells() [][]string {
	cells := [][]string{append([]string{"case"}, t.columns...)}
	for i := range cells[0] {
		cells[0][i] = strings.ReplaceAll(cells[0][i], "_", " ")
	}
	for _, r := range t.rows {
		line := []string{r.name}
		for _, x := range r.figures {
			line = append(line, figure(x))
		}
		cells = append(cells, line)
	}
	return cells
}

// text returns the table for a terminal.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", t.name, t.about)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, line := range t.cells() {
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	if err := w.Flush(); err != nil {
		panic(err) // a Builder never fails
	}
	return b.String()
}

// markdown returns the table for a page.
func (t *table) markdown() string {
	var b strings.Builder
	for i, line := range t.cells() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|---:", len(t.columns)) + "|\n")
		}
	}
	return b.String()
}

// lines returns the table as JSON Lines: an object per row with the figures that have a meaning,
// unrounded.
func (t *table) lines() string {
	var b strings.Builder
	for _, r := range t.rows {
		fmt.Fprintf(&b, `{"bench":%s,"case":%s`, quoted(t.name), quoted(r.name))
		for i, x := range r.figures {
			if meaningful(x) {
				fmt.Fprintf(&b, ",%s:%s", quoted(t.columns[i]), strconv.FormatFloat(x, 'g', -1, 64))
			}
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // Marshal never fails on a string
	}
	return string(b)
}
