package main

import (
	"errors"
	"fmt"

	"systole/bpf"
	"systole/engine"
)

// openTier opens the source of a tier of stamps for a number of peers, at an interface. With xdp it is at native
// XDP there, in place of tcx. It returns nil for the tier of the kernel's own stamps,
// which "" is too.
func openTier(tier bpf.Tier, peers int, device string, xdp bool) (*bpf.Source, error) {
	if tier == "" || tier == bpf.Kernel {
		return nil, nil
	}
	o := bpf.Options{Absorb: tier == bpf.Absorb, Peers: min(peers+spareSlots, bpf.MaxPeers), Interfaces: []string{device}}
	if xdp {
		o.XDP = o.Interfaces
	}
	s, err := bpf.Open(o)
	if err != nil {
		return nil, err
	}
	if err := complete(s.Status(), tier); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

const (
	spareSlots = 1024   // of an engine's table, beyond those of its peers
	labDevice  = "lab0" // the interface of a host in a netlab.Lab
)

// openOn opens an engine on a source, nil for none.
func openOn(s *bpf.Source, cfg engine.Config) (*engine.Engine, error) {
	if s == nil {
		return engine.Open(cfg)
	}
	cfg.Arrivals = s
	e, err := engine.Open(cfg)
	if err != nil {
		return nil, err
	}
	var ports []uint16
	for _, a := range e.Addrs() {
		ports = append(ports, a.Port())
	}
	if err := s.SetPorts(ports...); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// complete returns what s lacks of a tier.
func complete(s bpf.Status, tier bpf.Tier) error {
	var missing []error
	if s.Tier != tier {
		missing = append(missing, fmt.Errorf("tier %v and not %v", s.Tier, tier))
		if s.Limit != nil {
			missing = append(missing, s.Limit)
		}
	}
	if !s.HandOffs {
		missing = append(missing, errors.New("no hand-offs"))
		if s.HandOffError != nil {
			missing = append(missing, s.HandOffError)
		}
	}
	return errors.Join(missing...)
}

// tiers returns those of the tiers that this machine has. For each other one it adds to t what is lacking.
func (t *table) tiers(wanted ...bpf.Tier) (have []bpf.Tier) {
	for _, tier := range wanted {
		s, err := openTier(tier, 1, "lo", false)
		if err != nil {
			t.about += fmt.Sprintf(" Tier %v is left out: %v.", tier, err)
			continue
		}
		if s != nil {
			_ = s.Close() // it was only tried
		}
		have = append(have, tier)
	}
	return have
}
