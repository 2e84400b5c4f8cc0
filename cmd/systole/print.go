package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/histogram"
	"systole/engine/level"
	"systole/engine/split"
)

// printer prints the events and figures of a watch.
type printer interface {
	event(w *watch, ev *engine.Event)
	node(w *watch, ev *engine.NodeEvent)
	level(w *watch, ev *level.Event)
	report(w *watch)
	interim(w *watch)
	summary(w *watch)
}

// newPrinter returns the printer for a format.
func newPrinter(format string, out io.Writer, quiet bool) (printer, error) {
	switch format {
	case "text":
		return &textPrinter{out: out, quiet: quiet, colour: os.Getenv("NO_COLOR") == "" && terminalOf(out) != nil}, nil
	case "json":
		return &jsonPrinter{out: json.NewEncoder(out), quiet: quiet}, nil
	}
	return nil, fmt.Errorf("%w, not %q", errOutput, format)
}

// terminalOf returns the terminal that out writes to, nil if that is none.
func terminalOf(out io.Writer) *os.File {
	if o, ok := out.(*output); ok {
		out = o.Writer
	}
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return f
}

// jsonPrinter prints JSON Lines. Every line has the version "v" of the format, a "type", and the
// wall clock "t" in RFC 3339. Fields that end in "_ns" are in nanoseconds.
type jsonPrinter struct {
	out   *json.Encoder
	quiet bool
}

// jsonChange has the first fields of lines about a change of a peer.
type jsonChange struct {
	V           int    `json:"v"`
	Type        string `json:"type"`
	T           string `json:"t"`
	Peer        string `json:"peer"`
	Addr        string `json:"addr,omitempty"`
	ID          string `json:"id,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty,string"`
	From        string `json:"from"`
	To          string `json:"to"`
}

// newChange returns the first fields of a line about p; the zero Peer means this node. The line
// lacks an id of 0 and an unknown address.
func newChange(kind string, w *watch, p engine.Peer, id, incarnation uint64, from, to string) jsonChange {
	return jsonChange{
		V: 1, Type: kind, T: stamp(), Peer: w.name(p), Addr: addrText(p), ID: idText(id),
		Incarnation: incarnation, From: from, To: to,
	}
}

// addrText returns the address of p, "" if it is not known.
func addrText(p engine.Peer) string {
	if a := p.Addr(); a.IsValid() {
		return a.String()
	}
	return ""
}

// idText returns an id in hexadecimal, "" for 0, which means none.
func idText(id uint64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", id)
}

// jsonEvent is a transition of a peer, or an event about this node. The latter has the states
// "unknown" and no measurements. What was not measured is absent, as in the JSON of engine.Event.
type jsonEvent struct {
	jsonChange
	Cause     string  `json:"cause"`
	Suspicion float64 `json:"suspicion"`
	SilenceNS int64   `json:"silence_ns,omitempty"`
	LagNS     int64   `json:"lag_ns,omitempty"`
	SenderNS  int64   `json:"sender_late_ns,omitempty"`
	SendNS    int64   `json:"send_wait_ns,omitempty"` // of the newest heartbeat for which it is known
	NetworkNS int64   `json:"network_ns,omitempty"`
	HostNS    int64   `json:"host_ns,omitempty"`
	ReadNS    int64   `json:"read_ns,omitempty"`
	Delayed   string  `json:"delayed,omitempty"` // where most of the last heartbeat's delay arose
	Slow      bool    `json:"slow,omitempty"`
	PauseNS   int64   `json:"pause_ns,omitempty"`
	Merged    int     `json:"merged,omitempty"`
	// Others are the two peers with one id, of an id-collision.
	Others []jsonOther `json:"others,omitempty"`
}

// jsonOther is one of two peers with the same id.
type jsonOther struct {
	Peer        string `json:"peer"`
	Addr        string `json:"addr,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty,string"`
}

// others returns the two peers of an id-collision. Other events have none, nor has a collision with
// this node's own id.
func (w *watch) others(ev *engine.NodeEvent) []jsonOther {
	var out []jsonOther
	for _, p := range ev.Others {
		if !p.IsZero() {
			out = append(out, jsonOther{w.name(p), addrText(p), p.Stats().Incarnation})
		}
	}
	return out
}

func (p *jsonPrinter) event(w *watch, ev *engine.Event) {
	if p.quiet {
		return
	}
	p.print(jsonEvent{
		jsonChange: newChange("event", w, ev.Peer, ev.ID, ev.Incarnation, ev.From.String(), ev.To.String()),
		Cause:      ev.Cause.String(), Suspicion: ev.Suspicion, SilenceNS: int64(ev.Silence), LagNS: int64(ev.Lag),
		SenderNS: int64(ev.Delays.Late), SendNS: int64(ev.SendWait), NetworkNS: int64(ev.Delays.Network),
		HostNS: int64(ev.Delays.Host), ReadNS: int64(ev.Delays.Read), Delayed: w.delayed(ev), Slow: ev.Slow, Merged: ev.Merged,
	})
}

