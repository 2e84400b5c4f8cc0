package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"systole/bpf"
	"systole/cmd/systole/internal/privilege"
	"systole/engine"
)

// stampOptions are the flags that choose where heartbeats are stamped, and whether they are taken below
// the sockets.
type stampOptions struct {
	hookOptions
	tier   string
	loader string
}

// hookOptions are the flags that say where programs are attached.
type hookOptions struct {
	interfaces []string
	xdp        []string
}

// registerHooks adds the flags to cmd.
func (o *hookOptions) registerHooks(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.interfaces, "stamps-on", nil, "network interface where programs stamp; may be repeated (default: each that has an address, also later ones)")
	f.StringSliceVar(&o.xdp, "xdp", nil, "network interface whose driver runs the program, by native XDP; attaching it may reset the link; may be repeated")
}

// The values of --stamps.
const (
	stampsAuto   = "auto"
	stampsKernel = "kernel"
	stampsBPF    = "bpf"
	stampsAbsorb = "absorb"
	stampsNIC    = "nic"
)

// registerStamps adds the flags to cmd.
func (o *stampOptions) registerStamps(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.tier, "stamps", stampsAuto, "where arrivals are stamped: kernel, the network stack; bpf, a program before that, which also tells when drivers take heartbeats; absorb, which takes heartbeats as well, so that they wake no loop; nic, the network adapter; auto means bpf if it works, else kernel")
	o.registerHooks(cmd)
	f.StringVar(&o.loader, "stamps-from", "", "Unix socket `PATH` of systole loader, which loads the programs: this process then needs no privilege")
}

// stamping is the programs that stamp and take heartbeats for an engine.
type stamping struct {
	source *bpf.Source // nil: the kernel stamps
	why    error       // why the kernel stamps though programs were to
	drop   bool        // capabilities, when the engine has started
}

// open loads the programs, or has the loader do that, and sets cfg.Arrivals.
func (o *stampOptions) open(cfg *engine.Config, log *slog.Logger) (*stamping, error) {
	if err := errors.Join(o.validate(), cfg.Validate()); err != nil {
		return nil, err // before anything is loaded
	}
	s := &stamping{drop: o.loader == ""}
	if o.tier == stampsKernel {
		return s, nil
	}
	if o.tier == stampsNIC {
		return nil, errNIC
	}
	var err error
	options := bpf.Options{Absorb: o.tier == stampsAbsorb, Peers: tablePeers(cfg), Logger: log}
	if o.loader != "" {
		s.source, err = bpf.Dial(o.loader, options)
	} else {
		options.Interfaces, options.XDP = o.interfaces, o.xdp
		s.source, err = bpf.Open(options)
	}
	if err == nil && s.source.Status().Tier == bpf.Kernel && o.tier != stampsAuto {
		err = errors.Join(fmt.Errorf("no program stamps: %w", s.source.Status().Limit), s.source.Close())
	}
	switch {
	case err == nil:
		cfg.Arrivals = s.source
	case o.tier == stampsAuto && o.loader == "":
		s.source, s.why = nil, err
	default:
		return nil, fmt.Errorf("--stamps %s: %w", o.tier, err)
	}
	return s, nil
}

// errNIC says why --stamps nic is refused.
var errNIC = errors.New("--stamps nic: adapters whose clock can be read are not supported, because none was at hand to test with; systole doctor names those of this host; --stamps bpf is the next best")

// validate returns the first fault of the flags.
func (o *stampOptions) validate() error {
	tiers := []string{stampsAuto, stampsKernel, stampsBPF, stampsAbsorb, stampsNIC}
	if !slices.Contains(tiers, o.tier) {
		return fmt.Errorf("--stamps %q: want one of %s", o.tier, strings.Join(tiers, ", "))
	}
	programs := o.tier != stampsKernel && o.tier != stampsNIC
	switch {
	case !programs && (len(o.interfaces) > 0 || len(o.xdp) > 0 || o.loader != ""):
		return fmt.Errorf("--stamps-on, --xdp and --stamps-from are for programs, which --stamps %s does not load", o.tier)
	case o.loader != "" && (len(o.interfaces) > 0 || len(o.xdp) > 0):
		return errors.New("--stamps-on and --xdp are flags of systole loader, and exclude --stamps-from")
	}
	return nil
}

