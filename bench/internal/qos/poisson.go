package qos

import "math"

// PoissonBounds returns the bounds of the mean of a Poisson distribution that has given count, with this
// confidence, such as 0.95. They are the exact bounds of Garwood (Biometrika 28, 1936): at the lower
// bound a count or more, and at the upper bound a count or less, has half of the remaining probability.
func PoissonBounds(count int64, confidence float64) (low, high float64) {
	side := (1 - confidence) / 2
	far := float64(count) + 20*math.Sqrt(float64(count)+1) + 20
	if count > 0 {
		low = solve(0, far, func(mean float64) bool { return 1-poissonBelow(count-1, mean) < side })
	}
	return low, solve(0, far, func(mean float64) bool { return poissonBelow(count, mean) > side })
}

// solve returns the point between low and high up to which below is true.
func solve(low, high float64, below func(float64) bool) float64 {
	for range 100 {
		middle := (low + high) / 2
		if middle <= low || middle >= high {
			break
		}
		if below(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// poissonBelow returns the probability that a Poisson distribution with this mean gives count or less.
func poissonBelow(count int64, mean float64) float64 {
	if mean == 0 {
		return 1
	}
	// Up to the mean, the terms fall from count down: the sum begins with its greatest term and can end
	// early. Above the mean, they fall from count up, so the sum is that of the complement.
	last, _ := math.Lgamma(float64(count) + 1)
	term := math.Exp(float64(count)*math.Log(mean) - mean - last)
	if float64(count) <= mean {
		sum := 0.0
		for i := float64(count); term > 0 && i >= 0; i-- {
			sum += term
			if term < sum*1e-17 {
				break
			}
			term *= i / mean
		}
		return min(sum, 1)
	}
	sum := 0.0
	for i := float64(count) + 1; term > 0; i++ {
		term *= mean / i
		sum += term
		if term < sum*1e-17 {
			break
		}
	}
	return max(1-sum, 0)
}
