//go:build linux

package udp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// The program in the kernel and ShardOf agree for both families. Short datagrams go to the
// first shard.
func TestSteering(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		for n := 1; n <= 8; n++ {
			steerTo(t, netip.MustParseAddrPort(local), n)
		}
	}
}

// The kernel chooses no port that another group has.
func TestChosenPortsAreUnique(t *testing.T) {
	taken := map[netip.AddrPort]bool{}
	for range 500 {
		s := openTest(t, families[0].addr, func(o *Options) { o.ReusePort = true })
		second := openTest(t, families[0].addr, func(o *Options) { o.Local, o.Join = s.Local(), true })
		if taken[s.Local()] || second.Local() != s.Local() {
			t.Fatalf("port %v belongs to another group; the second socket of this one has %v", s.Local(), second.Local())
		}
		taken[s.Local()] = true
	}
}

// shardOf returns the shard of a discriminator.
func shardOf(d uint64, n int) int { return network.ShardOf(uint32(d)&slotMask, n) }

// A datagram without a discriminator goes to the first shard.
func TestNoDiscriminatorIsFirstShard(t *testing.T) {
	for n := 1; n <= 8; n++ {
		if s := network.ShardOf(0, n); s != 0 {
			t.Errorf("%d shards: %d", n, s)
		}
	}
}

// A port that a socket has is refused to the first socket of every group, in whatever
// order groups and lone sockets come, and for wildcard and specific addresses alike.
func TestHeldPortsAreRefused(t *testing.T) {
	for _, f := range families {
		wildcard := netip.IPv4Unspecified()
		if f.addr.Is6() {
			wildcard = netip.IPv6Unspecified()
		}
		for _, first := range []bool{false, true} {
			for _, held := range []netip.Addr{f.addr, wildcard} {
				s := openTest(t, held, func(o *Options) { o.ReusePort = first })
				for _, second := range []bool{false, true} {
					for _, wanted := range []netip.Addr{f.addr, wildcard} {
						local := netip.AddrPortFrom(wanted, s.Local().Port())
						other, err := Open(Options{Local: local, ReusePort: second})
						if !errors.Is(err, unix.EADDRINUSE) {
							t.Errorf("%v, sharing %v: %v, sharing %v, is bound as well: %v", s.Local(), first, local, second, err)
						}
						if err == nil {
							other.Close()
						}
					}
				}
			}
		}
	}
}

// steerTo sends datagrams with many discriminators to a group of n sockets.
func steerTo(t *testing.T, local netip.AddrPort, n int) {
	t.Helper()
	var group []*Socket
	for i := range n {
		s, err := Open(Options{Local: local, ReusePort: true, Join: i > 0})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		local = s.Local()
		group = append(group, s)
	}
	if err := AttachSteering(group); err != nil {
		t.Fatal(err)
	}
	from, err := Open(Options{Local: netip.AddrPortFrom(local.Addr(), 0)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	to, out := network.AddrFrom(local), NewSender()
	want := make([]int, n)
	const discriminators = 60
	for i := range uint64(discriminators) {
		d := i * 0x9E3779B97F4A7C15 // 0 is unknown
		b := out.Next()
		binary.BigEndian.PutUint64(b[discriminatorOffset:], d)
		out.Commit(128, &to)
		want[shardOf(d, n)]++
	}
	out.Next()
	out.Commit(3, &to)
	want[0]++
	if sent := out.Flush(from); sent != discriminators+1 {
		t.Fatalf("%d sent", sent)
	}
	in := NewReceiver()
	for i, s := range group {
		got := 0
		for deadline := time.Now().Add(time.Second); got < want[i] && time.Now().Before(deadline); {
			k, err := in.Recv(s)
			if err != nil {
				t.Fatal(err)
			}
			for j := range k {
				if b := in.Datagram(j); len(b) > 24 && shardOf(binary.BigEndian.Uint64(b[discriminatorOffset:]), n) != i {
					t.Errorf("%v, %d shards: a datagram for another shard on %d", local, n, i)
				}
			}
			got += k
		}
		if got != want[i] {
			t.Errorf("%v, %d shards: shard %d got %d datagrams, want %d", local, n, i, got, want[i])
		}
	}
}
