package engine

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/internal/sim"
	"systole/wire"
)

func TestZeroConfigIsValid(t *testing.T) {
	var c Config
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := new(PeerConfig).Validate(); err == nil {
		t.Error("a peer without an address was accepted")
	}
}

// Validate returns all faults at once, each with its field.
func TestConfigFaults(t *testing.T) {
	c := Config{
		Shards: -1, Period: time.Microsecond, MinReceivePeriod: time.Hour, ConnectTimeout: time.Nanosecond,
		ExpectedPeers: -1, Window: 9, RecvBuffer: -4,
		Listen: []netip.AddrPort{{}},
		Keys:   new(wire.KeyRing),
		Accept: Accept{PerSecond: -1, Forget: time.Nanosecond},
		Sched:  Sched{Nice: -21, FIFO: 100, CPUs: []int{-1}, Procs: -1},
	}
	got := faultyFields(c.Validate())
	for _, field := range []string{
		"Shards", "Period", "MinReceivePeriod", "ConnectTimeout", "ExpectedPeers", "Window", "RecvBuffer",
		"Listen", "Keys", "Accept.PerSecond", "Accept.Forget", "Sched.Nice", "Sched.FIFO", "Sched.CPUs", "Sched.Procs",
	} {
		if !got[field] {
			t.Errorf("fault of %s is not reported", field)
		}
	}
}

// A single fault is reported, and a value at the bound is none.
func TestConfigBounds(t *testing.T) {
	listen := func(s string) Config { return Config{Listen: []netip.AddrPort{netip.MustParseAddrPort(s)}} }
	for _, c := range []struct {
		what, field string
		cfg         Config
		good        bool
	}{
		{"a multicast group", "Listen", listen("224.0.0.1:7853"), false},
		{"a multicast group", "Listen", listen("[ff02::1]:7853"), false},
		{"the broadcast address", "Listen", listen("255.255.255.255:7853"), false},
		{"any address", "Listen", listen("0.0.0.0:7853"), true},
		{"a million admissions a second", "Accept.PerSecond", Config{Accept: Accept{PerSecond: 1_000_000}}, true},
		{"more than a million", "Accept.PerSecond", Config{Accept: Accept{PerSecond: 1_000_001}}, false},
		{"the least favour", "Sched.Nice", Config{Sched: Sched{Nice: 19}}, true},
		{"less than that", "Sched.Nice", Config{Sched: Sched{Nice: 20}}, false},
		{"the highest priority", "Sched.FIFO", Config{Sched: Sched{FIFO: 99}}, true},
		{"a negative priority", "Sched.FIFO", Config{Sched: Sched{FIFO: -1}}, false},
		{"two classes", "Sched.Nice", Config{Sched: Sched{Nice: -1, FIFO: 1}}, false},
		{"fewer stamps than none", "StampSends", Config{StampSends: -1}, false},
		{"one heartbeat in 65,536 stamped", "StampSends", Config{StampSends: 65_536}, true},
		{"one in more", "StampSends", Config{StampSends: 65_537}, false},
		{"a ring without keys", "Keys", Config{Keys: new(wire.KeyRing)}, false},
		{"a shared key", "Keys", Config{Keys: ring(t, "1 send")}, true},
		{"a shared key, the id left open", "ID", Config{Keys: ring(t, "1 send")}, true},
		{"a master key, the id left open", "ID", Config{Keys: masterRing(t, 1)}, false},
		{"a master key", "ID", Config{Keys: masterRing(t, 1), ID: 7}, true},
	} {
		if got := c.cfg.Validate(); faultyFields(got)[c.field] == c.good {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestManualExcludesThreads(t *testing.T) {
	c := Config{Manual: true, Shards: 2, Sched: Sched{Nice: -5}}
	if !faultyFields(c.Validate())["Manual"] {
		t.Error("a manual engine with two shards and a nice value was accepted")
	}
}

func TestSimulatedHostNeedsManual(t *testing.T) {
	host := &sim.Socket{}
	for _, c := range []Config{
		{}, {Manual: true, Listen: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}},
	} {
		var fault *FieldError
		if _, err := openSimulated(c, host); !errors.As(err, &fault) || fault.Field != "Manual" {
			t.Errorf("Manual %v, Listen %v on a simulated host: %v", c.Manual, c.Listen, err)
		}
	}
	c := Config{Manual: true, world: host}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPeerConfigFaults(t *testing.T) {
	addr := netip.MustParseAddrPort("192.0.2.1:7853")
	for name, c := range map[string]PeerConfig{
		"Name":   {Name: "no-port"},
		"Addr":   {Addr: netip.MustParseAddrPort("0.0.0.0:7853")},
		"Period": {Addr: addr, Period: time.Hour},
	} {
		if !faultyFields(c.Validate())[name] {
			t.Errorf("%+v: fault of %s is not reported", c, name)
		}
	}
	both := PeerConfig{Addr: addr, Name: "localhost:7853"}
	if both.Validate() == nil {
		t.Error("a peer with address and name was accepted")
	}
}

// faultyFields returns the fields of the faults that err joins.
func faultyFields(err error) map[string]bool {
	fields := make(map[string]bool)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fields
	}
	for _, e := range joined.Unwrap() {
		var f *FieldError
		if errors.As(e, &f) {
			fields[f.Field] = true
		}
	}
	return fields
}

func TestGridDividesPeriod(t *testing.T) {
	for _, period := range []time.Duration{
		time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute,
	} {
		g := grid(period)
		if g > 4*time.Millisecond || g < 400*time.Microsecond {
			t.Errorf("period %v: grid %v", period, g)
		}
		if rest := period % g; rest > time.Microsecond {
			t.Errorf("period %v is not a multiple of grid %v: rest %v", period, g, rest)
		}
	}
}

func TestOnGrid(t *testing.T) {
	if got := onGrid(9, 4); got != 12 {
		t.Errorf("onGrid(9, 4) = %d", got)
	}
	if got := onGrid(8, 4); got != 8 {
		t.Errorf("onGrid(8, 4) = %d", got)
	}
}

// sized is a detector with given sizes of its state and summary.
type sized struct {
	detect.Detector
	words, summary int
}

func (s *sized) Words() int   { return s.words }
func (s *sized) Summary() int { return s.summary }

// Validate refuses a detector whose summary does not fit into the table.
func TestDetectorSummaryIsBounded(t *testing.T) {
	for _, c := range []struct {
		words, summary int
		good           bool
	}{{32, maxSummary, true}, {32, maxSummary + 1, false}, {32, 0, false}, {4, 5, false}} {
		cfg := Config{Detector: &sized{Detector: published.Fixed(0, 0), words: c.words, summary: c.summary}}
		if got := cfg.Validate(); faultyFields(got)["Detector"] == c.good {
			t.Errorf("a summary of %d words out of %d: %v", c.summary, c.words, got)
		}
	}
}
