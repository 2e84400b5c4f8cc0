package enginetest

import (
	"net/netip"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

// Host is a machine of a World, with one process at most: an engine, and what the user's
// code does beside it. Its methods act at the present instant of the world.
type Host struct {
	world   *World
	sim     *sim.Host
	home    []netip.AddrPort // its addresses at first
	paths   []netip.AddrPort // and as others see them now
	process *process         // the last one if none runs now
	takes   int              // heartbeats of a session that its device holds for the engine; 0: it takes none
}

// openEngine opens an engine on a simulated host.
var openEngine = network.OpenEngine.(func(engine.Config, network.World) (*engine.Engine, error))

// process is one process of a host: it runs one engine.
type process struct {
	host    *Host
	engine  *engine.Engine
	cfg     engine.Config
	socket  *sim.Socket
	device  *device // nil: none takes heartbeats
	events  *engine.Subscription
	onEvent []func(engine.Event)
	onNode  []func(engine.NodeEvent)
	ended   clock.Instant // of the world; 0: it runs
	checks
	carried
}

// Name returns the host's name.
func (h *Host) Name() string { return h.sim.Name }

// Addr returns the address of the host's engine, whether or not it runs.
func (h *Host) Addr() netip.AddrPort { return h.paths[0] }

// Engine returns the host's engine, nil if none runs.
func (h *Host) Engine() *engine.Engine {
	if !h.sim.Running() {
		return nil
	}
	return h.process.engine
}

// Open starts a process with an engine, in place of one that runs: that is a restart. A
// machine that is off is switched on. The configuration is the program's own: what the
// world decides, Open sets, which is Listen, Shards, Sched and Manual. Without an Incarnation,
// the host's wall clock gives it.
func (h *Host) Open(cfg engine.Config) (*engine.Engine, error) {
	h.end()
	cfg.Listen, cfg.Shards, cfg.Sched, cfg.Manual = nil, 0, engine.Sched{}, true
	l := &process{host: h}
	l.device = h.attach(&cfg)
	l.cfg = cfg
	err := h.sim.Start(func(n network.World) (sim.Turner, error) {
		e, err := openEngine(cfg, n)
		if err != nil {
			return nil, err
		}
		l.engine = e
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	l.socket = h.sim.Socket()
	l.events = l.engine.Subscribe()
	l.events.OnNode = func(ev engine.NodeEvent) { h.world.nodeEvent(l, ev) }
	l.begin()
	h.process = l
	h.world.processes[l.engine.ID()] = l
	return l.engine, nil
}

// attach makes a new device the engine's Config.Arrivals: what the one before held ended with its process.
func (h *Host) attach(cfg *engine.Config) *device {
	if h.takes == 0 {
		h.sim.Divert, h.sim.Leaving = nil, nil
		return nil
	}
	d := &device{host: h, room: h.takes, sessions: make(map[uint64]*deviceSession)}
	cfg.Arrivals, h.sim.Divert, h.sim.Leaving = d, d.take, d.leaves
	return d
}

// OnEvent has do called with each event of a peer of the process's engine, as soon as it is
// published, until the process ends.
func (h *Host) OnEvent(do func(engine.Event)) {
	if h.process != nil {
		h.process.onEvent = append(h.process.onEvent, do)
	}
}

// OnNode has do called with each event about the process's own node, as OnEvent does with those of
// peers.
func (h *Host) OnNode(do func(engine.NodeEvent)) {
	if h.process != nil {
		h.process.onNode = append(h.process.onNode, do)
	}
}

// Every has do called each d on the host's own clock, for as long as the process lives:
// what a ticker of the program would do. While the process stands still it is not called. It
// panics unless d is above 0, as time.NewTicker does.
func (h *Host) Every(d time.Duration, do func()) {
	refuse("Host.Every", func(bad faults) {
		if d <= 0 {
			bad("d", "%s is not above 0", plain(d))
		}
	})
	h.After(d, func() {
		do()
		h.Every(d, do)
	})
}

// After has do called once, when d has passed on the host's own clock, if the process lives
// until then; at once if d is not above 0.
func (h *Host) After(d time.Duration, do func()) { h.sim.After(min(d, never), do) }

// Clock returns what the host's clocks show.
func (h *Host) Clock() clock.Reading { return h.sim.Now() }

// Kill ends the process, as SIGKILL does: its port refuses what comes from then on.
func (h *Host) Kill() {
	h.end()
	h.world.did(h, "process killed")
	h.sim.Kill()
}

// Crash switches the machine off. Nothing comes back from it until Open.
func (h *Host) Crash() {
	h.end()
	h.world.did(h, "machine off")
	h.sim.Crash()
}

// Stop stops the process, as SIGSTOP does: its kernel goes on receiving, until its buffer is
// full.
func (h *Host) Stop() {
	h.world.did(h, "process stopped")
	h.sim.Stop()
}

// Continue lets a stopped process go on.
func (h *Host) Continue() {
	h.world.did(h, "process continued")
	h.sim.Continue()
}

// Pause makes the whole machine stand still, as a virtual one does. What arrives meanwhile is
// lost or, with keep, arrives when the machine goes on, stamped with that instant. Its
// clocks show the time that passed.
func (h *Host) Pause(keep bool) {
	h.world.did(h, "machine paused, keeps datagrams: %v", keep)
	h.sim.Pause(keep)
}

// Resume lets a paused machine go on.
func (h *Host) Resume() {
	h.world.did(h, "machine resumed")
	h.sim.Resume()
}

// holdSends keeps what the host sends from leaving it for d.
func (h *Host) holdSends(d time.Duration) {
	h.world.did(h, "sends held for %v", d)
	h.sim.HoldSends(d)
}

// unplug takes the carrier from the host's link, or gives it back. What is sent without it is
// taken and lost, and the host knows.
func (h *Host) unplug(on bool) {
	h.world.did(h, "unplugged: %v", on)
	h.sim.Unplugged = on
}

// refuseSends makes this host refuse every send, until why is network.Sent.
func (h *Host) refuseSends(why network.Refusal) {
	h.world.did(h, "sends refused: %v", why != network.Sent)
	h.sim.Refuse = why
}

// stepWall steps the host's wall clock, CLOCK_REALTIME; the monotonic one never steps.
func (h *Host) stepWall(d time.Duration) {
	h.world.did(h, "wall clock stepped by %v", d)
	h.sim.StepWall(d)
}

// flood has n datagrams of nobody's, which are no heartbeats, arrive at the host within d, evenly: what
// a crowd of peers does to it, or somebody who means it harm.
func (h *Host) flood(n int, d time.Duration) {
	h.world.did(h, "%d datagrams of nobody's within %v", n, d)
	h.sim.Flood(n, d)
}

// end notes that the process ends now.
func (h *Host) end() {
	l := h.process
	if l == nil || l.ended != 0 {
		return
	}
	l.ended = h.world.sim.Now()
	h.world.crashed(l)
}
