package bpf

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// What an ordinary user gets with capabilities.
func TestTierByCapabilities(t *testing.T) {
	needBPF(t)
	const bpf, net, perfmon = unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON
	for _, c := range []struct {
		name         string
		capabilities []uintptr
		failure      string // of Open
		stamps       Tier   // without absorption
		limit        string
		absorbs      Tier // with absorption
		absorbLimit  string
		handOff      string // why there are none
	}{
		{"none", nil, "CAP_BPF", "", "", "", "", ""},
		{"bpf", []uintptr{bpf}, "CAP_NET_ADMIN", "", "", "", "", ""},
		{"bpf+perfmon", []uintptr{bpf, perfmon}, "", Kernel, "CAP_NET_ADMIN", Kernel, "CAP_NET_ADMIN", ""},
		{"bpf+net_admin", []uintptr{bpf, net}, "", Stamps, "", Stamps, "CAP_PERFMON", "CAP_PERFMON"},
		{"all", []uintptr{bpf, net, perfmon}, "", Stamps, "", Absorb, "", ""},
	} {
		for _, absorb := range []bool{false, true} {
			netlab.InNamespace(t, func() {
				child := start(t, task{Role: "open", Options: Options{Peers: 16, Absorb: absorb}, Beats: true}, nobody(c.capabilities...))
				if child == nil {
					return
				}
				got := child.report(t)
				if c.failure != "" {
					if got.Error == nil || !strings.Contains(got.Error.Help, c.failure) {
						t.Errorf("%s: %v", c.name, got.Error)
					}
					return
				}
				if got.Error != nil || got.Beats != "" || got.Status == nil {
					t.Errorf("%s: %v, %s", c.name, got.Error, got.Beats)
					return
				}
				tier, limit := c.stamps, c.limit
				if absorb {
					tier, limit = c.absorbs, c.absorbLimit
				}
				s := got.Status
				if s.Tier != tier || !hasHelp(s.Limit, limit) || s.HandOffs != (c.handOff == "") || !hasHelp(s.HandOffError, c.handOff) {
					t.Errorf("%s: %v, limit %v, hand-offs %v, %v", c.name, s.Tier, s.Limit, s.HandOffs, s.HandOffError)
				}
			})
		}
	}
}

// hasHelp reports whether err says what is needed, or is nil if nothing is.
func hasHelp(err *Error, need string) bool {
	if need == "" || err == nil {
		return need == "" && err == nil
	}
	return strings.Contains(err.Help, need)
}

// In a time namespace, the clock of the process is not that of the kernel's programs.
func TestStampsInATimeNamespace(t *testing.T) {
	needBPF(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, absorb := range []bool{false, true} {
		netlab.InNamespace(t, func() {
			child := start(t, task{Role: "open", Options: Options{Peers: 16, Absorb: absorb}, Beats: true}, func(c *exec.Cmd) {
				c.Path = "/usr/bin/unshare"
				c.Args = []string{"unshare", "--time", "--fork", "--kill-child", "--monotonic", "1000", self}
			})
			if child == nil {
				return
			}
			if got := child.report(t); got.Error != nil || got.Beats != "" {
				t.Errorf("%v, %s", got.Error, got.Beats)
			}
		})
	}
}
