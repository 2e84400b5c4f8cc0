package doctor

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/bpf"
	"systole/engine"
)

// saved returns a host whose files are saved ones. Nothing changed during its sample.
func saved(root fs.FS) *host {
	h := &host{root: root, sample: 250 * time.Millisecond, hardware: map[string]bool{}}
	h.before = h.count()
	h.after = h.before
	return h
}

// Each check of a file judges two saved hosts, and says so where the host has no files.
func TestFiles(t *testing.T) {
	server, container, empty := saved(os.DirFS("testdata/server")), saved(os.DirFS("testdata/container")), saved(fstest.MapFS{})
	server.hardware["eth0"] = true
	for _, test := range []struct {
		name                string
		check               func(h *host) Finding
		onServer, contained string // verdict and a part of what was found
	}{
		{"clock source", (*host).clockSource, "ok: tsc", "problem: hpet: each reading"},
		{"time namespace", (*host).timeNamespace, "ok: the monotonic clock is the host's", "note: the monotonic clock is 16m40.5s off"},
		{"steal", (*host).steal, "ok: 0.0 %", "problem: 14.0 %"},
		{"quota", (*host).quota, "note: a limit of 1.50 CPUs: 150ms per 100ms; stopped in 1 of 1000 periods so far, for 12ms",
			"problem: a limit of 0.50 CPUs: 50ms per 100ms; stopped in 90 of 4000 periods so far, for 2.5s"},
		{"UDP", (*host).udpDrops, "ok: sockets of all processes refused 0 ", "note: sockets of all processes refused 1007 datagrams so far: 1000 for"},
		{"backlog", (*host).backlogDrops, "ok: the CPUs' queues dropped 0 packets", "note: the CPUs' queues dropped 26 packets"},
		{"unprivileged BPF", (*host).unprivilegedBPF, "ok: 2: ", "note: 0: "},
		{"BTF", (*host).typeInformation, "ok: the kernel describes", "note: this kernel, or this container"},
	} {
		for _, c := range []struct {
			host *host
			want string
		}{{server, test.onServer}, {container, test.contained}, {empty, "note: "}} {
			f := test.check(c.host)
			got := f.Verdict.String() + ": " + f.Found
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %q, want %q", test.name, got, c.want)
			}
			if f.Verdict == Problem && f.Remedy == "" {
				t.Errorf("%s: no remedy for %q", test.name, got)
			}
			if c.host == empty && test.name != "BTF" && !strings.HasPrefix(f.Found, "not known: ") {
				t.Errorf("%s without files: %q", test.name, f.Found)
			}
		}
	}
	if server.initialUsers() != true || container.initialUsers() != false || empty.initialUsers() != true {
		t.Error("user namespaces are taken for others")
	}
	if remedy := container.clockSource().Remedy; !strings.Contains(remedy, "tsc is there") {
		t.Error(remedy)
	}
	if slice, ok := parseSlice(mustRead(t, container, "proc/thread-self/sched")); !ok || slice != 3*time.Millisecond {
		t.Errorf("slice %v, %v", slice, ok)
	}
}

// mustRead returns the text of a file of a host.
func mustRead(t *testing.T, h *host, name string) string {
	t.Helper()
	text, err := h.text(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Files with other contents are not known, whatever they are.
func TestFaultyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "x", "cpu", "cpu  a b c d e f g h", "Udp: InErrors\nUdp:", "Udp: InErrors\nUdp: x", "1 2", "z y x",
		"monotonic 1", "monotonic x 0", "monotonic 0 x", "99999999999999999999 1 1"} {
		h := saved(fstest.MapFS{
			"proc/stat": {Data: []byte(text)}, "proc/net/snmp": {Data: []byte(text)}, "proc/net/softnet_stat": {Data: []byte(text)},
			"proc/self/timens_offsets": {Data: []byte(text)}, "proc/self/cgroup": {Data: []byte(text)},
			"proc/self/mountinfo": {Data: []byte(text)}, "sys/kernel/btf/vmlinux": {Data: []byte(text)},
		})
		for name, f := range map[string]Finding{
			"steal": h.steal(), "UDP": h.udpDrops(), "time namespace": h.timeNamespace(), "quota": h.quota(), "BTF": h.typeInformation(),
		} {
			if f.Verdict != Note || !strings.HasPrefix(f.Found, "not known: ") {
				t.Errorf("%s of %q: %+v", name, text, f)
			}
		}
		if f := h.backlogDrops(); text != "" && text != "\n" && f.Verdict != Note {
			t.Errorf("backlog of %q: %+v", text, f)
		}
	}
}

