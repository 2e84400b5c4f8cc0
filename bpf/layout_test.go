package bpf

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"systole/wire"
)

// specs calls f with each object whose programs use the table, of both byte orders.
func specs(t *testing.T, f func(t *testing.T, spec *ebpf.CollectionSpec)) {
	for _, name := range []string{"stamps", "absorb", "handoff"} {
		for _, order := range []string{"el", "eb"} {
			t.Run(name+"/"+order, func(t *testing.T) {
				spec, err := ebpf.LoadCollectionSpec(name + "_bpf" + order + ".o")
				if err != nil {
					t.Fatal(err)
				}
				f(t, spec)
			})
		}
	}
}

// The constants that the objects were compiled with are those of package wire.
func TestConstantsAreThoseOfWire(t *testing.T) {
	b := encode(t, wire.Header{MyDiscriminator: 1, Sender: 1, Incarnation: 1, Sequence: 1, Period: 1}, nil)
	want := map[string]uint64{
		"MAGIC": uint64(be.Uint32(b)), "VERSION": uint64(b[4]), "KIND_HEARTBEAT": uint64(b[5]),
		"FLAG_FOLLOW_UP": uint64(wire.FlagFollowUp), "SLOT_BITS": wire.SlotBits,
		"HEADER_SIZE": wire.HeaderSize, "MAX_SIZE": wire.MaxSize,
	}
	specs(t, func(t *testing.T, spec *ebpf.CollectionSpec) {
		var constants *btf.Enum
		if err := spec.Types.TypeByName("wire", &constants); err != nil {
			t.Fatal(err)
		}
		if len(constants.Values) != len(want) {
			t.Errorf("%d constants, want %d", len(constants.Values), len(want))
		}
		for _, v := range constants.Values {
			if w, ok := want[v.Name]; !ok || v.Value != w {
				t.Errorf("%s is %#x, want %#x", v.Name, v.Value, w)
			}
		}
	})
}

// The fields of the datagram lie where package wire writes them.
func TestFieldsAreWhereWireWritesThem(t *testing.T) {
	h := wire.Header{
		Flags: wire.FlagLeaving | wire.FlagSolicit, KeyID: 0xa1a2a3a4,
		YourDiscriminator: 0xb1b2b3b4b5b6b7b8, MyDiscriminator: 0xc1c2c3c4c5c6c7c8, Sender: 0xd1d2d3d4d5d6d7d8,
		Incarnation: 0x71e2e3e4e5e6e7e8, Sequence: 0x71f2f3f4f5f6f7f8, Period: 1,
	}
	b := encode(t, h, []byte{0x01, 0x02, 0, 0})
	offset := func(size int, v uint64) int {
		field := be.AppendUint64(nil, v)[8-size:]
		if n := bytes.Count(b, field); n != 1 {
			t.Fatalf("%x is %d times in %x", field, n, b)
		}
		return bytes.Index(b, field)
	}
	want := map[string]int{
		"magic": offset(4, 0x53595354), "version": 4, "kind": 5, "flags": offset(2, uint64(h.Flags)),
		"length": offset(2, uint64(len(b))), "message_bytes": 10, "key_id": offset(4, uint64(h.KeyID)),
		"yours": offset(8, h.YourDiscriminator), "mine": offset(8, h.MyDiscriminator),
		"sender": offset(8, h.Sender), "incarnation": offset(8, h.Incarnation), "sequence": offset(8, h.Sequence),
		"rest": offset(8, h.Sequence) + 8,
	}
	if b[4] != 1 || b[5] != 1 || be.Uint16(b[10:]) != 4 {
		t.Fatalf("%x", b)
	}
	if want["yours"] != wire.DiscriminatorOffset {
		t.Errorf("your discriminator is at %d", want["yours"])
	}
	specs(t, func(t *testing.T, spec *ebpf.CollectionSpec) {
		compare(t, spec, "header", wire.HeaderSize, want)
	})
}

// compare compares a structure of C with a size and the offsets of its fields.
func compare[T int | uintptr](t *testing.T, spec *ebpf.CollectionSpec, name string, size uintptr, want map[string]T) {
	t.Helper()
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatal(err)
	}
	if uintptr(s.Size) != size {
		t.Errorf("struct %s has %d bytes, want %d", name, s.Size, size)
	}
	found := 0
	for _, m := range s.Members {
		if strings.HasPrefix(m.Name, "spare") {
			continue
		}
		found++
		if w, ok := want[m.Name]; !ok || uint64(m.Offset.Bytes()) != uint64(w) {
			t.Errorf("struct %s has %s at %d, want %d", name, m.Name, m.Offset.Bytes(), w)
		}
	}
	if found != len(want) {
		t.Errorf("struct %s has %d fields, want %d", name, found, len(want))
	}
}

