package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// programs are the programs in the kernel, not attached, and the maps of one table. A program that the
// kernel refused is nil, and its error says why.
type programs struct {
	tcx, cgroup, xdp, handOff             *ebpf.Program
	tcxErr, cgroupErr, xdpErr, handOffErr error

	control, peers, rings, counters *ebpf.Map
}

// loadPrograms makes a table of that many slots and loads all programs for it. With absorb the programs
// at interfaces take heartbeats; the one for a cgroup only stamps. It fails only without a table.
func loadPrograms(slots int, absorb bool) (*programs, error) {
	stamping, err := loadStamps()
	if err != nil {
		return nil, err
	}
	handing, err := loadHandoff()
	if err != nil {
		return nil, err
	}
	atInterfaces := stamping
	if absorb {
		if atInterfaces, err = loadAbsorb(); err != nil {
			return nil, err
		}
	}
	offset, err := clockOffset()
	if err != nil {
		return nil, err
	}
	p := new(programs)
	if err := p.makeMaps(stamping, slots, absorb); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.tcx, p.tcxErr = p.load(atInterfaces, stampsProgSystoleTcx, offset)
	p.xdp, p.xdpErr = p.load(atInterfaces, stampsProgSystoleXdp, offset)
	p.cgroup, p.cgroupErr = p.load(stamping, stampsProgSystoleCgroup, offset)
	p.handOff, p.handOffErr = p.load(handing, handoffProgSystoleHandoff, offset)
	return p, nil
}

// makeMaps makes the maps of a table.
func (p *programs) makeMaps(spec *ebpf.CollectionSpec, slots int, absorb bool) (err error) {
	rings := 1
	if absorb {
		rings = slots
	}
	for _, m := range []struct {
		to      **ebpf.Map
		name    string
		entries int
	}{
		{&p.control, stampsMapControl, 1}, {&p.peers, stampsMapPeers, slots},
		{&p.rings, stampsMapRings, rings}, {&p.counters, stampsMapCounters, processors},
	} {
		s := spec.Maps[m.name].Copy()
		s.MaxEntries = uint32(m.entries)
		if *m.to, err = ebpf.NewMap(s); err != nil {
			return fmt.Errorf("bpf: make the map %s: %w", m.name, err)
		}
	}
	return nil
}

// load loads one program of a spec.
func (p *programs) load(spec *ebpf.CollectionSpec, name string, offset int64) (*ebpf.Program, error) {
	one := spec.Copy()
	one.Programs = map[string]*ebpf.ProgramSpec{name: one.Programs[name]}
	if err := one.Variables[stampsVarClockOffset].Set(offset); err != nil {
		return nil, err
	}
	replace := make(map[string]*ebpf.Map)
	for name, m := range map[string]*ebpf.Map{
		stampsMapControl: p.control, stampsMapPeers: p.peers, stampsMapRings: p.rings, stampsMapCounters: p.counters,
	} {
		if s, ok := one.Maps[name]; ok {
			s.MaxEntries = m.MaxEntries()
			replace[name] = m
		}
	}
	loaded, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), nil
}

// table maps the table.
func (p *programs) table() (*table, error) { return mapTable(p.maps()) }

// maps returns the descriptors of the table's maps, which p owns.
func (p *programs) maps() tableMaps {
	return tableMaps{
		control: p.control.FD(), slots: p.peers.FD(), rings: p.rings.FD(), counters: p.counters.FD(),
		numSlots: int(p.peers.MaxEntries()), numRings: int(p.rings.MaxEntries()),
	}
}

// Close closes what p has. Links and mappings keep what they need.
func (p *programs) Close() error {
	var errs []error
	for _, program := range []*ebpf.Program{p.tcx, p.cgroup, p.xdp, p.handOff} {
		errs = append(errs, program.Close())
	}
	for _, m := range []*ebpf.Map{p.control, p.peers, p.rings, p.counters} {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