// A quota that is not a number is not taken for none.
func TestFaultyQuota(t *testing.T) {
	const dir = "sys/fs/cgroup/"
	for _, test := range []struct{ max, stat string }{
		{"x 100000", "nr_periods 1"}, {"1000 0", "nr_periods 1"}, {"0 1000", "nr_periods 1"}, {"1000 1000", "nr_periods x"},
	} {
		h := saved(fstest.MapFS{
			"proc/self/cgroup":    {Data: []byte("0::/\n")},
			"proc/self/mountinfo": {Data: []byte("2 1 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")},
			dir + "cpu.max":       {Data: []byte(test.max)}, dir + "cpu.stat": {Data: []byte(test.stat)},
		})
		if f := h.quota(); !strings.HasPrefix(f.Found, "not known: ") {
			t.Errorf("%+v: %+v", test, f)
		}
	}
	none := saved(fstest.MapFS{
		"proc/self/cgroup":    {Data: []byte("0::/a/b\n")},
		"proc/self/mountinfo": {Data: []byte("2 1 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")},
		dir + "a/b/cpu.stat":  {Data: []byte("usage_usec 1\n")},
	})
	if f := none.quota(); f.Verdict != OK || f.Found != "no limit of CPU time" {
		t.Errorf("without a controller: %+v", f)
	}
}

// The sample counts, beside what was before.
func TestSamples(t *testing.T) {
	const length = 250 * time.Millisecond
	one := quota{limit: time.Second, period: time.Second, periods: 1000, throttled: 2}
	two := one
	two.throttled++
	for _, test := range []struct {
		name  string
		found Finding
		want  Verdict
		figs  string
	}{
		{"steal, one tick", judgeSteal(cpuTimes{1000, 0}, cpuTimes{50, 1}, length), OK, "sample_ppm"},
		{"steal, two ticks", judgeSteal(cpuTimes{1000, 0}, cpuTimes{100, 2}, length), Note, "sample_ppm"},
		{"steal, many ticks", judgeSteal(cpuTimes{1000, 0}, cpuTimes{100, 10}, length), Problem, "sample_ppm"},
		{"steal before", judgeSteal(cpuTimes{1000, 10}, cpuTimes{100, 0}, length), Note, "boot_ppm"},
		{"no time at all", judgeSteal(cpuTimes{}, cpuTimes{}, length), OK, ""},
		{"rarely throttled", judgeQuota(one, one), Note, "throttled"},
		{"throttled now", judgeQuota(one, two), Problem, "throttled_sample"},
		{"backlog", judgeBacklog(backlogCounts{}, backlogCounts{dropped: 1}, length), Problem, "dropped_sample"},
		{"squeezed", judgeBacklog(backlogCounts{}, backlogCounts{squeezed: 1}, length), Note, "squeezed_sample"},
		{"squeezed before", judgeBacklog(backlogCounts{0, 1}, backlogCounts{0, 1}, length), OK, "squeezed"},
		{"overflow", judgeUDP(udpCounts{}, udpCounts{full: 3}, length), Note, "full_sample"},
		{"checksum", judgeUDP(udpCounts{}, udpCounts{checksum: 3}, length), Note, "checksum_sample"},
	} {
		if test.found.Verdict != test.want || test.figs != "" && test.found.Figures[test.figs] == 0 {
			t.Errorf("%s: %+v", test.name, test.found)
		}
		if test.want == Problem && test.found.Remedy == "" {
			t.Errorf("%s: no remedy", test.name)
		}
	}
	if got := (cpuTimes{5, 1}).sub(cpuTimes{7, 3}); got != (cpuTimes{}) {
		t.Errorf("counters that go back: %+v", got)
	}
}

func TestLateness(t *testing.T) {
	late := make([]time.Duration, 100)
	for want, most := range map[Verdict]time.Duration{OK: time.Millisecond, Note: 2 * time.Millisecond, Problem: 20 * time.Millisecond} {
		late[99] = most
		if f := judgeLateness(late); f.Verdict != want || f.Figures["p99_ns"] != int64(most) || f.Figures["p50_ns"] != 0 {
			t.Errorf("%v: %+v", most, f)
		}
	}
}

