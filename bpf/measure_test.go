package bpf

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"systole/wire"
)

// measured loads the programs that measure.
func measured(t testing.TB) *measureObjects {
	t.Helper()
	needBPF(t)
	o := new(measureObjects)
	if err := loadMeasureObjects(o, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// siphash is SipHash-2-4 if words are little-endian.
func siphash(order binary.ByteOrder, key [2]uint64, message []byte) uint64 {
	v := [4]uint64{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573}
	round := func() {
		v[0] += v[1]
		v[2] += v[3]
		v[1], v[3] = bits.RotateLeft64(v[1], 13)^v[0], bits.RotateLeft64(v[3], 16)^v[2]
		v[0] = bits.RotateLeft64(v[0], 32)
		v[2] += v[1]
		v[0] += v[3]
		v[1], v[3] = bits.RotateLeft64(v[1], 17)^v[2], bits.RotateLeft64(v[3], 21)^v[0]
		v[2] = bits.RotateLeft64(v[2], 32)
	}
	whole := len(message) / 8 * 8
	absorb := func(m uint64) {
		v[3] ^= m
		round()
		round()
		v[0] ^= m
	}
	for block := range slices.Chunk(message[:whole], 8) {
		absorb(order.Uint64(block))
	}
	last := make([]byte, 8)
	copy(last, message[whole:])
	absorb(order.Uint64(last) | uint64(len(message))<<56)
	v[2] ^= 0xff
	for range 4 {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// siphashValue is the structure of c/measure.c.
type siphashValue struct{ Key0, Key1, Tag uint64 }

// deadlineValue is the structure of c/measure.c.
type deadlineValue struct {
	Last, Armed, Timeout, Expired uint64
	Timer                         [2]uint64
}

// The program computes SipHash. The vector is that of the paper, appendix A.
func TestMeasuredSipHash(t *testing.T) {
	key := [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	message := make([]byte, wire.HeaderSize)
	for i := range message {
		message[i] = byte(i)
	}
	if got := siphash(binary.LittleEndian, key, message[:15]); got != 0xa129ca6149be45e5 {
		t.Fatalf("%#x", got)
	}
	o := measured(t)
	if err := o.Siphashes.Put(uint32(0), siphashValue{key[0], key[1], 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.MeasureSiphash.Run(&ebpf.RunOptions{Data: message}); err != nil {
		t.Fatal(err)
	}
	var got siphashValue
	if err := o.Siphashes.Lookup(uint32(0), &got); err != nil {
		t.Fatal(err)
	}
	if want := siphash(binary.NativeEndian, key, message); got.Tag != want {
		t.Errorf("%#x, want %#x", got.Tag, want)
	}
}

// What a second tag and a deadline in the kernel would cost per packet.
func BenchmarkNotBuilt(b *testing.B) {
	o := measured(b)
	frame := make([]byte, wire.HeaderSize)
	if err := o.Deadlines.Put(uint32(0), deadlineValue{Timeout: uint64(time.Second)}); err != nil {
		b.Fatal(err)
	}
	for _, m := range []struct {
		name    string
		program *ebpf.Program
	}{
		{"nothing", o.MeasureNothing}, {"siphash", o.MeasureSiphash},
		{"deadline/lazy", o.MeasureLazy}, {"deadline/eager", o.MeasureEager},
	} {
		b.Run(m.name, func(b *testing.B) {
			_, each, err := m.program.Benchmark(frame, b.N, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each), "ns/op")
		})
	}
	b.Run("deadline/late", func(b *testing.B) { benchmarkDeadline(b, o) })
}

// benchmarkDeadline reports how late deadlines expire.
func benchmarkDeadline(b *testing.B, o *measureObjects) {
	const timeout = 3 * time.Millisecond
	var late []float64
	for range b.N {
		if err := o.Deadlines.Put(uint32(0), deadlineValue{Timeout: uint64(timeout)}); err != nil {
			b.Fatal(err)
		}
		for range 2 { // the second leaves the timer as it is
			if _, err := o.MeasureLazy.Run(&ebpf.RunOptions{Data: make([]byte, wire.HeaderSize)}); err != nil {
				b.Fatal(err)
			}
			time.Sleep(timeout / 3)
		}
		var d deadlineValue
		for d.Expired == 0 {
			time.Sleep(timeout)
			if err := o.Deadlines.Lookup(uint32(0), &d); err != nil {
				b.Fatal(err)
			}
		}
		late = append(late, float64(d.Expired-d.Last-uint64(timeout))/1e3)
	}
	slices.Sort(late)
	b.ReportMetric(late[len(late)/2], "p50-µs")
	b.ReportMetric(late[len(late)*99/100], "p99-µs")
	b.ReportMetric(0, "ns/op")
}
