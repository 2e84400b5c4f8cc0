package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// book is a resolver that knows one address, or none.
type book struct{ addr netip.Addr }

// LookupNetIP returns the address.
func (b *book) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if !b.addr.IsValid() {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{b.addr}, nil
}

// Of a name that does not resolve the log hears once, as an error: nothing is sent until it
// does, so nothing else would say why. It is looked up again until it resolves.
func TestNameThatDoesNotResolve(t *testing.T) {
	var log bytes.Buffer
	names := &book{}
	w := newWorld(t, 1)
	b := w.start(Config{})
	a := w.start(Config{Resolver: names, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7946"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(30 * time.Second)
	if said := log.String(); p.State() != Connecting || strings.Count(said, "\n") != 1 || !strings.Contains(said, "b.test:7946") || !strings.Contains(said, "no such host") {
		t.Errorf("state %v, said %q", p.State(), said)
	}
	names.addr = b.host.Addr().Addr()
	w.run(30 * time.Second)
	if p.State() != Alive || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("state %v after the name resolves, said %q", p.State(), log.String())
	}
}
