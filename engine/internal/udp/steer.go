package udp

import (
	"strconv"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Steering: the sockets of a SO_REUSEPORT group each belong to one shard, and a datagram
// goes to the shard that ShardOf names for its sender. The kernel decides by a classic
// BPF program, which needs no privilege (socket(7), SO_ATTACH_REUSEPORT_CBPF) and sees
// the datagram from its first payload byte.

// senderOffset is where a datagram has its sender's id.
const senderOffset = 16

// steerFactor is a multiplier for Fibonacci hashing of 32 bits: odd, near 2³²/φ.
const steerFactor = 0x9E3779B1

// ShardOf returns the shard, 0 to n-1, on which the heartbeats of sender arrive. Any
// goroutine may call it.
func ShardOf(sender uint64, n int) int {
	h := uint32(sender>>32) ^ uint32(sender)
	return int(h * steerFactor >> 16 % uint32(n))
}

// steering returns ShardOf for n shards as a program. A datagram too short to have a
// sender makes the load fail, and the program then returns 0.
func steering(n int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: senderOffset, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: senderOffset + 4, Size: 4},
		bpf.ALUOpX{Op: bpf.ALUOpXor},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: steerFactor},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(n)},
		bpf.RetA{},
	}
}

// AttachSteering steers the datagrams of a group: sockets bound with ReusePort to one
// address, in the order of their shards, which must be the order in which they were
// opened. It returns an *Error.
func AttachSteering(group []*Socket) error {
	if len(group) < 2 {
		return nil // to the only one
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
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(group[0].fd), unix.SOL_SOCKET,
		unix.SO_ATTACH_REUSEPORT_CBPF, uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0)
	if errno != 0 {
		return failed(op, errno, "it needs Linux 4.5, and sockets bound with ReusePort")
	}
	return nil
}
