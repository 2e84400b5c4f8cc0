package udp

import "golang.org/x/sys/unix"

// SendFault is why this host, not the network or the other end, did not send a datagram.
type SendFault uint8

// The faults of sending, by what the kernel says of the datagram.
const (
	FaultNone            SendFault = iota
	FaultNoRoute                   // ENETUNREACH: no route leads there
	FaultHostUnreachable           // EHOSTUNREACH: a route says unreachable, or there is none (IPv6)
	FaultProhibited                // EACCES: a route prohibits it, or it is a broadcast address
	FaultNotPermitted              // EPERM: the local firewall, or a security module, drops it
	FaultAddressGone               // EADDRNOTAVAIL: the local address is not this host's any more
	FaultLinkDown                  // ENETDOWN: the interface is down
	FaultNoDevice                  // ENODEV, ENXIO: the interface is gone
	FaultInvalid                   // EINVAL: no such datagram can leave from the local address, or a blackhole route
	FaultTooBig                    // EMSGSIZE: longer than the interface or the path takes
	FaultNoBuffer                  // ENOBUFS, ENOMEM: the interface's queue is full; it passes
	FaultSendBuffer                // EAGAIN: the socket's buffer is full; it passes
	FaultFamily                    // EAFNOSUPPORT: the socket is of the other family
	FaultIsolated                  // ENONET: the host is cut off from the network
	faults
)

// faultNames are in the order of the constants.
var faultNames = [faults]string{
	"none", "no-route", "host-unreachable", "prohibited", "not-permitted", "address-gone", "link-down",
	"no-device", "invalid", "too-big", "no-buffer", "send-buffer-full", "wrong-family", "isolated",
}

// String returns the name, for instance "no-route".
func (f SendFault) String() string {
	if f < faults {
		return faultNames[f]
	}
	return "unknown"
}

// Passing reports whether the fault says nothing of the way: the next datagram may go.
func (f SendFault) Passing() bool { return f == FaultNoBuffer || f == FaultSendBuffer }

// SendFaultOf classifies what Sender.Err or network.Network.Refusal returned. FaultNone
// means that the errno is no fault of this host's: it announces what the network returned
// of an earlier datagram, or is a fault of the socket. Errnos that an ICMP error can be
// as well are the datagram's own after Flush, which tries again past announcements.
func SendFaultOf(errno unix.Errno) SendFault {
	switch errno {
	case unix.ENETUNREACH:
		return FaultNoRoute
	case unix.EHOSTUNREACH:
		return FaultHostUnreachable
	case unix.EACCES:
		return FaultProhibited
	case unix.EPERM:
		return FaultNotPermitted
	case unix.EADDRNOTAVAIL:
		return FaultAddressGone
	case unix.ENETDOWN:
		return FaultLinkDown
	case unix.ENODEV, unix.ENXIO:
		return FaultNoDevice
	case unix.EINVAL:
		return FaultInvalid
	case unix.EMSGSIZE:
		return FaultTooBig
	case unix.ENOBUFS, unix.ENOMEM:
		return FaultNoBuffer
	case unix.EAGAIN:
		return FaultSendBuffer
	case unix.EAFNOSUPPORT:
		return FaultFamily
	case unix.ENONET:
		return FaultIsolated
	}
	return FaultNone
}

// LocalFault reports whether errno is a fault of this host's: what it refused was not sent.
func LocalFault(errno unix.Errno) bool { return SendFaultOf(errno) != FaultNone }
