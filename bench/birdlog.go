package main

import (
	"regexp"
	"slices"
	"time"
)

// bfdLog is what a log of BIRD tells of its BFD sessions.
type bfdLog struct {
	up      int         // sessions that are up at its end
	fell    []time.Time // changes from Up to anything else, to the millisecond
	expired int         // times that silence was judged
}

// BIRD's words, of proto/bfd/bfd.c, after the time that birdConfig asks for.
var (
	bfdChange  = regexp.MustCompile(`(?m)^(\S+ \S+) .*Session to (\S+) changed state from (\w+) to (\w+)`)
	bfdExpired = regexp.MustCompile(`Session to \S+ expired`)
)

// logTime is how BIRD writes "iso long ms".
const logTime = "2006-01-02 15:04:05.000"

// parseBFD reads a log. It fails on a change whose time it cannot read.
func parseBFD(log string) (l bfdLog, err error) {
	up := make(map[string]bool)
	for _, m := range bfdChange.FindAllStringSubmatch(log, -1) {
		peer, from, to := m[2], m[3], m[4]
		if from == "Up" {
			at, err := time.ParseInLocation(logTime, m[1], time.Local)
			if err != nil {
				return l, err
			}
			l.fell = append(l.fell, at)
		}
		up[peer] = to == "Up"
	}
	for _, is := range up {
		if is {
			l.up++
		}
	}
	l.expired = len(bfdExpired.FindAllString(log, -1))
	return l, nil
}

// stallGap parts two stalls. The other end falls 30 ms into a stall, the stalled one when
// it goes on; and BFD takes about a second to bring a session up to fall again.
const stallGap = 500 * time.Millisecond

// stalls returns how many separate moments the sessions fell in.
func stalls(fell []time.Time) int {
	fell = slices.Clone(fell)
	slices.SortFunc(fell, time.Time.Compare)
	n := 0
	for i, at := range fell {
		if i == 0 || at.Sub(fell[i-1]) > stallGap {
			n++
		}
	}
	return n
}

// since returns the times from begin on, which is cut to the log's millisecond.
func since(times []time.Time, begin time.Time) []time.Time {
	begin = begin.Truncate(time.Millisecond)
	return slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool { return at.Before(begin) })
}
