package buckets

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// exceeds reports whether d is above 2^(index/4) s, exactly: d^4 is compared with 2^index * 1e36.
func exceeds(d time.Duration, index int) bool {
	fourth := new(big.Int).Exp(big.NewInt(int64(d)), big.NewInt(4), nil)
	bound := new(big.Int).Exp(big.NewInt(10), big.NewInt(36), nil)
	if index < 0 {
		fourth.Lsh(fourth, uint(-index))
	} else {
		bound.Lsh(bound, uint(index))
	}
	return fourth.Cmp(bound) > 0
}

// The bounds are those of schema 2, rounded down.
func TestBounds(t *testing.T) {
	for place := range Len - 1 {
		index := place - 1 + First
		if exceeds(Bound(place), index) || !exceeds(Bound(place)+1, index) {
			t.Errorf("the bound of bucket %d is not %d ns", index, Bound(place))
		}
	}
}

// check fails if d is not in the place that the definition gives it.
func check(t *testing.T, d time.Duration) {
	t.Helper()
	place := Of(d)
	if place < 0 || place >= Len || place > 0 && !exceeds(d, place-2+First) || place < Len-1 && d > 0 && exceeds(d, place-1+First) {
		t.Fatalf("%d ns is in place %d", d, place)
	}
}

// Each duration is in the bucket of the definition: near every bound, near every power of two, and anywhere.
func TestOf(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 16e9, 16e9 + 1, math.MaxInt64} {
		check(t, d)
	}
	for place := range Len - 1 {
		for d := Bound(place) - 3; d <= Bound(place)+3; d++ {
			check(t, d)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for bit := range 63 {
		for d := time.Duration(1)<<bit - 2; d <= time.Duration(1)<<bit+2; d++ {
			check(t, d)
		}
		for range 200 {
			check(t, time.Duration(r.Int64N(1<<bit)))
		}
	}
}

var sink int

func BenchmarkOf(b *testing.B) {
	d := time.Duration(1)
	for b.Loop() {
		d = d*6364136223846793005 + 1442695040888963407
		sink += Of(d >> 32 & (1<<31 - 1))
	}
}
