package split

import (
	"time"

	"systole/engine"
)

// least is the average delay of a heartbeat below which there is no cause.
const least = 100 * time.Microsecond

// Sum adds up the delays of heartbeats. The zero Sum is empty.
type Sum struct {
	// Step is how long a heartbeat may wait at the socket by design, engine.Engine.Grid.
	Step time.Duration

	heartbeats uint64
	measured   [numParts]uint64        // heartbeats of which a part was measured
	total      [numParts]time.Duration // of Network, what is certain
	untold     time.Duration           // Network of heartbeats whose SendWait was not measured
	unstamped  time.Duration           // Network of heartbeats whose arrival has no stamp
}

// Add adds the delay of a heartbeat.
func (s *Sum) Add(d engine.Delays) {
	s.heartbeats++
	for p := late; p < numParts; p++ {
		if p.measured(&d) {
			s.measured[p]++
			s.total[p] += p.of(&d)
		}
	}
	if d.SendWait == 0 {
		s.untold += d.Network
	}
	if unstamped(&d) {
		s.unstamped += d.Network
	}
	s.total[read] -= min(d.Read, s.Step)
}

// excess returns the delay of one heartbeat, without what is by design.
func (s *Sum) excess(d *engine.Delays) time.Duration {
	return d.Late + d.SendWait + d.Network + d.Host + max(d.Read-s.Step, 0)
}

// Heartbeats returns the number of heartbeats that were added.
func (s *Sum) Heartbeats() uint64 { return s.heartbeats }

// sampled returns the part of s.untold that was a wait in the sender's host, if the heartbeats without a
// known wait waited as long as the others.
func (s *Sum) sampled() time.Duration {
	if s.measured[sendWait] == 0 {
		return 0
	}
	others := float64(s.heartbeats - s.measured[sendWait])
	return min(time.Duration(others/float64(s.measured[sendWait])*float64(s.total[sendWait])), s.untold)
}

// parts returns the sum of each part, and of all.
func (s *Sum) parts() (parts [numParts]time.Duration, all time.Duration) {
	parts = s.total
	sampled := s.sampled()
	parts[sendWait] += sampled
	parts[network] -= sampled
	for _, d := range parts {
		all += d
	}
	return parts, all
}

// share returns the share of a part in the delay, and false if the part was not measured or there is no
// delay.
func (s *Sum) share(p part) (float64, bool) {
	parts, all := s.parts()
	if p <= none || p >= numParts || s.measured[p] == 0 || all == 0 {
		return 0, false
	}
	return float64(parts[p]) / float64(all), true
}

// Delay returns the average delay of a heartbeat.
func (s *Sum) Delay() time.Duration {
	if s.heartbeats == 0 {
		return 0
	}
	_, all := s.parts()
	return all / time.Duration(s.heartbeats)
}

// Cause returns the part in which most of the delay arose.
func (s *Sum) Cause() Cause {
	parts, all := s.parts()
	if s.Delay() < least {
		return Cause{}
	}
	most := late
	for p := late; p < numParts; p++ {
		if parts[p] > parts[most] {
			most = p
		}
	}
	c := Cause{Part: words[most], Share: float64(parts[most]) / float64(all)}
	if most == network {
		c.OrSender = s.untold-s.sampled() > parts[network]/2
		c.OrReceiver = s.unstamped > parts[network]/2
	}
	return c
}

// Outward returns the delay, above the least one, of the heartbeat of ours that s echoes: what the round
// trip has above the least round trip and s itself did not take. It begins when we wrote that heartbeat,
// so our own stack and queue are in it. It ends at the stamp of the peer's host: how late the peer read is
// not told. least is engine.PeerStats.LeastRoundTrip. Outward returns false if a round trip is not known.
func Outward(s *engine.Sample, least time.Duration) (time.Duration, bool) {
	if s.RoundTrip == 0 || least == 0 {
		return 0, false
	}
	return max(s.RoundTrip-least-s.SendWait-s.Network, 0), true
}
