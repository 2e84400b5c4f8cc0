package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// Tier is how far below the socket arrivals are seen.
type Tier uint8

const (
	Kernel Tier = iota // the kernel's own receive stamps; no program stamps
	Stamps             // a program stamps datagrams before the network stack has them
	Absorb             // a program takes heartbeats, which then reach no socket
)

var tierNames = [...]string{Kernel: "kernel", Stamps: "bpf", Absorb: "absorb"}

// String returns "kernel", "bpf" or "absorb".
func (t Tier) String() string { return nameOf(tierNames[:], uint8(t)) }

// ParseTier returns the tier that String calls name.
func ParseTier(name string) (Tier, error) {
	i := slices.Index(tierNames[:], name)
	if i < 0 {
		return 0, fmt.Errorf("bpf: tier %q is none of %s", name, strings.Join(tierNames[:], ", "))
	}
	return Tier(i), nil
}

// MarshalText returns String.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseTier.
func (t *Tier) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTier(string(text))
	return err
}

// Hook is a place in the kernel where a program sees the datagrams that arrive.
type Hook uint8

const (
	HookNone   Hook = iota // in Options: the best that works; in Status: no program is attached
	HookTCX                // ingress of an interface, beside other programs; kernel 6.6
	HookCgroup             // ingress of all sockets of a cgroup, whatever the interface
	HookXDP                // the driver of an interface, for one program alone
)

var hookNames = [...]string{HookNone: "none", HookTCX: "tcx", HookCgroup: "cgroup", HookXDP: "xdp"}

// String returns "none", "tcx", "cgroup" or "xdp".
func (h Hook) String() string { return nameOf(hookNames[:], uint8(h)) }

// MarshalText returns String.
func (h Hook) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText sets h to the hook that String calls text.
func (h *Hook) UnmarshalText(text []byte) error {
	i := slices.Index(hookNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("bpf: hook %q is none of %s", text, strings.Join(hookNames[:], ", "))
	}
	*h = Hook(i)
	return nil
}

// nameOf returns names[i], or a number if there is no such name.
func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown-%d", i)
}

// Options are what Open, Serve and Dial do. The zero value is usable: it stamps on all interfaces.
type Options struct {
	// Absorb takes heartbeats of watched peers below the sockets. Neither tcpdump nor netfilter nor
	// the counters of sockets see them then; Status.Counters does.
	Absorb bool
	// Peers is how many slots the table has. Peers in later slots stay with the kernel's stamps. 0 means
	// DefaultPeers; at most MaxPeers. A slot takes 192 bytes, with Absorb 960.
	Peers int
	// Interfaces are the names of the interfaces to attach to, present or not. Empty means those that have an
	// address, other than a link-local one, and those in XDP: the kernel takes 16 ms for each, and a host
	// of containers has hundreds. A program at a cgroup sees all interfaces, whatever is named here.
	Interfaces []string
	// XDP are the names of those interfaces where native XDP takes the place of tcx. Drivers may reset
	// the link when a program is attached. Where native XDP cannot be had, tcx is used.
	XDP []string
	// Cgroup is the directory of a cgroup of version 2 for HookCgroup. Empty means the root, as it is mounted.
	Cgroup string
	// Hook forces HookTCX or HookCgroup. HookNone means tcx, or the cgroup if the kernel has no tcx.
	Hook Hook
	// Logger gets failures, the end of a loader and, at the level Debug, where programs are attached. nil
	// means none.
	Logger *slog.Logger
}

const (
	DefaultPeers = 4096
	MaxPeers     = 1 << 20
)

// Validate returns all faults of the options, joined.
func (o *Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("bpf: Options."+format, args...)) }
	if o.Peers < 0 || o.Peers > MaxPeers {
		fault("Peers is %d, not 0 to %d", o.Peers, MaxPeers)
	}
	if o.Hook > HookCgroup {
		fault("Hook is %v, not none, tcx or cgroup; native XDP is for the interfaces named in XDP", o.Hook)
	}
	if o.Cgroup != "" && !filepath.IsAbs(o.Cgroup) {
		fault("Cgroup is %q, not an absolute path", o.Cgroup)
	}
	if o.Cgroup != "" && o.Hook == HookTCX {
		fault("Cgroup is set, but Hook forces tcx")
	}
	faults = append(faults, nameFaults("Interfaces", o.Interfaces)...)
	faults = append(faults, nameFaults("XDP", o.XDP)...)
	for _, name := range o.XDP {
		if len(o.Interfaces) > 0 && !slices.Contains(o.Interfaces, name) {
			fault("XDP names %q, which Interfaces does not", name)
		}
	}
	return errors.Join(faults...)
}

// maxInterfaceName is IFNAMSIZ less the terminating zero.
const maxInterfaceName = 15

// nameFaults returns what is wrong with a list of interface names.
func nameFaults(field string, names []string) (faults []error) {
	seen := make(map[string]bool)
	for _, name := range names {
		switch {
		case name == "" || len(name) > maxInterfaceName || strings.ContainsAny(name, "/: \t\n") || name == "." || name == "..":
			faults = append(faults, fmt.Errorf("bpf: Options.%s: %q cannot name an interface", field, name))
		case seen[name]:
			faults = append(faults, fmt.Errorf("bpf: Options.%s names %q twice", field, name))
		}
		seen[name] = true
	}
	return faults
}

// withDefaults returns the options with defaults in place of zeros.
func (o Options) withDefaults() Options {
	if o.Peers == 0 {
		o.Peers = DefaultPeers
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// names reports whether an interface is named.
func (o *Options) names(name string) bool {
	return slices.Contains(o.Interfaces, name) || slices.Contains(o.XDP, name)
}

// wants reports whether Interfaces covers an interface.
func (o *Options) wants(name string) bool {
	return len(o.Interfaces) == 0 || slices.Contains(o.Interfaces, name)
}
