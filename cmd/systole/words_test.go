package main

import (
	"math"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

func TestWords(t *testing.T) {
	for n, want := range map[uint64]string{0: "never", 1: "once", 2: "twice", 3: "3 times"} {
		if got := times(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for id, want := range map[uint64]string{7: "7", 0xffffffff: "ffffffff", 1 << 32: "00000001", 0x0123456789abcdef: "01234567"} {
		if got := shortID(id); got != want {
			t.Errorf("%x: %s, want %s", id, got, want)
		}
	}
	if measured(0) != notMeasured || measured(time.Second) != "1s" {
		t.Errorf("%s, %s", measured(0), measured(time.Second))
	}
}

// A peer that does not answer never looks as if nothing were lost.
func TestLossText(t *testing.T) {
	for want, test := range map[string]struct {
		stats engine.PeerStats
		sent  sendings
	}{
		"nothing was sent":                                                          {engine.PeerStats{State: engine.Connecting}, sendings{}},
		"100 % unanswered (8 of 8), never heard":                                    {engine.PeerStats{State: engine.Connecting, Sent: 8}, sendings{}},
		"lost out 0 % (0 of 79), lost in 0 % (0 of 70)":                             {engine.PeerStats{State: engine.Alive, Sent: 80, Received: 70}, sendings{answered: 79}},
		"lost out 2.5 % (2 of 80), lost in 30 % (3 of 10)":                          {engine.PeerStats{State: engine.OneWay, Sent: 81, Received: 7, LostOut: 2, LostIn: 3}, sendings{answered: 80}},
		"lost out 0 % (0 of 40), 40 unanswered; lost in 0 % (0 of 41)":              {engine.PeerStats{State: engine.Failed, Sent: 80, Received: 41}, sendings{answered: 40}},
		"lost out not measured, 5 unanswered; lost in 0 % (0 of 1)":                 {engine.PeerStats{State: engine.Suspect, Sent: 5, Received: 1}, sendings{}},
		"lost out 0.0123 % (1 of 8130), 1 unanswered; lost in 0.0999 % (1 of 1001)": {engine.PeerStats{State: engine.Left, Sent: 8131, Received: 1000, LostOut: 1, LostIn: 1}, sendings{answered: 8130}},
	} {
		if got := lostText(&test.stats, &test.sent); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s := engine.PeerStats{Sent: 8, Received: 16, Period: 100 * time.Millisecond, PeerPeriod: 50 * time.Millisecond}
	if got := exchanged(&s); got != "sent 8, one per 100ms; received 16, one per 50ms" {
		t.Error(got)
	}
	if got := exchanged(&engine.PeerStats{Sent: 8}); got != "sent 8; received none" {
		t.Error(got)
	}
}

// What was sent while no process was there counts as unanswered, also after another one has come.
func TestSendings(t *testing.T) {
	var q sendings
	s := engine.PeerStats{State: engine.Connecting, Sent: 50}
	q.take(&s)
	s = engine.PeerStats{State: engine.Alive, Sent: 52, Received: 1, Incarnation: 1, Period: 100 * time.Millisecond, RoundTrip: 200 * time.Millisecond}
	q.take(&s)
	if got := lostText(&s, &q); got != "lost out 0 % (0 of 7), 45 unanswered; lost in 0 % (0 of 1)" {
		t.Error(got)
	}
	s.Sent, s.Received = 60, 10
	q.take(&s)
	s.Sent, s.State = 80, engine.Failed
	q.take(&s)
	if got := lostText(&s, &q); got != "lost out 0 % (0 of 15), 65 unanswered; lost in 0 % (0 of 10)" {
		t.Error(got)
	}
	s.Sent, s.State, s.Incarnation = 81, engine.Alive, 2 // its first heartbeat is not counted yet
	q.take(&s)
	s.Sent, s.Received = 82, 11
	q.take(&s)
	if got := lostText(&s, &q); got != "lost out 0 % (0 of 16), 66 unanswered; lost in 0 % (0 of 11)" {
		t.Error(got)
	}
	var prompt sendings
	s = engine.PeerStats{State: engine.Alive, Sent: 3, Received: 1, Incarnation: 1}
	prompt.take(&s)
	if got := lostText(&s, &prompt); got != "lost out 0 % (0 of 3), lost in 0 % (0 of 1)" {
		t.Error(got)
	}
}

// A downtime is from the last heartbeat to the next one. A suspicion that was wrong is none.
func TestHistory(t *testing.T) {
	const second = clock.Instant(time.Second)
	event := func(at clock.Instant, to engine.State, cause engine.Cause, silence time.Duration) *engine.Event {
		return &engine.Event{At: at, To: to, Cause: cause, Silence: silence}
	}
	var h history
	stats := engine.PeerStats{}
	check := func(at clock.Instant, want string) {
		t.Helper()
		if got := troubles(&stats, &h, h.downtime(at)); got != want {
			t.Errorf("at %v: %q, want %q", at, got, want)
		}
	}
	h.take(event(second, engine.Failed, engine.NeverHeard, 0))
	check(2*second, "") // was never up
	h.take(event(2*second, engine.Alive, engine.FirstContact, 0))
	h.take(event(5*second, engine.Suspect, engine.Silence, time.Second))
	again := event(6*second, engine.Alive, engine.ReachableAgain, 0)
	if d := h.trouble(again); d != 2*time.Second {
		t.Errorf("silent for %v", d)
	}
	h.take(again)
	stats.Mistakes = 1
	check(7*second, "suspected wrongly once")
	h.take(event(10*second, engine.Suspect, engine.PortUnreachable, time.Second))
	h.take(event(11*second, engine.Failed, engine.PortUnreachable, 2*time.Second))
	stats.Failures = 1
	check(12*second, "down once, for 3s so far, because of port-unreachable; suspected wrongly once; failed once")
	h.take(event(13*second, engine.Alive, engine.Restarted, 0))
	check(20*second, "down once, for 4s, because of port-unreachable; restarted once; suspected wrongly once; failed once")
	h.take(event(20*second, engine.Suspect, engine.Silence, time.Second))
	h.take(event(21*second, engine.Alive, engine.Restarted, 0)) // so the suspicion was right
	check(30*second, "down twice, for 6s in all, because of restarted; restarted twice; suspected wrongly once; failed once")
	h.take(event(30*second, engine.OneWay, engine.Deaf, 0))
	h.take(event(31*second, engine.Alive, engine.ReachableAgain, 0))
	h.take(event(32*second, engine.Suspect, engine.LocalNoRoute, 0))
	check(33*second, "down 4 times, for 8s in all so far, because of local-no-route; restarted twice; suspected wrongly once; failed once")

	var p pauses
	p.take(&engine.NodeEvent{Cause: engine.LocalPause, Pause: time.Second})
	p.take(&engine.NodeEvent{Cause: engine.LocalSuspect})
	p.take(&engine.NodeEvent{Cause: engine.LocalPause, Pause: time.Second, Merged: 2})
	if p.count != 4 || p.sum != 2*time.Second {
		t.Errorf("%+v", p)
	}
}

// -c sends so many heartbeats to each peer, whatever the others do.
func TestCount(t *testing.T) {
	a, b := serve(t, anyPort), serve(t, anyPort)
	p := ping(t, a.addr, b.addr, "-c", "4", "-i", "1s")
	summary, code := p.finish()
	for _, peer := range summary.Peers {
		if peer.Sent != 4 || peer.State != "alive" || code != exitAlive {
			t.Errorf("exit status %d, %+v", code, peer)
		}
	}
	a.awaitLog("cause=goodbye")
	b.awaitLog("cause=goodbye")
}

// No target keeps -c or -w from ending, and none of these looks as if nothing were lost.
func TestBrokenTargets(t *testing.T) {
	mute, err := net.ListenPacket("udp4", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	closed, err := net.ListenPacket("udp4", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // its port refuses
	s := serve(t, anyPort)
	targets := []string{"no-such-host.invalid:7853", closed.LocalAddr().String(), "240.0.0.1:7853", mute.LocalAddr().String(), s.addr}
	for _, end := range [][]string{{"-c", "10"}, {"-w", "1s"}} {
		started := time.Now()
		out, complaint, code := run1(append(append([]string{"ping", "--report", "0"}, end...), targets...)...)
		if !strings.Contains(out, "no-such-host.invalid:7853: stays connecting, unresolved\n") {
			t.Errorf("%v: no word of the name that does not resolve:\n%s", end, out)
		}
		if took := time.Since(started); code != exitPeer || took > 10*time.Second {
			t.Errorf("%v: exit status %d after %v, %s%s", end, code, took, out, complaint)
		}
		if n := strings.Count(out, "lost out 0 % "); n != 1 {
			t.Errorf("%v: %d targets of which nothing is lost:\n%s", end, n, out)
		}
		if strings.Count(out, "never heard") < 2 || !strings.Contains(out, "nothing was sent") || strings.Contains(out, " 0s") && !strings.Contains(out, "p50 0s") {
			t.Errorf("%v:\n%s", end, out)
		}
	}
}

// Lines of ping say what happened in words.
func TestTextOfPing(t *testing.T) {
	s := serve(t, anyPort, "--id", "42")
	p := &shared{}
	cmd := textPing(t, p, s.addr, "--report", "100ms")
	until := func(text string) {
		t.Helper()
		for end := time.Now().Add(awaitTime); !strings.Contains(p.String(), text); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no %q: %s", text, p.String())
			}
		}
	}
	until("lost in 0 % (0 of ")
	s.kill()
	until("→ failed, port-unreachable; silent for ")
	until(" unanswered; lost in ")
	serve(t, s.addr, "--id", "42")
	until("failed → alive, restarted; down for ")
	cmd.Process.Signal(syscall.SIGINT)
	if code := wait(t, cmd, awaitTime); code != exitAlive {
		t.Errorf("exit status %d", code)
	}
	text := p.String()
	for _, want := range []string{"down once, for ", "because of port-unreachable; restarted once; failed once", "one per 100ms; received "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q: %s", want, text)
		}
	}
	if strings.Contains(text, "alive, restarted; silent") || strings.Contains(text, "alive, restarted; judged") {
		t.Errorf("evidence of a recovery: %s", text)
	}
}

// The JSON of the summary has what the text says, and lacks what is not known.
func TestSummaryWords(t *testing.T) {
	s := engine.PeerStats{Received: 10, LostIn: 10, Sent: 40, LostOut: 5, State: engine.Failed, Cause: engine.Silence}
	w := &watched{sendings: sendings{answered: 20}, history: history{known: true, certain: true, from: 5, downs: 1, cause: engine.Silence}}
	got := newWords(w, &s, 8)
	if math.Abs(*got.LossOut-0.25) > 1e-9 || math.Abs(*got.LossIn-0.5) > 1e-9 || got.Unanswered != 20 || got.Downs != 1 || got.DownNS != 3 || got.DownCause != "silence" {
		t.Errorf("%+v", got)
	}
	if got := newWords(&watched{}, &engine.PeerStats{Sent: 3}, 8); got.LossOut != nil || got.LossIn != nil || got.Unanswered != 3 || got.DownCause != "" {
		t.Errorf("%+v", got)
	}
}

// textPing starts systole ping with its text in out.
func textPing(t *testing.T, out *shared, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"ping"}, args...)...)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}

// What was not measured is absent from the JSON of an event, and an incarnation is a string.
func TestJSONOfEvents(t *testing.T) {
	s := serve(t, anyPort)
	out, complaint, code := run1("ping", "-o", "json", "-w", "1500ms", "no-such-host.invalid", s.addr)
	if code != exitPeer {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	seen := 0
	for _, l := range strings.Split(out, "\n") {
		switch {
		case strings.Contains(l, `"cause":"unresolved"`) && strings.Contains(l, `"type":"event"`):
			if seen++; strings.Contains(l, `_ns"`) {
				t.Errorf("measured of a peer that was never heard: %s", l)
			}
		case strings.Contains(l, `"cause":"first-contact"`) && strings.Contains(l, `"type":"event"`):
			if seen++; !strings.Contains(l, `"incarnation":"`) {
				t.Errorf("an incarnation that is no string: %s", l)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of two events:\n%s", seen, out)
	}
}
