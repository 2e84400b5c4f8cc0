package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// The kernel's program and ShardOf agree, for both families, and short datagrams have a
// shard of their own.
func TestSteering(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		for n := 1; n <= 8; n++ {
			steerTo(t, netip.MustParseAddrPort(local), n)
		}
	}
}

// A port that the kernel chooses is nobody else's, however many groups there are.
func TestChosenPortsAreOwn(t *testing.T) {
	taken := map[netip.AddrPort]bool{}
	for range 500 {
		s := openTest(t, families[0].addr, func(o *Options) { o.ReusePort = true })
		second := openTest(t, families[0].addr, func(o *Options) { o.Local, o.ReusePort = s.Local(), true })
		if taken[s.Local()] || second.Local() != s.Local() {
			t.Fatalf("port %v was another group's; the second socket of this one has %v", s.Local(), second.Local())
		}
		taken[s.Local()] = true
	}
}

// steerTo sends datagrams of many senders to a group of n sockets.
func steerTo(t *testing.T, local netip.AddrPort, n int) {
	t.Helper()
	var group []*Socket
	for range n {
		s, err := Open(Options{Local: local, ReusePort: true})
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
	to, out := AddrFrom(local), NewSender()
	want := make([]int, n)
	const senders = 60
	for i := range uint64(senders) {
		id := i * 0x9E3779B97F4A7C15
		b := out.Next()
		binary.BigEndian.PutUint64(b[senderOffset:], id)
		out.Commit(128, &to)
		want[ShardOf(id, n)]++
	}
	out.Next()
	out.Commit(3, &to)
	want[0]++
	if sent := out.Flush(from); sent != senders+1 {
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
				if b := in.Datagram(j); len(b) > 24 && ShardOf(binary.BigEndian.Uint64(b[senderOffset:]), n) != i {
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
