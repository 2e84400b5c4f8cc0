// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

// Learner is a detector that notes with each heartbeat and fits what it noted apart from
// them, off the hot path.
type Learner interface {
	Detector
	// Due reports whether enough was noted since the last Learn. It costs a load.
	Due(state []uint64) bool
	// Learn fits the margins anew. prior is what peers of the same class have shown so
	// far, for what state itself cannot vouch for; nil is none.
	Learn(state []uint64, prior *Pool)
}

// Take gives h to d and lets it learn at once where it is due: what the engine does in
// two steps, for replays, tests and programs that feed detectors themselves.
func Take(d Detector, state []uint64, h *Heartbeat) {
	d.Heartbeat(state, h)
	if l, ok := d.(Learner); ok && l.Due(state) {
		l.Learn(state, nil)
	}
}
