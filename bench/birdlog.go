package main

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// bfdLog is what one daemon's log says about its BFD sessions.
type bfdLog struct {
	up      int         // sessions that are up at the end of the log
	downs   []time.Time // changes from Up to any other state, to the millisecond
	expired int         // sessions that the daemon took down itself, after silence
}

// The lines are those of BIRD's proto/bfd/bfd.c, after a time in the format that birdConfig sets.
var (
	bfdChange  = regexp.MustCompile(`(?m)^(\S+ \S+) .*Session to (\S+) changed state from (\w+) to (\w+)`)
	bfdExpired = regexp.MustCompile(`Session to \S+ expired`)
)

// logTime is BIRD's format "iso long ms".
const logTime = "2006-01-02 15:04:05.000"

// parseBFD parses a log, whose last line may be incomplete. It fails on a change to Down without
// a valid time.
func parseBFD(log string) (l bfdLog, err error) {
	up := make(map[string]bool)
	for _, m := range bfdChange.FindAllStringSubmatch(log, -1) {
		peer, from, to := m[2], m[3], m[4]
		if from == "Up" {
			at, err := time.ParseInLocation(logTime, m[1], time.Local)
			if err != nil {
				return l, fmt.Errorf("parse BIRD's log, a change of the session to %s: %w", peer, err)
			}
			l.downs = append(l.downs, at)
		}
		up[peer] = to == "Up"
	}
	for _, isUp := range up {
		if isUp {
			l.up++
		}
	}
	l.expired = len(bfdExpired.FindAllString(log, -1))
	return l, nil
}

// stallGap separates two stalls of a daemon. In one stall the other daemon's sessions go down
// after 30 ms, the stalled daemon's when it runs again. BFD then takes about a second until a
// session is up and can go down again.
const stallGap = 500 * time.Millisecond

// countStalls returns the number of stalls that explain all downs.
func countStalls(downs []time.Time) int {
	downs = slices.Clone(downs)
	slices.SortFunc(downs, time.Time.Compare)
	n := 0
	for i, at := range downs {
		if i == 0 || at.Sub(downs[i-1]) > stallGap {
			n++
		}
	}
	return n
}

// since returns the times from begin on. The log's times have whole milliseconds, so begin is
// rounded down to one.
func since(times []time.Time, begin time.Time) []time.Time {
	begin = begin.Truncate(time.Millisecond)
	return slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool { return at.Before(begin) })
}
