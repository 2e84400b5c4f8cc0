package engine

import (
	"context"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/udp"
)

// refusal is why heartbeats of somebody are refused, as the log has it.
type refusal uint8

const (
	refusedNobody refusal = iota // nobody watches where it comes from, and strangers are not admitted
	refusedRate                  // more introductions than Accept grants a prefix
	refusedFull                  // as many strangers as Accept.Max are watched
	refusedKeys                  // no key, a key that is not accepted, or a wrong tag
	unresolved                   // a peer's name does not resolve

	numRefusals
)

var refusalTexts = [numRefusals]string{
	"heartbeats from addresses that nobody watches are refused: add them as peers, or set Config.Accept",
	"introductions come faster than Accept.PerSecond grants this prefix",
	"no room for another stranger: raise Accept.Max",
	"heartbeats are refused by Config.Keys: none, another or a wrong key at the other end",
	"name does not resolve, and is looked up again and again",
}

// note is a refusal on its way to the log.
type note struct {
	why  refusal
	from udp.Addr
	name string // unresolved
	err  error  // likewise
}

const (
	// noteRing is how many notes wait for the log.
	noteRing = 64
	// noteGap is how long a shard keeps quiet after a note: a flood costs it nothing more.
	noteGap = 50 * time.Millisecond
	// logAgain is how often the log is told of one refusal of one prefix.
	logAgain = 10 * time.Minute
	// maxLogged bounds the prefixes that are remembered, and so the lines in that time.
	maxLogged = 128
)

// note notes a refusal for the log.
func (s *shard) note(why refusal, from *udp.Addr) {
	if s.engine.cfg.Logger == nil || s.now.Sub(s.notedAt[why]) < noteGap && s.notedAt[why] != 0 {
		return
	}
	s.notedAt[why] = s.now
	s.engine.notes.TryPush(note{why: why, from: *from})
}

// refusals is what the log was told since an instant. Only the goroutine that logs uses it.
type refusals struct {
	told  map[refused]bool
	since clock.Instant
}

// refused is one refusal of one prefix.
type refused struct {
	why    refusal
	prefix netip.Prefix
}

// logging tells the log of refusals. It has a goroutine of its own, since a log may take its time.
func (e *Engine) logging(ctx context.Context) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.logNotes(clock.Now())
		}
	}
}

// logEvery is how long notes wait at most.
const logEvery = 250 * time.Millisecond

// logNotes tells the log of each refusal of each prefix once in logAgain, and of maxLogged prefixes at most.
func (e *Engine) logNotes(now clock.Instant) {
	told := &e.refusals
	if told.told == nil || now.Sub(told.since) >= logAgain {
		told.told, told.since = make(map[refused]bool), now
	}
	var batch [noteRing]note
	for _, n := range batch[:e.notes.PopBatch(batch[:])] {
		if n.why == unresolved {
			e.cfg.Logger.Error(refusalTexts[n.why], "peer", n.name, "error", n.err)
			continue
		}
		k := refused{n.why, prefixOf(n.from.AddrPort().Addr())}
		if told.told[k] || len(told.told) >= maxLogged {
			continue
		}
		told.told[k] = true
		e.cfg.Logger.Warn(refusalTexts[n.why], "from", n.from.AddrPort(), "prefix", k.prefix)
	}
}

// prefixOf returns the prefix that one site may have: /24, or /48 of IPv6.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero one for no address
	return p
}