func TestThread(t *testing.T) {
	refused := thread{
		slack: 50 * time.Microsecond, slackErr: unix.EPERM, setSlack: unix.EPERM,
		attrErr: unix.ENOSYS, setSlice: unix.EPERM, lateErr: unix.EPERM,
	}
	h := &host{root: fstest.MapFS{}, thread: refused}
	for name, f := range map[string]Finding{
		"slack": h.timerSlack(), "slice": h.slice(), "class": h.schedulingClass(), "wake-up": h.wakeUp(),
	} {
		if f.Verdict != Note || !strings.HasPrefix(f.Found, "not known: ") {
			t.Errorf("%s, refused: %+v", name, f)
		}
	}
	h.thread.slackErr, h.thread.attrErr = nil, nil
	for name, f := range map[string]Finding{"slack": h.timerSlack(), "slice": h.slice()} {
		if f.Verdict != Problem || f.Remedy == "" {
			t.Errorf("%s, setting it refused: %+v", name, f)
		}
	}
	h.thread.setSlice = nil
	for slice, want := range map[time.Duration]Verdict{0: Note, 3 * time.Millisecond: Note, sliceWanted: OK} {
		h.thread.slice = slice
		if f := h.slice(); f.Verdict != want {
			t.Errorf("slice %v: %+v", slice, f)
		}
	}
	for _, test := range []struct {
		attr unix.SchedAttr
		fifo uint64
		want Verdict
		text string
	}{
		{unix.SchedAttr{}, 99, OK, "normal, nice 0; --fifo works up to 99"},
		{unix.SchedAttr{}, 0, Note, "normal, nice 0; --fifo is refused"},
		{unix.SchedAttr{Nice: 5}, 99, Note, "normal, nice 5: others"},
		{unix.SchedAttr{Policy: unix.SCHED_IDLE}, 99, Problem, "idle, nice 0: "},
		{unix.SchedAttr{Policy: unix.SCHED_BATCH}, 99, Problem, "batch, nice 0: "},
		{unix.SchedAttr{Policy: unix.SCHED_FIFO}, 10, OK, "FIFO, nice 0; --fifo works up to 10"},
		{unix.SchedAttr{Policy: 77}, 10, OK, "class 77, "},
	} {
		if f := judgeClass(&test.attr, test.fifo, 0); f.Verdict != test.want || !strings.HasPrefix(f.Found, test.text) {
			t.Errorf("%+v: %+v", test, f)
		}
	}
}

func TestBuffers(t *testing.T) {
	const enough, short = 1000, 200
	for _, test := range []struct {
		recv, send int // granted of 1000
		want       Verdict
		remedy     string
	}{
		{enough, enough, OK, ""},
		{short, enough, Problem, "sysctl -w net.core.rmem_max=1000, or give CAP_NET_ADMIN"},
		{short, short, Problem, "sysctl -w net.core.rmem_max=1000 net.core.wmem_max=1000, or give CAP_NET_ADMIN"},
	} {
		var stats engine.Stats
		recv, send := &stats.Sockets.RecvBuffer, &stats.Sockets.SendBuffer
		recv.Wanted, send.Wanted, recv.Granted, send.Granted = 1000, 1000, test.recv, test.send
		if f := judgeBuffers(stats, 7); f.Verdict != test.want || f.Remedy != test.remedy || !strings.Contains(f.Found, "7 peers") {
			t.Errorf("%+v: %+v", test, f)
		}
	}
}

// all is a set of every capability.
const all = ^uint64(0)

