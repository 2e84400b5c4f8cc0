package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
)

// refusal is a reason for which heartbeats are refused, as the log reports it.
type refusal uint8

const (
	refusedNobody refusal = iota // no peer at the sender's address, and strangers are not admitted
	refusedRate                  // more introductions than Accept grants the prefix
	refusedFull                  // Accept.Max strangers are watched
	refusedKeys                  // no key, an unknown key or a wrong tag
	unresolved                   // the name of a peer does not resolve

	numRefusals
)

var refusalTexts = [numRefusals]string{
	"heartbeats from addresses that nobody watches are refused: add them as peers, or set Config.Accept",
	"introductions come faster than Accept.PerSecond grants this prefix",
	"no room for another stranger: raise Accept.Max",
	"heartbeats are refused by Config.Keys: none, another or a wrong key at the other end",
	"name does not resolve, and is looked up again and again",
}

// note is a line for the log.
type note struct {
	why  refusal
	from network.Addr
	peer Peer  // unresolved only
	err  error // unresolved only
}

const (
	// maxNotes bounds the notes that wait for the log. More are dropped.
	maxNotes = 64
	// noteGap is the least time between two notes of a shard with one reason, so that a flood costs
	// the loop nothing.
	noteGap = 50 * time.Millisecond
	// logAgain is the time after which a reason and prefix are logged again.
	logAgain = 10 * time.Minute
	// maxLogged bounds the lines logged within logAgain.
	maxLogged = 128
)

// note notes a refusal for the log.
func (s *shard) note(why refusal, from *network.Addr) {
	if s.now.Sub(s.notedAt[why]) < noteGap && s.notedAt[why] != 0 {
		return
	}
	s.notedAt[why] = s.now
	s.engine.note(note{why: why, from: *from})
}

// note passes n to the log, unless it has none or is too far behind.
func (e *Engine) note(n note) {
	if e.cfg.Logger == nil {
		return
	}
	select {
	case e.notes <- n:
	default:
	}
}

// refusals is the refusals logged since an instant. Only the logging goroutine uses it.
type refusals struct {
	logged map[refused]bool
	since  clock.Instant
}

// refused is a refusal of one prefix.
type refused struct {
	why    refusal
	prefix netip.Prefix
}

// logging logs notes. It has a goroutine of its own because a Logger may block.
func (e *Engine) logging(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-e.notes:
			e.log(&n, clock.Now())
		}
	}
}

// logNotes logs the notes that wait, in a simulated world.
func (e *Engine) logNotes(now clock.Instant) {
	for len(e.notes) > 0 {
		n := <-e.notes
		e.log(&n, now)
	}
}

// log logs n. Each refusal of a prefix is logged once in logAgain.
func (e *Engine) log(n *note, now clock.Instant) {
	if n.why == unresolved {
		e.cfg.Logger.Error(refusalTexts[n.why], "peer", n.peer, "error", n.err)
		return
	}
	r := &e.refusals
	if r.logged == nil || now.Sub(r.since) >= logAgain {
		r.logged, r.since = make(map[refused]bool), now
	}
	from := n.from.AddrPort()
	prefix, _ := from.Addr().WithZone("").Prefix(8 * len(n.from.Prefix()))
	k := refused{n.why, prefix}
	if r.logged[k] || len(r.logged) >= maxLogged {
		return
	}
	r.logged[k] = true
	var peer slog.Attr // which is not logged if it stays zero
	if p := e.watchedAt(from); !p.IsZero() {
		peer = slog.Any("peer", p)
	}
	e.cfg.Logger.Warn(refusalTexts[n.why], peer, "from", from, "prefix", prefix)
}

// watchedAt returns the first peer that is watched at an address, the zero Peer if there is none.
func (e *Engine) watchedAt(at netip.AddrPort) Peer {
	for p := range e.Peers() {
		if p.Addr() == at {
			return p
		}
	}
	return Peer{}
}
