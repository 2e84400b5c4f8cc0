// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package margins

import (
	"math/bits"
	"time"
)

// The histogram of a peer has to fit into a few cache lines. So margins are packed into 16 bits and
// counts into 8, as a mantissa and a shift. Small values are exact.

// Unit is log2 of the unit of packed margins, in ns.
const Unit = 10

const (
	mantissa      = 11 // bits: a packed margin exceeds the margin by at most 0.1 % and a unit
	countMantissa = 5  // bits: counts below 32 are exact, greater ones within about 10 %
)

// Pack packs a margin, rounded up. Margins below 0 become 0. Codes are in the order of
// margins.
func Pack(m time.Duration) uint64 {
	units := (uint64(max(m, 0)) + 1<<Unit - 1) >> Unit
	shift := max(bits.Len64(units)-mantissa, 0)
	return uint64(shift)<<(mantissa-1) + (units+1<<shift-1)>>shift
}

// Unpack is the inverse of Pack.
func Unpack(code uint64) time.Duration {
	if code < 1<<mantissa {
		return time.Duration(code << Unit)
	}
	shift := code>>(mantissa-1) - 1
	return time.Duration((code - shift<<(mantissa-1)) << (shift + Unit))
}

// AddCount adds 1 to packed count i (Morris, "Counting Large Numbers of Events in Small Registers",
// CACM 21(10), 1978). If the mantissa is too short, the count increases with the probability that
// makes its expectation right. random is 64 random bits.
func AddCount(counts []uint64, i int, random uint64) {
	word, place := &counts[i/8], uint(i%8)*8
	code := *word >> place & 0xff
	if code == 0xff {
		return // half a million, the greatest count
	}
	if code >= 1<<countMantissa {
		shift := code>>(countMantissa-1) - 1
		if random&(1<<shift-1) != 0 {
			return
		}
	}
	*word += 1 << place
}

// CountAt returns packed count i.
func CountAt(counts []uint64, i int) float64 {
	code := counts[i/8] >> (uint(i%8) * 8) & 0xff
	if code < 1<<countMantissa {
		return float64(code)
	}
	shift := code>>(countMantissa-1) - 1
	return float64((code - shift<<(countMantissa-1)) << shift)
}

// Scramble returns 64 pseudo-random bits for x (the finaliser of SplitMix64: Steele, Lea, Flood,
// OOPSLA 2014). So a replay has the same counts as the loop.
func Scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Buckets is the number of buckets of a histogram of margins: bucket 0 ends at 2^least ns, the others
// are thirds of octaves, up to 17 s.
const Buckets = 56

const (
	least     = 16
	perOctave = 3
)

// Bucket returns the bucket of m.
func Bucket(m time.Duration) int {
	if m < 1<<least {
		return 0
	}
	octave := bits.Len64(uint64(m)) - 1
	// The fraction of the octave in 1024ths. The thirds end at 2^(1/3) and 2^(2/3).
	part, fraction := 0, uint64(m)>>(octave-10)&1023
	if fraction >= 266 {
		part++
	}
	if fraction >= 602 {
		part++
	}
	return min(1+(octave-least)*perOctave+part, Buckets-1)
}
