// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package oneway

// bucket is the best heartbeat of a second: that with the least round trip or, if none has one, that with
// the least way.
type bucket struct {
	off   float32 // its way less the line, ns
	trip  uint32  // its round trip, ns; 0: none
	when  uint32  // when its way was that, in ticks
	start uint32  // when the bucket began, in ticks
	count uint8   // heartbeats
}

// A bucket lasts at least bucketTicks and has bucketCount heartbeats, or fewer while the line is young.
const (
	bucketTicks = 60 // 1 s
	bucketCount = 4
)

// addWay adds a heartbeat without a round trip.
func (b *bucket) addWay(off float64, when uint32) {
	if b.count == 0 || b.trip == 0 && float32(off) < b.off {
		b.off, b.when = float32(off), when
	}
	b.count = min(b.count+1, bucketCount)
}

// addTrip adds a heartbeat with a round trip.
func (b *bucket) addTrip(off float64, trip, when uint32) {
	if b.trip == 0 || trip < b.trip {
		b.off, b.trip, b.when = float32(off), trip, when
	}
	b.count = min(b.count+1, bucketCount)
}

// isFull reports whether the bucket of a line of an age ends at an instant, in ticks. An instant before the
// start of the bucket ends it, too.
func (b *bucket) isFull(now uint32, age uint8) bool {
	return b.count >= min(max(age, 1), bucketCount) && now-b.start >= bucketTicks
}
