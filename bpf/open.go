package bpf

import (
	"errors"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
)

// Open loads programs into the kernel and attaches them in the network namespace of the calling thread.
// It needs CAP_BPF and CAP_NET_ADMIN; absorption, native XDP and hand-offs need CAP_PERFMON besides. All may
// be dropped afterwards, also if interfaces come later. Open fails if neither arrivals nor hand-offs can be
// seen, and what else does not work is in Status. The error is of Validate, or it is an *Error.
func Open(o Options) (*Source, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	namespace, err := netns.Get()
	if err != nil {
		return nil, failed("find the network namespace", err)
	}
	defer func() { _ = namespace.Close() }()
	l, err := newLoader(o.withDefaults(), namespace)
	if err != nil {
		return nil, err
	}
	return &Source{table: l.table, owner: l}, nil
}

// Close detaches the programs. An engine that uses s must be closed before.
func (s *Source) Close() error {
	return s.owner.close()
}

// Status returns what s does. Any goroutine may call it, until Close. A Source of Dial asks the loader,
// which may take a second.
func (s *Source) Status() Status {
	status := s.owner.status()
	status.Counters = s.table.count()
	return status
}

// owner keeps programs in the kernel: this process, or a loader that Dial has found.
type owner interface {
	status() Status
	close() error
}

// loader is programs that this process has loaded and attached.
type loader struct {
	options      Options
	programs     *programs
	table        *table
	attached     *attachments
	handOff      link.Link // nil: there are no hand-offs
	handOffError *Error
}

// newLoader loads programs, and attaches them in a network namespace. It is an error if neither arrivals
// nor hand-offs can be seen.
func newLoader(o Options, namespace netns.NsHandle) (*loader, error) {
	p, err := loadPrograms(o.Peers, o.Absorb)
	if err != nil {
		return nil, failed("load the programs", err, capBPF, capNetAdmin)
	}
	l := &loader{options: o, programs: p}
	if err := l.start(namespace); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// start maps the table and attaches the programs.
func (l *loader) start(namespace netns.NsHandle) (err error) {
	if l.table, err = l.programs.table(); err != nil {
		return failed("map the table", err)
	}
	l.attachHandOff()
	if l.attached, err = attach(l.options, l.programs, namespace, l.table.setXDP); err != nil {
		return err
	}
	if status := l.status(); status.Tier == Kernel && !status.HandOffs && status.Limit != nil {
		return status.Limit
	}
	return nil
}

// attachHandOff attaches to the tracepoint of hand-offs.
func (l *loader) attachHandOff() {
	if l.programs.handOff == nil {
		l.handOffError = failed("load the program for hand-offs", l.programs.handOffErr, capBPF, capPerfmon)
		return
	}
	l.handOff, l.handOffError = attachHandOff(l.programs.handOff)
}

func (l *loader) status() Status {
	s := Status{Interfaces: l.attached.status(), HandOffs: l.handOff != nil, HandOffError: l.handOffError}
	s.Tier, s.Limit = l.tier(s.Interfaces)
	return s
}

// tier returns the tier in force with programs at some interfaces, and why it is not a better one.
func (l *loader) tier(interfaces []InterfaceStatus) (Tier, *Error) {
	limit := newError("attach", errors.New("there is no interface to attach to"), "")
	tier := Kernel
	for _, i := range interfaces {
		switch {
		case i.Hook == hookTCX || i.Hook == hookXDP:
			if l.options.Absorb {
				return Absorb, nil
			}
			return Stamps, nil
		case i.Hook == hookCgroup && !l.options.Absorb:
			return Stamps, nil
		case i.Hook == hookCgroup:
			tier, limit = Stamps, l.onlyStamps()
		case tier == Kernel && i.Err != nil:
			limit = i.Err
		}
	}
	return tier, limit
}

// onlyStamps returns why nothing is taken though the options ask for it.
func (l *loader) onlyStamps() *Error {
	if err := l.programs.tcxErr; err != nil {
		return failed("load the program for tcx", err, capBPF, capNetAdmin)
	}
	return newError("absorb", errors.New("a program at a cgroup only stamps"), "use tcx, of kernel 6.6, or name interfaces for native XDP")
}

// close detaches and unloads the programs.
func (l *loader) close() error {
	if l.attached != nil {
		l.attached.close()
	}
	var err error
	if l.handOff != nil {
		err = l.handOff.Close()
	}
	if l.table != nil {
		l.table.close()
	}
	return errors.Join(err, l.programs.Close())
}
