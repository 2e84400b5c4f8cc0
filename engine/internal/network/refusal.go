package network

// Refusal is why this host did not send a datagram. Each socket layer translates the errors
// of its system.
type Refusal uint8

// The refusals. All but Sent and Foreign are faults of this host.
const (
	Sent         Refusal = iota // it was sent
	NoBuffer                    // a buffer or the interface's queue is full
	NoRoute                     // no route to the address (ENETUNREACH)
	Unreachable                 // the route is unreachable, or the address does not resolve (EHOSTUNREACH)
	NoAddress                   // the local address is gone (EADDRNOTAVAIL)
	LinkFailed                  // the interface is down or gone
	NotPermitted                // a local firewall (EPERM)
	Prohibited                  // a route that prohibits, or a policy (EACCES)
	TooBig                      // longer than the path's MTU (EMSGSIZE)
	Refused                     // any other reason on this host
	Foreign                     // an error of an earlier datagram, or of the socket

	refusals
)

// String returns a few words.
func (r Refusal) String() string {
	return [...]string{
		"sent", "no buffer", "no route", "unreachable", "no address", "link failed", "not permitted", "prohibited",
		"too big", "refused", "foreign", "unknown",
	}[min(r, refusals)]
}
