package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"time"

	"systole/engine"
	"systole/engine/histogram"
)

// metrics serves the figures of an engine in the text format of Prometheus. Reading them delays no loop.
type metrics struct {
	engine *engine.Engine
}

// ServeHTTP writes all figures.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	m.write(w)
}

// write writes the figures of the engine, then those of each peer.
func (m *metrics) write(w io.Writer) {
	s := m.engine.Stats()
	family(w, "systole_peers", "gauge", "Peers watched.")
	fmt.Fprintln(w, "systole_peers", s.Peers.Watched)
	family(w, "systole_heartbeats_sent_total", "counter", "Heartbeats written.")
	fmt.Fprintln(w, "systole_heartbeats_sent_total", s.Heartbeats.Sent)
	family(w, "systole_mistakes_total", "counter", "Suspicions that were taken back.")
	fmt.Fprintln(w, "systole_mistakes_total", s.Verdicts.Mistakes)
	distribution(w, "systole_lateness_seconds", "How late the loop began its turns.", &s.Loop.Lateness)
	h := m.engine.Histograms(false)
	distribution(w, "systole_round_trip_seconds", "Round trips to all peers.", &h.RoundTrip)

	peers := m.engine.Snapshot(nil)
	family(w, "systole_peer_state", "gauge", "1 for the state that the peer is in.")
	for i := range peers {
		p := &peers[i]
		for state := engine.Connecting; state < engine.Removed; state++ {
			is := 0
			if p.State == state {
				is = 1
			}
			fmt.Fprintf(w, "systole_peer_state{%s,state=\"%v\"} %d\n", labels(p), state, is)
		}
	}
	family(w, "systole_peer_suspicion", "gauge", "The detector's level.")
	for i := range peers {
		fmt.Fprintf(w, "systole_peer_suspicion{%s} %v\n", labels(&peers[i]), peers[i].Suspicion)
	}
	family(w, "systole_peer_failures_total", "counter", "Times that the peer was failed.")
	for i := range peers {
		fmt.Fprintf(w, "systole_peer_failures_total{%s} %d\n", labels(&peers[i]), peers[i].Failures)
	}
	family(w, "systole_peer_round_trip_seconds", "gauge", "Smoothed round trip; absent until it is measured.")
	for i := range peers {
		if p := &peers[i]; p.RoundTrip > 0 {
			fmt.Fprintf(w, "systole_peer_round_trip_seconds{%s} %v\n", labels(p), p.RoundTrip.Seconds())
		}
	}
}

// labels names a peer by its name or else its address, and by its tag. Both stay what they are when the node
// restarts, unlike its id may.
func labels(p *engine.PeerStats) string {
	return fmt.Sprintf("peer=%q,rack=%q", cmp.Or(p.Name, p.Addr.String()), p.Tag)
}

// distribution writes a classic histogram with every fourth bucket. A program that pushes native histograms copies
// the counts as they are.
func distribution(w io.Writer, name, help string, h *histogram.Histogram) {
	family(w, name, "histogram", help)
	counts, below := maps.Collect(h.Buckets()), h.Zero()
	for i := int32(-79); i <= 16; i++ { // from the zero bucket to 16 s
		below += counts[i]
		if i%4 == 0 {
			fmt.Fprintf(w, "%s_bucket{le=\"%v\"} %d\n", name, math.Exp2(float64(i)/4), below)
		}
	}
	fmt.Fprintf(w, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %v\n%s_count %d\n", name, h.Count(), name, h.Sum().Seconds(), name, h.Count())
}

// family begins a metric.
func family(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Two nodes, and the page that a scraper gets of the first.
func Example_metrics() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var nodes [2]*engine.Engine
	for i := range nodes {
		var err error
		nodes[i], err = engine.Open(engine.Config{
			ID: uint64(i + 1), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Accept: engine.Accept{Anyone: true},
		})
		if err != nil {
			log.Fatal(err)
		}
		defer nodes[i].Close()
	}
	events := nodes[0].Subscribe()
	defer events.Close()
	if _, err := nodes[0].AddPeer(engine.PeerConfig{Addr: nodes[1].Addrs()[0], Tag: "r4"}); err != nil {
		log.Fatal(err)
	}
	for ev := (engine.Event{}); ev.To != engine.Alive; {
		var err error
		if ev, err = events.Next(ctx); err != nil {
			log.Fatal(err)
		}
	}
	page := httptest.NewRecorder()
	(&metrics{nodes[0]}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(strings.ReplaceAll(page.Body.String(), nodes[1].Addrs()[0].String(), "192.0.2.7:7853")) {
		if strings.Contains(line, "systole_peers") || strings.Contains(line, "state=") {
			fmt.Print(line)
		}
	}
	// Output:
	// # HELP systole_peers Peers watched.
	// # TYPE systole_peers gauge
	// systole_peers 1
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="connecting"} 0
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="alive"} 1
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="one-way"} 0
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="suspect"} 0
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="failed"} 0
	// systole_peer_state{peer="192.0.2.7:7853",rack="r4",state="left"} 0
}