func TestCapabilities(t *testing.T) {
	without := func(capabilities ...int) uint64 {
		set := all &^ (1 << unix.CAP_SYS_ADMIN)
		for _, c := range capabilities {
			set &^= 1 << c
		}
		return set
	}
	for _, test := range []struct {
		set     uint64
		initial bool
		want    Verdict
		text    string
	}{
		{all, true, OK, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_NICE"},
		{all, false, Note, "this process is in a user namespace"},
		{without(), true, OK, "CAP_BPF, "},
		{without(unix.CAP_BPF), true, Note, "without CAP_BPF (programs)"},
		{without(unix.CAP_BPF) | 1<<unix.CAP_SYS_ADMIN, true, OK, "CAP_BPF"},
		{without(unix.CAP_PERFMON, unix.CAP_SYS_NICE), true, Note, "without CAP_PERFMON (stamps of hand-offs) and CAP_SYS_NICE"},
	} {
		if f := judgeCapabilities(test.set, test.initial); f.Verdict != test.want || !strings.HasPrefix(f.Found, test.text) {
			t.Errorf("%x: %+v", test.set, f)
		}
	}
	for release, want := range map[string]Verdict{"6.6.1": OK, "10.0": OK, "6.1.0": Note, "5.10": Note, "": Note} {
		if f := judgeRelease(release); f.Verdict != want {
			t.Errorf("%s: %+v", release, f)
		}
	}
}

func TestBestTier(t *testing.T) {
	tier := func(name string, v Verdict) Finding { return Finding{Check: CheckTier, Subject: name, Verdict: v} }
	for _, test := range []struct {
		findings []Finding
		want     string
	}{
		{nil, "user"},
		{[]Finding{tier("kernel", OK), tier("bpf", Note), tier("absorb", Note), tier("nic", Note)}, "kernel"},
		{[]Finding{tier("kernel", OK), tier("bpf", OK), tier("absorb", OK), tier("nic", Note)}, "bpf"},
		{[]Finding{tier("kernel", OK), tier("bpf", OK), tier("absorb", OK), tier("nic", OK)}, "nic"},
		{[]Finding{tier("kernel", Note), tier("bpf", Problem)}, "user"},
		{[]Finding{{Check: "btf", Subject: "bpf"}}, "user"},
	} {
		if got := BestTier(test.findings); got != test.want {
			t.Errorf("%+v: %s, want %s", test.findings, got, test.want)
		}
	}
}

func TestPrograms(t *testing.T) {
	lo := []bpf.InterfaceStatus{{Name: "lo", Hook: "tcx"}}
	refused := &bpf.Error{Op: "load", Text: unix.EPERM.Error(), Errno: unix.EPERM, Help: "it needs CAP_BPF"}
	for _, test := range []struct {
		status bpf.Status
		err    error
		want   string
	}{
		{bpf.Status{Tier: bpf.Stamps, Interfaces: lo, HandOffs: true}, nil, "ok: attached to lo by tcx, with stamps of hand-offs"},
		{bpf.Status{Tier: bpf.Stamps, Interfaces: lo, HandOffError: refused}, nil, "ok: attached to lo by tcx; no stamps of hand-offs: bpf: load: operation not permitted; it needs CAP_BPF"},
		{bpf.Status{HandOffs: true, Limit: refused}, nil, "note: bpf: load: operation not permitted"},
		{bpf.Status{}, refused, "note: bpf: load: operation not permitted"},
	} {
		f := judgeProgram(test.status, test.err)
		if got := f.Verdict.String() + ": " + f.Found; !strings.HasPrefix(got, test.want) {
			t.Errorf("%+v, %v: %q", test.status, test.err, got)
		}
	}
}

func TestHardware(t *testing.T) {
	const rx = unix.SOF_TIMESTAMPING_RX_HARDWARE
	for _, test := range []struct {
		info *unix.EthtoolTsInfo
		want string
	}{
		{nil, "note: no hardware stamps"},
		{&unix.EthtoolTsInfo{So_timestamping: unix.SOF_TIMESTAMPING_RX_SOFTWARE, Phc_index: -1}, "note: no hardware stamps"},
		{&unix.EthtoolTsInfo{So_timestamping: rx, Rx_filters: 1 << unix.HWTSTAMP_FILTER_PTP_V2_EVENT}, "note: hardware stamps of PTP only"},
		{&unix.EthtoolTsInfo{So_timestamping: rx, Rx_filters: 1 << unix.HWTSTAMP_FILTER_ALL, Phc_index: -1}, "note: hardware stamps without"},
		{&unix.EthtoolTsInfo{So_timestamping: rx, Rx_filters: 1 << unix.HWTSTAMP_FILTER_ALL, Phc_index: 3}, "ok: hardware stamps of all datagrams, by the clock /dev/ptp3"},
	} {
		f := judgeHardware(test.info)
		if got := f.Verdict.String() + ": " + f.Found; !strings.HasPrefix(got, test.want) {
			t.Errorf("%+v: %q", test.info, got)
		}
	}
}

func TestOccupants(t *testing.T) {
	refused := errors.New("one\ntwo")
	for _, test := range []struct {
		found []string
		err   error
		want  string
	}{
		{nil, nil, "ok: no program on XDP and tcx"},
		{nil, refused, "note: not known: one; two"},
		{[]string{"xdp native: program 7 (filter), held by agent (12)"}, nil,
			"note: xdp native: program 7 (filter), held by agent (12)"},
		{[]string{"tcx ingress: program 7"}, refused, "note: tcx ingress: program 7, note: not known: one; two"},
	} {
		var got []string
		for _, f := range judgeOccupants(test.found, test.err) {
			got = append(got, f.Verdict.String()+": "+f.Found)
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestCheckStamp(t *testing.T) {
	now := time.Unix(1_700_000_000, 5000)
	stamp := func(at time.Time) []byte {
		data := make([]byte, 48)
		putWords(data, uint64(at.Unix()), uint64(at.Nanosecond()))
		return message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, data)
	}
	for _, test := range []struct {
		control []byte
		ok      bool
	}{
		{stamp(now), true}, {stamp(now.Add(-time.Second)), false}, {stamp(now.Add(time.Second)), false}, {stamp(time.Unix(0, 0)), false},
		{nil, false}, {message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, make([]byte, 8)), false},
		{message(unix.SOL_IP, unix.SCM_TIMESTAMPING, make([]byte, 48)), false}, {make([]byte, 20), false},
	} {
		if err := checkStamp(test.control, now, now.Add(time.Microsecond)); (err == nil) != test.ok {
			t.Errorf("%x: %v", test.control, err)
		}
	}
}

// putWords writes words in host order.
func putWords(b []byte, words ...uint64) {
	for i, w := range words {
		binary.NativeEndian.PutUint64(b[8*i:], w)
	}
}

// message returns a control message.
func message(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
