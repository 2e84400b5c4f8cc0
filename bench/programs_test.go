package main

import (
	"testing"
)

func TestProgramIn(t *testing.T) {
	for text, want := range map[string]int{
		"pos:\t0\nflags:\t02000002\nlink_type:\ttcx\nprog_id:\t42\n": 42,
		"pos:\t0\nmap_id:\t7\n": -1,
		"prog_id:\tx\n":         -1,
	} {
		if id, ok := programIn(text); ok != (want >= 0) || ok && int(id) != want {
			t.Errorf("%q: %d, %v", text, id, ok)
		}
	}
}

func TestProgramRuns(t *testing.T) {
	a, b := programRuns{3, 30 * us}, programRuns{1, 10 * us}
	if a.plus(b) != (programRuns{4, 40 * us}) || a.minus(b) != (programRuns{2, 20 * us}) {
		t.Error("sums of runs")
	}
}
