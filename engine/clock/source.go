package clock

// Source is where an arrival was stamped. The further down, the less of the receiver's own delay is in
// the stamp.
type Source uint8

// The sources. Recordings keep these values.
const (
	User   Source = iota // no stamp: the instant at which the loop read the datagram
	Kernel               // the kernel's network stack
	NIC                  // the network adapter
	BPF                  // a BPF program between the adapter and the socket; the last one
)

// String returns "user", "kernel", "nic" or "bpf".
func (s Source) String() string {
	return [...]string{User: "user", Kernel: "kernel", NIC: "nic", BPF: "bpf", BPF + 1: "unknown"}[min(s, BPF+1)]
}

// Stamp is an instant and where it was taken.
type Stamp struct {
	At     Instant
	Source Source
}
