package main

import (
	"testing"

	"systole/bpf"
)

// A tier that is not had is left out, and the table says why.
func TestComplete(t *testing.T) {
	limit := &bpf.Error{Op: "attach", Text: errDisturbed.Error()}
	for _, c := range []struct {
		s    bpf.Status
		want string
	}{
		{bpf.Status{Tier: bpf.Absorb, HandOffs: true}, ""},
		{bpf.Status{Tier: bpf.Stamps, HandOffs: true, Limit: limit}, "tier bpf and not absorb\n" + limit.Error()},
		{bpf.Status{Tier: bpf.Absorb, HandOffError: limit}, "no hand-offs\n" + limit.Error()},
	} {
		got := ""
		if err := complete(c.s, bpf.Absorb); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
