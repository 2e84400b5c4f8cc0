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
type Tier string

const (
	Kernel Tier = "kernel" // the kernel's own receive stamps; no program stamps
	Stamps Tier = "bpf"    // a program stamps datagrams before the network stack has them
	Absorb Tier = "absorb" // a program takes heartbeats, which then reach no socket
)

// The hooks: places in the kernel where a program sees the datagrams that arrive.
const (
	hookNone   = "none"   // no program is attached
	hookTCX    = "tcx"    // ingress of an interface, beside other programs; kernel 6.6
	hookCgroup = "cgroup" // ingress of all sockets of a cgroup, whatever the interface
	hookXDP    = "xdp"    // the driver of an interface, for one program alone
)

// Options are what Open, Serve and Dial do. The zero value is usable: it stamps on all interfaces.
type Options struct {
	// Absorb takes heartbeats of watched peers below the sockets. Neither tcpdump nor netfilter nor
	// the counters of sockets see them then; Status.Counters does.
	Absorb bool
	// Peers is how many slots the table has. Peers in later slots stay with the kernel's stamps. 0 means
	// 4096; at most MaxPeers. A slot takes 192 bytes, with Absorb 960.
	Peers int
	// Interfaces are the names of the interfaces to attach to, present or not. Empty means those that have an
	// address, other than a link-local one, and those in XDP: the kernel takes 16 ms for each, and a host
	// of containers has hundreds. A program at a cgroup sees all interfaces, whatever is named here.
	Interfaces []string
	// XDP are the names of those interfaces where native XDP takes the place of tcx. Drivers may reset
	// the link when a program is attached. Where native XDP cannot be had, tcx is used.
	XDP []string
	// Cgroup is the directory of a cgroup of version 2 for the hook cgroup. Empty means the root, as it is mounted.
	Cgroup string
	// Hook forces "tcx", the ingress of interfaces, or "cgroup", the ingress of the cgroup's sockets. Empty
	// means tcx, or the cgroup if the kernel has no tcx, as it has from 6.6 on.
	Hook string
	// Logger gets failures, the end of a loader and, at the level Debug, where programs are attached. nil
	// means none.
	Logger *slog.Logger
}

// MaxPeers is the greatest Options.Peers.
const MaxPeers = 1 << 20

const defaultPeers = 4096

// Validate returns all faults of the options, joined.
func (o *Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("bpf: Options."+format, args...)) }
	if o.Peers < 0 || o.Peers > MaxPeers {
		fault("Peers is %d, not 0 to %d", o.Peers, MaxPeers)
	}
	if o.Hook != "" && o.Hook != hookTCX && o.Hook != hookCgroup {
		fault("Hook is %q, not tcx or cgroup; native XDP is for the interfaces named in XDP", o.Hook)
	}
	if o.Cgroup != "" && !filepath.IsAbs(o.Cgroup) {
		fault("Cgroup is %q, not an absolute path", o.Cgroup)
	}
	if o.Cgroup != "" && o.Hook == hookTCX {
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
		o.Peers = defaultPeers
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