// delayed returns where most of the delay of the last heartbeat before ev arose, "" if it had none.
func (w *watch) delayed(ev *engine.Event) string {
	sum := split.Sum{Step: w.engine.Grid()}
	sum.Add(ev.Delays)
	c := sum.Cause()
	if ev.Silence == 0 || c.Part == "" {
		return ""
	}
	return c.String()
}

func (p *jsonPrinter) node(w *watch, ev *engine.NodeEvent) {
	if p.quiet {
		return
	}
	unknown := engine.Unknown.String()
	p.print(jsonEvent{
		jsonChange: newChange("event", w, engine.Peer{}, ev.ID, ev.Incarnation, unknown, unknown),
		Cause:      ev.Cause.String(), PauseNS: int64(ev.Pause), Merged: ev.Merged, Others: w.others(ev),
	})
}

// jsonPeer has the figures of one peer.
type jsonPeer struct {
	Peer       string  `json:"peer"`
	Addr       string  `json:"addr,omitempty"`
	ID         string  `json:"id,omitempty"`
	State      string  `json:"state"`
	Degraded   bool    `json:"degraded,omitempty"`
	Slow       bool    `json:"slow,omitempty"` // late at its own side
	Sent       uint64  `json:"sent"`
	Received   uint64  `json:"received"`
	LostOut    uint64  `json:"lost_out"`
	LostIn     uint64  `json:"lost_in"`
	Duplicated uint32  `json:"duplicated"`
	Reordered  uint32  `json:"reordered"`
	Missed     uint64  `json:"missed"`
	Mistakes   uint64  `json:"mistakes"`
	Failures   uint64  `json:"failures"`
	Suspicion  float64 `json:"suspicion"`
	jsonWords
	RTT     quantiles `json:"rtt_ns"`
	Delay   jsonSplit `json:"delay"`      // of heartbeats to this node
	Outward quantiles `json:"outward_ns"` // delay above the least of heartbeats to the peer
}

// jsonWords has what the summary says in words. What is not known is absent.
type jsonWords struct {
	LossOut      *float64 `json:"loss_out,omitempty"` // share of what was sent while the peer was there
	LossIn       *float64 `json:"loss_in,omitempty"`
	Unanswered   uint64   `json:"unanswered,omitempty"` // sent while the peer was not there to tell
	PeriodNS     int64    `json:"period_ns,omitempty"`
	PeerPeriodNS int64    `json:"peer_period_ns,omitempty"`
	Downs        int      `json:"downs,omitempty"`
	DownNS       int64    `json:"down_ns,omitempty"`
	DownCause    string   `json:"down_cause,omitempty"` // of the latest
	Restarts     int      `json:"restarts,omitempty"`
	StateCause   string   `json:"cause,omitempty"` // of the latest transition
}

// newWords returns what the summary says of a peer.
func newWords(w *watched, s *engine.PeerStats, now clock.Instant) jsonWords {
	share := func(l loss) *float64 {
		if share, ok := l.share(); ok {
			return &share
		}
		return nil
	}
	out := lossOut(s, &w.sendings)
	words := jsonWords{
		LossOut: share(out), LossIn: share(lossIn(s)), Unanswered: out.unanswered,
		PeriodNS: int64(s.Period), PeerPeriodNS: int64(s.PeerPeriod),
		Downs: w.history.downs, DownNS: int64(w.history.downtime(now)), Restarts: w.history.restarts,
	}
	if w.history.downs > 0 {
		words.DownCause = w.history.cause.String()
	}
	if s.Cause != engine.NoCause && s.Cause != engine.Added {
		words.StateCause = s.Cause.String()
	}
	return words
}

// jsonSplit has the parts of a delay. A part that was not measured has no quantiles.
type jsonSplit struct {
	Late     quantiles `json:"late_ns"`
	SendWait quantiles `json:"send_wait_ns"`
	Network  quantiles `json:"network_ns"`
	Host     quantiles `json:"host_ns"`
	Read     quantiles `json:"read_ns"`
	Part     string    `json:"part"`  // in which most of the delay arose
	Share    float64   `json:"share"` // of that part
	Cause    string    `json:"cause"`
}

// newSplit returns the parts of the delay of a peer's heartbeats.
func newSplit(w *watched) jsonSplit {
	sum := w.delays.Sum()
	cause, h := sum.Cause(), w.delays.Histograms()
	return jsonSplit{
		Late: quantilesOfPart(&h.Late), SendWait: quantilesOfPart(&h.SendWait),
		Network: quantilesOfPart(&h.Network), Host: quantilesOfPart(&h.Host), Read: quantilesOfPart(&h.Read),
		Part: cmp.Or(cause.Part, "none"), Share: cause.Share, Cause: cause.String(),
	}
}

