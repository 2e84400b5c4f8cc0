package bpf

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestValidateReportsAllFaults(t *testing.T) {
	o := Options{
		Peers: MaxPeers + 1, Hook: hookXDP, Cgroup: "relative",
		Interfaces: []string{"eth0", "eth0", "", "a/b", "sixteen-letters-"}, XDP: []string{"eth1", "eth0"},
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	faults := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"Peers is 1048577", `Hook is "xdp"`, `Cgroup is "relative"`, `names "eth0" twice`, `"" cannot name`,
		`"a/b" cannot name`, `"sixteen-letters-" cannot name`, `XDP names "eth1"`,
	} {
		if i >= len(faults) || !strings.Contains(faults[i], want) {
			t.Fatalf("fault %d is not %q in:\n%v", i, want, err)
		}
	}
	if len(faults) != 8 {
		t.Errorf("%d faults:\n%v", len(faults), err)
	}
	for _, o := range []Options{
		{}, {Peers: MaxPeers, Absorb: true, Hook: hookCgroup, Cgroup: "/sys/fs/cgroup"},
		{Interfaces: []string{"eth0", "eth1.7", "br-0"}, XDP: []string{"eth0"}}, {XDP: []string{"eth0"}},
	} {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsSayWhatHelps(t *testing.T) {
	err := failed("load programs", &wrapped{unix.EPERM}, capBPF)
	if !errors.Is(err, unix.EPERM) || failed("again", err) != err {
		t.Error("the cause is lost")
	}
	if err.Help == "" || failed("x", ebpf.ErrNotSupported).Help == "" || failed("x", &ebpf.VerifierError{Cause: unix.EACCES}).Help == "" {
		t.Error("no help")
	}
	text, problem := json.Marshal(err)
	var got Error
	if problem != nil || json.Unmarshal(text, &got) != nil {
		t.Fatal(problem, string(text))
	}
	if got.Error() != err.Error() || !errors.Is(&got, unix.EPERM) {
		t.Errorf("sent %v, got %v", err, &got)
	}
}

type wrapped struct{ err error }

func (w *wrapped) Error() string { return "wrapped: " + w.err.Error() }
func (w *wrapped) Unwrap() error { return w.err }

func TestCgroupMount(t *testing.T) {
	const mounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
41 31 0:38 /part /sys/fs/part rw,relatime shared:1 - cgroup2 cgroup2 rw
42 31 0:38 / /sys/fs/with\040space\x rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw
43 31 0:38 / /later rw,relatime - cgroup2 cgroup2 rw
`
	if got := cgroupMount(strings.NewReader(mounts)); got != `/sys/fs/with space\x` {
		t.Error(got)
	}
	part := strings.Join(strings.SplitAfter(mounts, "\n")[:2], "")
	if got := cgroupMount(strings.NewReader(part)); got != "/sys/fs/part" {
		t.Error(got)
	}
	if got := cgroupMount(strings.NewReader("too short\n1 2 - cgroup2\n")); got != "" {
		t.Error(got)
	}
}