// tablePeers returns the number of slots that the programs know: more than the peers that are given and
// admitted.
func tablePeers(cfg *engine.Config) int {
	return min(max(leastSlots, 2*(cfg.ExpectedPeers+cfg.Accept.Max)), bpf.MaxPeers)
}

// leastSlots is how many slots the programs know at least.
const leastSlots = 4096

// started tells the programs the ports of the engine, as many as they can know, and gives up the capabilities that loading them took.
// The kernel asks for none to attach a loaded program to an interface that comes later.
func (s *stamping) started(e *engine.Engine) error {
	if s.source == nil {
		return nil
	}
	var ports []uint16
	for _, a := range e.Addrs() {
		if !slices.Contains(ports, a.Port()) && len(ports) < bpf.MaxPorts {
			ports = append(ports, a.Port())
		}
	}
	if err := s.source.SetPorts(ports...); err != nil {
		return err
	}
	if s.drop {
		return privilege.Drop()
	}
	return nil
}

// close detaches the programs. The engine must be closed.
func (s *stamping) close() error {
	if s.source == nil {
		return nil
	}
	return s.source.Close()
}

// jsonStamps says where arrivals are stamped.
type jsonStamps struct {
	Tier   string      `json:"tier"`
	Reason string      `json:"reason,omitempty"` // why the tier is not the one that was asked for
	BPF    *bpf.Status `json:"bpf,omitempty"`
}

// report returns where arrivals are stamped.
func (s *stamping) report() jsonStamps {
	if s.source == nil {
		return jsonStamps{Tier: stampsKernel, Reason: textOf(s.why)}
	}
	status := s.source.Status()
	r := jsonStamps{Tier: string(status.Tier), BPF: &status}
	switch {
	case status.Loader != nil:
		r.Reason = status.Loader.Error()
	case status.Limit != nil:
		r.Reason = status.Limit.Error()
	}
	return r
}

// textOf returns the text of an error, "" for nil.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// String returns the report for people, such as "bpf: tcx on lo, eth0; hand-offs; 120 stamped".
func (r jsonStamps) String() string {
	text := r.Tier
	if r.BPF != nil {
		text += ": " + describeBPF(r.BPF)
	}
	if r.Reason != "" {
		text += "; no better because of " + r.Reason
	}
	return text
}

// describeBPF says what the programs do.
func describeBPF(s *bpf.Status) string {
	var parts []string
	for _, hook := range []string{"xdp", "tcx", "cgroup"} {
		var names []string
		for _, i := range s.Interfaces {
			if i.Hook == hook {
				names = append(names, i.Name)
			}
		}
		if len(names) > 0 {
			parts = append(parts, fmt.Sprintf("%s on %s", hook, strings.Join(names, ", ")))
		}
	}
	for _, i := range s.Interfaces {
		if i.Err != nil {
			parts = append(parts, i.Err.Error())
		}
	}
	if s.HandOffs {
		parts = append(parts, "hand-offs")
	} else if s.HandOffError != nil {
		parts = append(parts, "no hand-offs because of "+s.HandOffError.Error())
	}
	c := &s.Counters
	parts = append(parts, fmt.Sprintf("%d stamped, %d handed off", c.Stamped, c.HandedOff))
	if s.Tier == bpf.Absorb || c.Taken > 0 {
		parts = append(parts, fmt.Sprintf("%d taken, which tcpdump, netfilter and the sockets do not see", c.Taken))
	}
	return strings.Join(parts, "; ")
}
