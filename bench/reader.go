package main

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"systole/bpf"
	"systole/engine/clock"
	"systole/wire"
)

// A reader is a child that reads the heartbeats of a population which BPF programs take below the sockets, and
// does nothing else with them: what reading costs without an engine.

// readerOptions are the options of a reader.
type readerOptions struct {
	Local  netip.AddrPort
	Count  int           // peers
	Period time.Duration // in which each peer is read once
	Step   time.Duration // from one waking to the next
	scheduling
	XDP bool // the programs are at native XDP, in place of tcx
}

// readerStep is the grid of an engine.
const readerStep = 4 * time.Millisecond

// readerDiscriminator returns the reader's discriminator for a node of the population.
func readerDiscriminator(node int) uint64 { return 1<<wire.SlotBits | uint64(node+1) }

// populationDiscriminator returns the node's own discriminator: see load.Config.Known.
func populationDiscriminator(node int) uint64 { return uint64(node+1)<<wire.SlotBits | 1 }

// runReader is the subcommand reader.
func runReader(options string) error {
	var o readerOptions
	if err := decodeOptions(options, &o); err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(o.Local)) // else the kernel refuses what is not taken
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }() // the process ends
	s, err := openTier(bpf.Absorb, o.Count, labDevice, o.XDP)
	if err != nil {
		return err
	}
	if err := s.SetPorts(o.Local.Port()); err != nil {
		return err
	}
	for i := range o.Count {
		s.Watch(readerDiscriminator(i), populationDiscriminator(i))
	}
	var read, turns atomic.Uint64
	go func() {
		runtime.LockOSThread()
		if err := o.apply(); err != nil {
			exitWith("reader", err)
		}
		o.read(s, &read, &turns)
	}()
	var before nodeUsage
	usage := func() nodeUsage {
		u := processUsage()
		u.Received, u.Taken, u.Turns = read.Load(), read.Load(), turns.Load()
		return u
	}
	return commands{
		"begin": func(string) (any, error) {
			before = usage()
			return nil, nil
		},
		"end": func(string) (any, error) { return nodeCounts{nodeUsage: usage().minus(&before)}, nil },
	}.serve(os.Stdin, os.Stdout)
}

// read reads all peers for ever.
func (o *readerOptions) read(s *bpf.Source, read, turns *atomic.Uint64) {
	steps := int(o.Period / o.Step)
	var b [wire.MaxSize]byte
	due := clock.Now()
	for step := 0; ; step++ {
		due = due.Add(o.Step)
		sleepUntil(due)
		now := clock.Now()
		var n uint64
		for i := step % steps; i < o.Count; i += steps {
			for length := 1; length > 0; {
				if length, _, _ = s.Next(readerDiscriminator(i), now, b[:]); length > 0 {
					n++
				}
			}
		}
		read.Add(n)
		turns.Add(1)
	}
}
