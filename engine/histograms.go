package engine

import "systole/engine/histogram"

// Loss is how many heartbeats were lost in one direction.
type Loss struct {
	Lost uint64 `json:"lost"` // heartbeats that never arrived
	Of   uint64 `json:"of"`   // of how many, those included; 0: none is known of
}

// add adds counts. More may have come after all than were lost since.
func (l *Loss) add(lost, of uint64) { l.Lost, l.Of = l.Lost+uint64(max(int64(lost), 0)), l.Of+of }

// Histograms is the distributions of round trips and delays, and the losses, of one peer or of all. In JSON they
// are "rtt", "late", "send_wait", "network", "host" and "read", as package histogram has it, and "loss_in" and
// "loss_out". What was not measured is absent.
type Histograms struct {
	// RoundTrip is that of heartbeats whose echo gives one. A heartbeat that came after a later one is in no
	// histogram.
	RoundTrip histogram.Histogram `json:"rtt,omitzero"`
	// Late, Network, Host and Read are the parts of Delays as of each arrival. What was not measured is not
	// counted, except as part of Network. So Network has the wait in the sender's host as well.
	Late    histogram.Histogram `json:"late,omitzero"`
	Network histogram.Histogram `json:"network,omitzero"`
	Host    histogram.Histogram `json:"host,omitzero"`
	Read    histogram.Histogram `json:"read,omitzero"`
	// SendWait is the waits that peers have told and that were believed, each counted when it was told.
	SendWait histogram.Histogram `json:"send_wait,omitzero"`
	// LossIn is of heartbeats to this node, from the first one of each session on. A heartbeat that comes late
	// after all is taken off again.
	LossIn Loss `json:"loss_in,omitzero"`
	// LossOut is of heartbeats to peers, as they tell it. What no peer has told about is not counted, so that
	// silence is not taken for arrival.
	LossOut Loss `json:"loss_out,omitzero"`
}

// Histograms returns the distributions and losses of all peers that were added, also of those that were removed,
// since Open; if recent is set those of the last minute, which is 60 to 90 s. Strangers are left out. Any
// goroutine may call it. It takes some microseconds and delays no loop.
func (e *Engine) Histograms(recent bool) Histograms {
	var h Histograms
	from := e.figuresFrom(recent)
	for _, s := range e.shards {
		s.figures.addTo(&h, from)
	}
	return h
}

// Histograms returns the distributions and losses of the peer since AddPeer, over all of its incarnations; if
// recent is set those of the last minute, which is 60 to 90 s. It returns false if the peer was removed, or
// without Config.PeerHistograms. Any goroutine may call it. It takes some microseconds and delays no loop.
func (p Peer) Histograms(recent bool) (Histograms, bool) {
	if !p.seen() {
		return Histograms{}, false
	}
	f := p.engine.table.figures(p.slot)
	if f == nil {
		return Histograms{}, false
	}
	var h Histograms
	f.addTo(&h, p.engine.figuresFrom(recent))
	if !p.seen() {
		return Histograms{}, false // the figures may be those of the next peer in the slot
	}
	return h, true
}

// figuresFrom returns the span with which the last minute begins, or 0 for all.
func (e *Engine) figuresFrom(recent bool) uint64 {
	if !recent {
		return 0
	}
	return recentFrom(e.reading().Now)
}
