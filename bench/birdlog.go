package main

import "regexp"

// bfdLog is what a log of BIRD tells of its BFD sessions.
type bfdLog struct {
	up      int // sessions that are up at its end
	downs   int // changes from Up to anything else
	expired int // times that silence was judged
}

// BIRD's words, of proto/bfd/bfd.c.
var (
	bfdChange  = regexp.MustCompile(`Session to (\S+) changed state from (\w+) to (\w+)`)
	bfdExpired = regexp.MustCompile(`Session to \S+ expired`)
)

// parseBFD reads a log. A line cut short counts when it is whole.
func parseBFD(log string) (l bfdLog) {
	up := make(map[string]bool)
	for _, m := range bfdChange.FindAllStringSubmatch(log, -1) {
		peer, from, to := m[1], m[2], m[3]
		if from == "Up" {
			l.downs++
		}
		up[peer] = to == "Up"
	}
	for _, is := range up {
		if is {
			l.up++
		}
	}
	l.expired = len(bfdExpired.FindAllString(log, -1))
	return l
}