// jsonWatch is a report, an interim summary or the summary.
type jsonWatch struct {
	V         int        `json:"v"`
	Type      string     `json:"type"`
	T         string     `json:"t"`
	ElapsedNS int64      `json:"elapsed_ns"`
	Stamps    jsonStamps `json:"stamps"`
	Pauses    int        `json:"pauses,omitempty"` // of this node
	PausedNS  int64      `json:"paused_ns,omitempty"`
	Peers     []jsonPeer `json:"peers"`
}

func (p *jsonPrinter) report(w *watch) {
	if !p.quiet {
		p.watch("report", w)
	}
}

func (p *jsonPrinter) interim(w *watch) { p.watch("interim", w) }
func (p *jsonPrinter) summary(w *watch) { p.watch("summary", w) }

// watch prints one line with all peers.
func (p *jsonPrinter) watch(kind string, w *watch) {
	now := clock.Now()
	line := jsonWatch{Pauses: w.pauses.count, PausedNS: int64(w.pauses.sum), V: 1, Type: kind, T: stamp(), ElapsedNS: int64(time.Since(w.started)), Stamps: w.stamps.report()}
	for _, peer := range w.peers {
		s := peer.stats()
		line.Peers = append(line.Peers, jsonPeer{
			Peer: peer.name, Addr: addrText(peer.peer), ID: idText(s.ID),
			State: s.State.String(), Degraded: s.Degraded, Slow: s.Slow, Sent: s.Sent, Received: s.Received,
			LostOut: s.LostOut, LostIn: s.LostIn, Duplicated: s.Duplicated, Reordered: s.Reordered,
			Missed: s.Missed, Mistakes: s.Mistakes, Failures: s.Failures, Suspicion: s.Suspicion, jsonWords: newWords(peer, &s, now),
			RTT: quantilesOf(peer.roundTrip), Delay: newSplit(peer), Outward: quantilesOf(peer.outward),
		})
	}
	p.print(line)
}

// print writes one line. output keeps an error.
func (p *jsonPrinter) print(line any) { _ = p.out.Encode(line) }

// stamp returns the present time for lines of JSON.
func stamp() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// textPrinter prints for people.
type textPrinter struct {
	out    io.Writer
	quiet  bool
	colour bool
}

