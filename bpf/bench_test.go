package bpf

import (
	"math"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/wire"
)

// The methods that the loop calls. 4,096 peers: their memory is not in the first cache.
func BenchmarkSource(b *testing.B) {
	const peers = 4096
	s := newSource(peers, peers)
	s.table.setXDP(true)
	buf := make([]byte, wire.MaxSize)
	datagram := encode(b, header(1), nil)
	session := func(i int) uint64 { return ours&^(1<<wire.SlotBits-1) | uint64(i%(peers-1)+1) }
	for i := range peers {
		s.Watch(session(i), theirs)
	}
	for name, f := range map[string]func(i int){
		"Watch":        func(i int) { s.Watch(session(i), theirs) },
		"Next/nothing": func(i int) { s.Next(session(i), clock.Never, buf) },
		"Next/taken": func(i int) {
			d := session(i)
			r := &s.table.rings[wire.Slot(d)]
			be.PutUint64(datagram[16:], d)
			r.put(1, peer4, datagram)
			s.Next(d, clock.Never, buf)
		},
		"HandedOff": func(i int) { s.HandedOff(session(i), 1) },
		"Arrived":   func(i int) { s.Arrived(session(i), 1) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f(i)
			}
		})
	}
}

// What a program costs per packet, by the kernel's own count, less that of a packet which is not of IP:
// the least mean of all batches.
func BenchmarkPrograms(b *testing.B) {
	for _, absorb := range []bool{false, true} {
		for _, h := range hooks {
			name := h.name + "/stamp"
			if absorb {
				name = h.name + "/absorb"
			}
			if absorb && !h.takes {
				continue
			}
			b.Run(name, func(b *testing.B) {
				p, s := load(b, absorb)
				benchmarkProgram(b, h.program(p), func(frame []byte) {
					if _, err := h.program(p).Run(&ebpf.RunOptions{Data: frame, Repeat: 1}); err != nil {
						b.Fatal(err)
					}
					next(b, s)
				}, heartbeat(b, 1))
			})
		}
	}
	b.Run("handoff", func(b *testing.B) {
		p, _ := attached(b)
		netlab.InNamespace(b, func() {
			netlab.VethPair(b)
			out := wireTap(b, "a0")
			benchmarkProgram(b, p.handOff, func(frame []byte) {
				if _, err := unix.Write(out, frame); err != nil {
					b.Error(err)
				}
			}, own(b, 1))
		})
	})
}

// benchmarkProgram reports what a program costs for heartbeats, and for datagrams like them.
func benchmarkProgram(b *testing.B, program *ebpf.Program, run func(frame []byte), own *packet) {
	on, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Error(err)
		return
	}
	defer on.Close()
	foreign := *own
	foreign.from, foreign.to = netip.MustParseAddrPort("192.0.2.7:53"), netip.MustParseAddrPort("192.0.2.7:53")
	arp := own.bytes()
	be.PutUint16(arp[12:], 0x0806)
	frames := map[string]func(i int) []byte{
		"arp":     func(int) []byte { return arp },
		"foreign": func(int) []byte { return foreign.bytes() },
		"own": func(i int) []byte {
			be.PutUint64(own.payload[48:], uint64(i+1))
			return own.bytes()
		},
	}
	const batch = 200
	spent := map[string]float64{"arp": math.Inf(1), "foreign": math.Inf(1), "own": math.Inf(1)}
	for i := range b.N {
		for kind, frame := range frames {
			before, _ := program.Stats()
			for j := range batch {
				run(frame(batch*i + j))
			}
			after, err := program.Stats()
			if err != nil || after.RunCount < before.RunCount+batch {
				b.Error(after, err)
				return
			}
			spent[kind] = min(spent[kind], float64(after.Runtime-before.Runtime)/float64(after.RunCount-before.RunCount))
		}
	}
	b.ReportMetric(spent["own"]-spent["arp"], "own-ns")
	b.ReportMetric(spent["foreign"]-spent["arp"], "foreign-ns")
	b.ReportMetric(spent["arp"], "floor-ns")
	b.ReportMetric(0, "ns/op")
}
