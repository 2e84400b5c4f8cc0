// Package replay runs failure detectors over recorded heartbeats, and measures how soon each would
// have suspected a crash and how often it was wrong. All detectors get the same heartbeats, so
// whole curves can be compared; the method and the measures are those of Chen, Toueg and Aguilera.
//
//	rec, err := recording.Read(file)
//	for _, stream := range rec.Streams {
//		result, err := replay.Run(stream.Beats, detect.Margin(detect.MarginOptions{}), replay.Options{})
//	}
//
// A detect.Judge does the same with heartbeats that arrive one by one.
package replay

import (
	"cmp"
	"slices"

	"systole/engine/recording"
)

// arrival returns the arrival of b in ns: its stamp, or when the program read it.
func arrival(b *recording.Beat, read bool) int64 {
	if read {
		return b.App
	}
	return b.NIC
}

// sorted returns the heartbeats in the order of arrival.
func sorted(t []recording.Beat, read bool) []recording.Beat {
	byArrival := func(a, b recording.Beat) int { return cmp.Compare(arrival(&a, read), arrival(&b, read)) }
	if slices.IsSortedFunc(t, byArrival) {
		return t
	}
	t = slices.Clone(t)
	slices.SortStableFunc(t, byArrival)
	return t
}
