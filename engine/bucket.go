package engine

import (
	"time"

	"systole/engine/clock"
)

// bucket is a token bucket: rate tokens a second, as many saved up.
type bucket struct {
	rate   int
	tokens int64 // nanoseconds' worth
	at     clock.Instant
}

// take takes a token if there is one.
func (b *bucket) take(now clock.Instant) bool {
	if b.rate <= 0 {
		return false
	}
	price := int64(time.Second) / int64(b.rate)
	b.tokens = min(b.tokens+int64(now.Sub(b.at)), int64(time.Second))
	b.at = now
	if b.tokens < price {
		return false
	}
	b.tokens -= price
	return true
}
