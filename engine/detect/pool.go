package detect

// Pool is what the peers of one class have shown together: the prior of those that are
// new. Only one goroutine at a time uses it.
type Pool struct {
	taken   float64
	buckets [marginBuckets]float64
}