// paint returns s in the colour of a state if the output is a terminal.
func (p *textPrinter) paint(state engine.State, s string) string {
	if !p.colour {
		return s
	}
	code := "33"
	switch state {
	case engine.Alive:
		code = "32"
	case engine.Failed:
		code = "31"
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// label returns the peer's target, and its address if that differs.
func (w *watch) label(p engine.Peer) string {
	name, addr := w.name(p), addrText(p)
	if addr == "" || addr == name {
		return name
	}
	return name + " (" + addr + ")"
}

func (p *textPrinter) event(w *watch, ev *engine.Event) {
	if p.quiet {
		return
	}
	change := fmt.Sprintf("%v → %v", ev.From, ev.To)
	if ev.From == ev.To {
		change = fmt.Sprintf("stays %v", ev.To)
	}
	fmt.Fprintf(p.out, "%s %s: %s, %v%s\n", clockTime(), w.label(ev.Peer), p.paint(ev.To, change), ev.Cause, w.evidence(ev))
}

// evidence returns what an event tells besides the change: of an accusation, what speaks for it; of a
// recovery, what it ends.
func (w *watch) evidence(ev *engine.Event) string {
	p := w.find(ev.Peer)
	switch {
	case p == nil:
		return ""
	case ev.To == engine.Alive:
		if d := p.history.trouble(ev); d > 0 && p.history.certain {
			return fmt.Sprintf("; down for %v", round(d))
		} else if d > 0 {
			return fmt.Sprintf("; silent for %v", round(d))
		}
		return ""
	case ev.To != engine.Suspect && ev.To != engine.Failed || ev.Silence == 0:
		return ""
	}
	text := fmt.Sprintf("; silent for %v, suspicion %.2f", round(ev.Silence), ev.Suspicion)
	if ev.Cause != engine.Silence {
		return text
	}
	text += fmt.Sprintf(", judged %v after the deadline", round(ev.Lag))
	d := &ev.Delays
	late := d.Late + d.SendWait + d.Network + d.Host + d.Read
	if delayed := w.delayed(ev); delayed != "" && late > ev.Silence/10 { // else it explains nothing
		text += "; of the last heartbeat " + delayed
	}
	return text
}

func (p *textPrinter) node(w *watch, ev *engine.NodeEvent) {
	if !p.quiet {
		fmt.Fprintf(p.out, "%s %s: %s\n", clockTime(), thisNode, w.nodeEvent(ev))
	}
}

// clockTime returns the present time for lines of text.
func clockTime() string { return time.Now().Format("15:04:05.000") }

// nodeEvent returns the text of an event about this node.
func (w *watch) nodeEvent(ev *engine.NodeEvent) string {
	others := w.others(ev)
	switch {
	case len(others) == 2:
		return fmt.Sprintf("%v, id %s: %s in incarnation %d and %s in incarnation %d", ev.Cause, shortID(ev.ID),
			w.label(ev.Others[0]), others[0].Incarnation, w.label(ev.Others[1]), others[1].Incarnation)
	case ev.Cause == engine.IDCollision:
		return fmt.Sprintf("%v: another process has this node's id %s, in incarnation %d", ev.Cause, shortID(ev.ID), ev.Incarnation)
	case ev.Cause == engine.LocalSuspect:
		return fmt.Sprintf("%v: peers fell silent together, so this node may be the isolated one", ev.Cause)
	case ev.Cause == engine.LocalPause:
		return fmt.Sprintf("%v of %v", ev.Cause, round(ev.Pause))
	}
	return ev.Cause.String()
}

func (p *textPrinter) report(w *watch) {
	if p.quiet {
		return
	}
	for _, peer := range w.peers {
		s := peer.stats()
		fmt.Fprintf(p.out, "%s %s: %s%s; sent %d, received %d; %s; round trip %s\n", clockTime(), w.label(peer.peer),
			p.paint(s.State, s.State.String()), slowText(s.Slow), s.Sent, s.Received, lostText(&s, &peer.sendings), measured(s.RoundTrip))
	}
}

// slowText returns what follows the state of a peer that is slow.
func slowText(slow bool) string {
	if slow {
		return ", slow"
	}
	return ""
}

func (p *textPrinter) interim(w *watch) { p.summary(w) }

func (p *textPrinter) summary(w *watch) {
	fmt.Fprintf(p.out, "--- %v\n", round(time.Since(w.started)))
	now := clock.Now()
	for _, peer := range w.peers {
		s := peer.stats()
		fmt.Fprintf(p.out, "%s: %s%s%s\n", w.label(peer.peer), p.paint(s.State, s.State.String()), slowText(s.Slow), causeText(&s))
		fmt.Fprintf(p.out, "  %s\n  %s\n", exchanged(&s), lostText(&s, &peer.sendings))
		if text := troubles(&s, &peer.history, peer.history.downtime(now)); text != "" {
			fmt.Fprintf(p.out, "  %s\n", text)
		}
		if s.Received > 0 {
			fmt.Fprintf(p.out, "  %-25s %s\n", "round trip", quantilesOf(peer.roundTrip))
			p.delays(peer)
		}
	}
	if n := w.pauses.count; n > 0 {
		fmt.Fprintf(p.out, "this node paused %s, for %v in all\n", times(uint64(n)), round(w.pauses.sum))
	}
	fmt.Fprintf(p.out, "stamps %v\n", w.stamps.report())
}

// causeText returns why a peer is not alive.
func causeText(s *engine.PeerStats) string {
	switch s.Cause {
	case engine.NoCause, engine.Added:
		return ""
	}
	if s.State == engine.Alive {
		return ""
	}
	return " because of " + s.Cause.String()
}

// delays prints where the delay of a peer's heartbeats arose.
func (p *textPrinter) delays(w *watched) {
	sum := w.delays.Sum()
	if sum.Heartbeats() == 0 {
		return
	}
	h := w.delays.Histograms()
	for _, part := range []struct {
		name string
		h    *histogram.Histogram
	}{
		{"sender late", &h.Late}, {"sender's stack and queue", &h.SendWait}, {"network above its least", &h.Network},
		{"our network stack", &h.Host}, {"our reading", &h.Read},
	} {
		fmt.Fprintf(p.out, "  %-25s %s\n", part.name, quantilesOfPart(part.h))
	}
	fmt.Fprintf(p.out, "  %v\n", sum.Cause())
	fmt.Fprintf(p.out, "  %-25s %s\n", "way there above its least", quantilesOf(w.outward))
}

// String returns the known quantiles.
func (q quantiles) String() string {
	var parts []string
	for _, v := range []struct {
		name  string
		value *int64
	}{{"p50", q.P50}, {"p99", q.P99}, {"max", q.Max}} {
		if v.value != nil {
			parts = append(parts, v.name+" "+round(time.Duration(*v.value)).String())
		}
	}
	if len(parts) == 0 {
		return notMeasured
	}
	return strings.Join(parts, ", ")
}

// round rounds a duration to three or four digits.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit > 1; unit /= 10 {
		if d >= unit*100 {
			return d.Round(unit)
		}
	}
	return d
}