// The structures of the table are the same in C and in Go.
func TestTableIsTheSameInGo(t *testing.T) {
	type offsets = map[string]uintptr
	var c control
	var s slot
	var o handOff
	var r ring
	var h taken
	var n counted
	specs(t, func(t *testing.T, spec *ebpf.CollectionSpec) {
		compare(t, spec, "control", unsafe.Sizeof(c), offsets{"ports": unsafe.Offsetof(c.ports), "xdp": unsafe.Offsetof(c.xdp)})
		compare(t, spec, "peer", unsafe.Sizeof(s), offsets{
			"ours": unsafe.Offsetof(s.ours), "theirs": unsafe.Offsetof(s.theirs),
			"handed":     unsafe.Offsetof(s.handed),
			"arrived_at": unsafe.Offsetof(s.arrivedAt), "arrived": unsafe.Offsetof(s.arrived),
		})
		compare(t, spec, "hand_off", unsafe.Sizeof(o), offsets{"at": unsafe.Offsetof(o.at), "sequence": unsafe.Offsetof(o.sequence)})
		compare(t, spec, "ring", unsafe.Sizeof(r), offsets{
			"head": unsafe.Offsetof(r.head), "tail": unsafe.Offsetof(r.tail), "claim": unsafe.Offsetof(r.claim),
			"theirs": unsafe.Offsetof(r.theirs), "last": unsafe.Offsetof(r.last), "entry": unsafe.Offsetof(r.heartbeats),
		})
		compare(t, spec, "taken", unsafe.Sizeof(h), offsets{
			"arrival": unsafe.Offsetof(h.arrival), "from": unsafe.Offsetof(h.from), "port": unsafe.Offsetof(h.port),
			"header": unsafe.Offsetof(h.header),
		})
		compare(t, spec, "counters", unsafe.Sizeof(n), offsets{
			"seen": unsafe.Offsetof(n.seen), "stamped": unsafe.Offsetof(n.stamped), "taken": unsafe.Offsetof(n.taken),
			"full": unsafe.Offsetof(n.full), "stale": unsafe.Offsetof(n.stale), "doubtful": unsafe.Offsetof(n.doubtful),
			"handed_off": unsafe.Offsetof(n.handedOff),
		})
		if got := arrayLength(t, spec, "control", "ports"); got != MaxPorts {
			t.Errorf("%d ports, want %d", got, MaxPorts)
		}
		if got := arrayLength(t, spec, "ring", "entry"); got != room {
			t.Errorf("%d heartbeats in a ring, want %d", got, room)
		}
	})
}

// arrayLength returns how many elements a field of a structure has.
func arrayLength(t *testing.T, spec *ebpf.CollectionSpec, name, field string) int {
	t.Helper()
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Members {
		if array, ok := m.Type.(*btf.Array); ok && m.Name == field {
			return int(array.Nelems)
		}
	}
	t.Fatalf("struct %s has no array %s", name, field)
	return 0
}

// The maps have the values of the table, and can be mapped.
func TestMapsAreOfTheTable(t *testing.T) {
	sizes := map[string]uintptr{
		"control": unsafe.Sizeof(control{}), "peers": unsafe.Sizeof(slot{}),
		"rings": unsafe.Sizeof(ring{}), "counters": unsafe.Sizeof(counted{}),
	}
	const mmapable = 1 << 10
	specs(t, func(t *testing.T, spec *ebpf.CollectionSpec) {
		for name, size := range sizes {
			m := spec.Maps[name]
			if m.Type != ebpf.Array || m.Flags != mmapable || uintptr(m.ValueSize) != size {
				t.Errorf("%v, want values of %d bytes", m, size)
			}
		}
		if m := spec.Maps["counters"]; m.MaxEntries != processors {
			t.Errorf("%d lines of counters, want %d", m.MaxEntries, processors)
		}
	})
}

// The objects name no directory of the machine that they were compiled on, and have no DWARF.
func TestObjectsAreReproducible(t *testing.T) {
	files, err := filepath.Glob("*_bpfe?.o")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"/root", "/home", "/work", "/tmp", "/usr", ".debug_info"} {
			if bytes.Contains(b, []byte(part)) {
				t.Errorf("%s contains %q", file, part)
			}
		}
	}
}
