package main

import (
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine/level"
)

func TestParseLevels(t *testing.T) {
	got, err := parseLevels([]string{"late=1:0.5", "doubtful=3", "dead=8:7.5:1500ms"})
	if err != nil {
		t.Fatal(err)
	}
	want := level.List{
		{Name: "late", Raise: 1, Clear: 0.5}, {Name: "doubtful", Raise: 3},
		{Name: "dead", Raise: 8, Clear: 7.5, Stay: 1500 * time.Millisecond},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if none, err := parseLevels(nil); err != nil || none != nil {
		t.Errorf("no flag: %+v, %v", none, err)
	}
}

// Each level is raised when a peer stops, and cleared when it continues.
func TestLevels(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr, "--detector", "fixed", "--level", "late=0.8:0.6", "--level", "gone=1:0.7:1s", "--level", "long=3")
	p.await("alive", "first-contact")
	time.Sleep(500 * time.Millisecond)
	s.signal(syscall.SIGSTOP)
	p.awaitLevel("long")
	s.signal(syscall.SIGCONT)
	p.awaitLevel("")
	p.end()
	at := ""
	for _, l := range p.all {
		if l.Type != "level" {
			continue
		}
		if l.From != at || l.Peer != s.addr {
			t.Errorf("from %q, but the level before is %q: %+v", l.From, at, l)
		}
		if at = l.To; at == "long" && (l.Suspicion < 3 || l.SilenceNS < int64(900*time.Millisecond)) {
			t.Errorf("level long without its suspicion or silence: %+v", l)
		}
	}
}

// awaitLevel waits for a change to a level; "" is none.
func (p *probe) awaitLevel(name string) {
	p.t.Helper()
	var seen strings.Builder
	for end := time.Now().Add(awaitTime); ; {
		l, ok := p.next()
		if !ok || l.seen.After(end) {
			p.t.Fatalf("no change to level %q, only %s", name, seen.String())
		}
		if l.Type == "level" {
			fmt.Fprintf(&seen, "%q ", l.To)
			if l.To == name {
				return
			}
		}
	}
}
