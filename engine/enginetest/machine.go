package enginetest

import (
	"time"

	"systole/engine/enginetest/netmodel"
)

// Machine is what a host's hardware and kernel are like. The zero value is a new host's.
type Machine struct {
	// Paths is how many addresses it has, at most 4, by turns of IPv4 and IPv6, each on a network
	// of its own. 0: one.
	Paths         int
	Bound         bool                  // processes listen on each with a socket of its own, not on one per family
	Receive, Send int                   // datagrams that the buffers hold, at most 1,000,000; 0: 4096
	Uptime        time.Duration         // of the machine at its start, at most 10 years of 365 days; 0: an hour
	Drift         float64               // of its clocks, ppm, within ±500
	Latency       netmodel.Distribution // how late the process runs after it is woken
	NoStamps      bool                  // its kernel stamps no arrivals
	Takes         int                   // heartbeats of each peer that its device holds for the engine, at most 1,000: see engine.Arrivals
	ReadTime      time.Duration         // that its process takes for each datagram, so that a crowd's pile up; at most 1 ms
}

// paths returns how many addresses m has.
func (m *Machine) paths() int { return max(m.Paths, 1) }

// validate reports the faults of m.
func (m *Machine) validate(bad faults, at string) {
	validDistribution(bad, at+"latency", m.Latency)
	count(bad, at+"paths", m.Paths, maxPaths)
	count(bad, at+"receive", m.Receive, maxRoom)
	count(bad, at+"send", m.Send, maxRoom)
	count(bad, at+"takes", m.Takes, maxTakes)
	within(bad, at+"uptime", m.Uptime, 0, maxClock)
	within(bad, at+"read_time", m.ReadTime, 0, maxReadTime)
	drift(bad, at+"drift", m.Drift)
}

// Set makes the host like m. Uptime counts before the first Open, Paths, Bound and Takes from the next Open on,
// the rest at once. The host keeps the addresses that it has. Set panics if a field is out of its range.
func (h *Host) Set(m Machine) {
	refuse("Host.Set", func(bad faults) { m.validate(bad, "") })
	if m.Uptime > 0 && h.process == nil { // a monotonic clock never steps while a process runs
		h.sim.SetUptime(m.Uptime)
	}
	h.sim.SetDrift(m.Drift)
	h.sim.Latency, h.sim.NoStamps, h.takes = m.Latency, m.NoStamps, m.Takes
	h.sim.Room, h.sim.SendRoom = orRoom(m.Receive), orRoom(m.Send)
	h.sim.ReadTime, h.sim.Bound = m.ReadTime, m.Bound
	for len(h.paths) < m.paths() {
		h.addPath()
	}
}

// orRoom returns how many datagrams a buffer holds, by default if n is 0.
func orRoom(n int) int {
	if n == 0 {
		return 4096
	}
	return n
}
