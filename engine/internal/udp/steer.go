//go:build linux

package udp

import (
	"strconv"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Each socket of a SO_REUSEPORT group belongs to one shard, and a datagram goes to the
// shard that network.ShardOf returns for the slot in its discriminator. The kernel decides by a
// classic BPF program, which needs no privilege (socket(7), SO_ATTACH_REUSEPORT_CBPF) and
// sees the datagram from its first payload byte.

const (
	// discriminatorOffset is the offset of the receiver's discriminator in a datagram: 64
	// bits, big-endian, 0 while the sender does not know it.
	discriminatorOffset = 16
	// slotMask selects the slot in a discriminator.
	slotMask = 1<<20 - 1
)

// steering returns network.ShardOf for n shards as a program. If a datagram is too short to have a
// discriminator, the load fails and the program returns 0.
func steering(n int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: discriminatorOffset + 4, Size: 4}, // the low 32 bits
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: slotMask},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(n)},
		bpf.RetA{},
	}
}

// AttachSteering steers the datagrams of a group: sockets bound with ReusePort to one
// address, in the order of their shards, which must be the order in which they were
// opened. It returns an *Error.
func AttachSteering(group []*Socket) error {
	if len(group) < 2 {
		return nil // there is no choice
	}
	op := "steer datagrams to " + strconv.Itoa(len(group)) + " sockets"
	program, err := bpf.Assemble(steering(len(group)))
	if err != nil {
		return failed(op, err, "")
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(group[0].fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &prog)
	return failed(op, err, "it needs Linux 4.5, and sockets bound with ReusePort")
}
