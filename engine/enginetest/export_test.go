package enginetest

import (
	"net/netip"
	"time"

	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// What tests do to hosts one by one, and programs through Set and Do.

// AddPath gives the host one more address and returns it.
func (h *Host) AddPath() netip.AddrPort {
	h.addPath()
	return h.paths[len(h.paths)-1]
}

// Bind has processes listen on each address with a socket of its own.
func (h *Host) Bind(on bool) { h.sim.Bound = on }

// TakeAddress gives the host an address that another one has.
func (h *Host) TakeAddress(addr netip.AddrPort) { h.takeAddress(addr) }

// Rebind has a NAT show others another address of the host.
func (h *Host) Rebind() { h.rebind() }

// RefuseSends makes every send fail.
func (h *Host) RefuseSends(why network.Refusal) { h.refuseSends(why) }

// RefuseSendsTo makes every send to a host fail.
func (h *Host) RefuseSendsTo(to *Host, why network.Refusal) { h.refuseSendsTo(to, allPaths, why) }

// HoldSends keeps what the host sends.
func (h *Host) HoldSends(d time.Duration) { h.holdSends(d) }

// Flood has datagrams of nobody's arrive.
func (h *Host) Flood(n int, d time.Duration) { h.flood(n, d) }

// Unplug takes the carrier, or gives it back.
func (h *Host) Unplug(on bool) { h.unplug(on) }

// StepWall steps the wall clock.
func (h *Host) StepWall(d time.Duration) { h.stepWall(d) }

// SetBuffers sets how many datagrams the buffers hold.
func (h *Host) SetBuffers(receive, send int) { h.sim.Room, h.sim.SendRoom = receive, send }

// SetDrift sets what the clocks gain.
func (h *Host) SetDrift(ppm float64) { h.sim.SetDrift(ppm) }

// SetUptime sets how long the machine has been up.
func (h *Host) SetUptime(d time.Duration) { h.sim.SetUptime(d) }

// SetStamps says whether the kernel stamps arrivals.
func (h *Host) SetStamps(on bool) { h.sim.NoStamps = !on }

// SetTakes sets what the device takes.
func (h *Host) SetTakes(n int) { h.takes = n }

// SetLatency sets how late the process runs.
func (h *Host) SetLatency(d netmodel.Distribution) { h.sim.Latency = d }

// SetReadTime sets how long the process takes for a datagram.
func (h *Host) SetReadTime(d time.Duration) { h.sim.ReadTime = d }

// SetName has a name point elsewhere.
func (w *World) SetName(name string, addrs ...netip.Addr) { w.setName(name, addrs...) }

// BreakName has look-ups of a name fail.
func (w *World) BreakName(name string, on bool) { w.breakName(name, on) }

// CutPath cuts one path.
func (w *World) CutPath(from, to *Host, path int, on bool) {
	w.sim.CutPlane(from.sim, to.sim, path, on)
}

// Reject has a middlebox refuse.
func (w *World) Reject(from, to *Host, on bool) { w.reject(from, to, allPaths, on) }

// PlaySlowly has a proxy play.
func (w *World) PlaySlowly(from, to *Host, on bool) { w.playSlowly(from, to, allPaths, on) }

// Forge has datagrams of a forger's come.
func (w *World) Forge(h *Host, n int, d time.Duration) { w.forge(h, kindForge, n, d) }

// Replay has recordings come.
func (w *World) Replay(h *Host, n int, d time.Duration) { w.forge(h, kindReplay, n, d) }

// Port is the port of every host's engine.
const Port = port

// Validate reports the faults of the scenario.
func (s *Scenario) Validate() error { return reported(s.validate) }
