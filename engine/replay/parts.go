package replay

import "runtime"

// parts are heartbeats that are being read. A slice that grows would be copied each time, and
// a copy cannot be preempted: a collector that wanted to stop it took most of the time of
// reading a million heartbeats.
type parts struct {
	whole []Trace
	last  Trace
	n     int
}

// Parts have room for firstPart heartbeats, and each for twice as many as the one before, up
// to greatestPart.
const (
	firstPart    = 64
	greatestPart = 1 << 14
)

// add adds b.
func (p *parts) add(b Beat) {
	if len(p.last) == cap(p.last) {
		p.whole = append(p.whole, p.last)
		p.last = make(Trace, 0, min(max(2*cap(p.last), firstPart), greatestPart))
	}
	p.last = append(p.last, b)
	p.n++
}

// trace returns them all.
func (p *parts) trace() Trace {
	t := make(Trace, 0, p.n)
	for _, part := range p.whole {
		t = append(t, part...)
		runtime.Gosched() // a collector may stop it here
	}
	return append(t, p.last...)
}
