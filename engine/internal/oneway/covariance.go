// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package oneway

// covariance is that of a Line's level, in µs, and slope, in µs per s, in a Kalman filter whose slope
// walks at random. At one exchange per second it weighs them as a least-squares line through the last
// 30 or so does; after a gap, the newest exchange weighs more.
type covariance struct{ level, cross, slope float64 }

// covariance32 is a covariance in 12 bytes.
type covariance32 struct{ level, cross, slope float32 }

const (
	// noise is the variance of an exchange with the least round trip, µs².
	noise = 10
	// youngNoise is what the first exchange of a line has besides: the least round trip, and so the excess
	// of others, is known badly. It falls with the square of the line's age.
	youngNoise = 1600
	// walk is what the variance of the slope gains per second, (µs/s)²: temperature moves the frequency
	// of a crystal by 0.5 ppm in 5 minutes.
	walk = 1e-3
	// steepest is the steepest slope that is believed.
	steepest = 0.1
)

// unknown is the covariance of a line that knows nothing. Clocks drift by 100 ppm, and slew by 500.
var unknown = covariance{level: 1e30, slope: 9e4}

// after returns the covariance some seconds later.
func (c covariance32) after(s float64) covariance {
	level, cross, slope := float64(c.level), float64(c.cross), float64(c.slope)
	return covariance{
		level: level + s*(2*cross+s*(slope+walk*s/3)),
		cross: cross + s*(slope+walk*s/2),
		slope: slope + walk*s,
	}
}

// within reports whether an exchange off the line by so many ns is within three standard deviations.
func (c *covariance) within(off float64) bool { return off*off <= 9e6*(c.level+noise) }

// correct moves a line of an age by an exchange that is off it by so many ns, at an instant in ticks.
// excess is what its round trip has above the least one, in ns: either way may have it.
func (c *covariance) correct(l *Line, age uint8, off, excess float64, when uint32) covariance32 {
	l.moveTo(when)
	n := float64(age) + 1
	variance := noise + youngNoise/(n*n) + excess*excess/12e6 // a uniform error of ± excess/2
	sum := c.level + variance
	l.level += int64(off * c.level / sum)
	l.slope = float32(min(max(float64(l.slope)+off*1e-9*c.cross/sum, -steepest), steepest))
	return covariance32{
		level: float32(c.level * variance / sum),
		cross: float32(c.cross * variance / sum),
		slope: float32(max(c.slope-c.cross*c.cross/sum, 0)),
	}
}
