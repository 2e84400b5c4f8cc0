package qos

import (
	"math"
	"math/rand/v2"
)

// SeedLoop is the heartbeat loop of the protocol's seed, between two peers that both live. Each sleeps
// for its delay, then polls. If no heartbeat arrived, it multiplies the delay by Increase and calls
// the other peer tempFail; otherwise it multiplies the delay by Decrease. In the seed it also sends one
// heartbeat per poll, so its delay is its period as well: the two peers are coupled, unlike a Source
// and a Judge. With Sender, heartbeats have a period that does not depend on the delay.
type SeedLoop struct {
	Increase, Decrease float64
	PerHeartbeat       bool    // Decrease counts once per heartbeat, not once per poll
	Sender             float64 // period of the heartbeats, seconds; 0: the peer's own delay
	First              float64 // both delays at the beginning, seconds
	Floor, Cap         float64 // bounds of the delays, seconds
	Path               float64 // mean of the exponential delay of a heartbeat, seconds
}

// Settled is what the first of the two peers did in the second half of a run.
type Settled struct {
	Empty  float64 // share of polls that found nothing: tempFails, all of them false
	Delay  float64 // geometric mean of the delay, seconds
	Sent   float64 // heartbeats per second
	Capped float64 // share of polls at Cap
	Floor  float64 // share of polls at Floor
}

// Share returns the share of empty polls in the steady state, if there is one. In it the logarithm of
// the delay does not change on average, so p·ln Increase = (1 - p)·ln(1/Decrease), whatever the
// network.
func (l *SeedLoop) Share() float64 {
	down := -math.Log(l.Decrease)
	return down / (math.Log(l.Increase) + down)
}

// loopPeer is one of the two peers.
type loopPeer struct {
	delay float64
	poll  float64   // instant of the next poll
	in    []float64 // arrivals after the last poll
	next  float64   // instant of the next heartbeat to this peer, with Sender
	out   Settled   // sums over the counted polls
	polls float64   // counted
}

// Run runs the two peers for so many seconds.
func (l *SeedLoop) Run(seed uint64, seconds float64) Settled {
	r := rand.New(rand.NewPCG(seed, 2))
	var peers [2]loopPeer
	for i := range peers {
		peers[i] = loopPeer{delay: l.First, poll: l.First * r.Float64(), next: l.Sender * r.Float64()}
	}
	for {
		i := 0
		if peers[1].poll < peers[0].poll {
			i = 1
		}
		p, other := &peers[i], &peers[1-i]
		now := p.poll
		if now > seconds {
			break
		}
		if l.Sender > 0 {
			for ; p.next <= now; p.next += l.Sender {
				p.in = append(p.in, p.next+l.Path*r.ExpFloat64())
			}
		} else {
			other.in = append(other.in, now+l.Path*r.ExpFloat64())
		}
		l.turn(p, now, now > seconds/2)
	}
	p := &peers[0]
	p.out.Empty /= p.polls
	p.out.Delay = math.Exp(p.out.Delay / p.polls)
	p.out.Capped /= p.polls
	p.out.Floor /= p.polls
	p.out.Sent = p.polls / (seconds / 2)
	if l.Sender > 0 {
		p.out.Sent = 1 / l.Sender
	}
	return p.out
}

// turn polls at the instant now and adapts the delay.
func (l *SeedLoop) turn(p *loopPeer, now float64, counted bool) {
	heard := 0
	rest := p.in[:0]
	for _, at := range p.in {
		if at <= now {
			heard++
		} else {
			rest = append(rest, at)
		}
	}
	p.in = rest
	switch {
	case heard == 0:
		p.delay *= l.Increase
	case l.PerHeartbeat:
		p.delay *= math.Pow(l.Decrease, float64(heard))
	default:
		p.delay *= l.Decrease
	}
	p.delay = min(max(p.delay, l.Floor), l.Cap)
	p.poll = now + p.delay
	if !counted {
		return
	}
	p.polls++
	p.out.Delay += math.Log(p.delay)
	if heard == 0 {
		p.out.Empty++
	}
	if p.delay == l.Cap {
		p.out.Capped++
	}
	if p.delay == l.Floor {
		p.out.Floor++
	}
}
