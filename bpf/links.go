package bpf

import (
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// attachments keeps programs attached to the interfaces of one network namespace, or to a cgroup.
// Its goroutine alone attaches and detaches. An interface that fails costs the others nothing.
type attachments struct {
	options  Options
	programs *programs
	// attachTCX and subscribe, but in tests.
	tcx       func(p *ebpf.Program, index int, name string) (link.Link, *Error)
	subscribe func() *subscription

	setXDP  func(attached bool) // called at each change
	base    string              // hookTCX or hookCgroup
	at      map[int]*attachment
	current atomic.Pointer[[]InterfaceStatus]

	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}
}

// attachment is a program at an interface, or the attempt to attach it.
type attachment struct {
	InterfaceStatus
	wanted string
	up     bool
	link   link.Link // nil: not attached
	tries  int
	retry  time.Time
}

// cgroupKey is the key of the cgroup in attachments.at; interfaces count from 1.
const cgroupKey = 0

const (
	// settleTime is how long changes of interfaces are gathered before they are looked at.
	settleTime = 20 * time.Millisecond
	// firstRetry is doubled from one try to the next. After maxTries, only an interface that goes up or
	// down is tried again.
	firstRetry = 100 * time.Millisecond
	maxTries   = 8
	// pollTime is how often interfaces are listed while the kernel does not report changes, and how soon
	// after its reports were lost they are asked for again.
	pollTime = time.Second
)

// attach attaches programs in a network namespace, and returns when each interface was tried.
func attach(o Options, programs *programs, namespace netns.NsHandle, setXDP func(attached bool)) (*attachments, error) {
	a := newAttachments(o, programs)
	a.setXDP = setXDP
	if err := a.start(namespace); err != nil {
		return nil, err
	}
	return a, nil
}

func newAttachments(o Options, programs *programs) *attachments {
	a := &attachments{
		options: o, programs: programs, tcx: attachTCX, subscribe: subscribe,
		setXDP: func(bool) {}, base: hookTCX, at: make(map[int]*attachment),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if o.Hook == hookCgroup {
		a.base = hookCgroup
	}
	a.publish()
	return a
}

// start starts the goroutine, and returns when it has tried each interface.
func (a *attachments) start(namespace netns.NsHandle) error {
	ready := make(chan error, 1)
	go a.run(namespace, ready)
	return <-ready
}

// close detaches all programs, and returns when the goroutine has ended.
func (a *attachments) close() {
	a.stopOnce.Do(func() { close(a.stop) })
	<-a.done
}

// status returns where programs are attached. Any goroutine may call it.
func (a *attachments) status() []InterfaceStatus { return slices.Clone(*a.current.Load()) }

// run attaches programs to interfaces as they come, until close. It sends to ready when it has tried
// each interface that is there.
func (a *attachments) run(namespace netns.NsHandle, ready chan<- error) {
	defer close(a.done)
	if err := enter(namespace); err != nil {
		ready <- err
		return
	}
	defer a.detach()
	changes := a.subscribe()
	defer func() { changes.close() }()
	a.reconcile()
	ready <- nil
	for {
		timer := time.NewTimer(a.wait(changes == nil))
		select {
		case <-a.stop:
			timer.Stop()
			return
		case <-timer.C:
			if changes == nil {
				changes = a.subscribe()
			}
		case _, ok := <-changes.updates():
			timer.Stop()
			if !ok {
				changes.close()
				changes = nil
			}
			if !a.settle(changes) {
				return
			}
		}
		a.reconcile()
	}
}

// enter moves the calling goroutine to a thread of its own in a network namespace, unless its thread is
// there. Such a thread ends with the goroutine.
func enter(namespace netns.NsHandle) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		return failed("find the network namespace", err)
	}
	defer func() { _ = here.Close() }()
	if here.Equal(namespace) {
		runtime.UnlockOSThread()
		return nil
	}
	if err := netns.Set(namespace); err != nil {
		return failed("enter the network namespace of the caller", err, unix.CAP_SYS_ADMIN)
	}
	return nil
}

// settle lets changes gather, and reports false if close was called meanwhile.
func (a *attachments) settle(changes *subscription) bool {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for {
		select {
		case <-a.stop:
			return false
		case <-timer.C:
			return true
		case _, ok := <-changes.updates():
			if !ok {
				changes = nil
			}
		}
	}
}

// wait returns when the next try is due.
func (a *attachments) wait(poll bool) time.Duration {
	const long = time.Hour
	wait := long
	if poll {
		wait = pollTime
	}
	for _, t := range a.at {
		if t.link == nil && t.tries < maxTries {
			wait = min(wait, time.Until(t.retry))
		}
	}
	return max(wait, 0)
}

// place is an interface, or the cgroup, where a program should be.
type place struct {
	name string
	hook string
	up   bool
}

// reconcile compares where programs are with where they should be, and changes what differs.
func (a *attachments) reconcile() {
	before := a.base
	a.bring(a.places())
	if a.base != before {
		a.bring(a.places())
	}
	a.publish()
}

// places returns where programs should be. It returns nil if the interfaces cannot be listed.
func (a *attachments) places() map[int]place {
	interfaces, err := net.Interfaces()
	if err != nil {
		a.options.Logger.Warn("bpf: list the interfaces", "error", err)
		return nil
	}
	places := make(map[int]place)
	if a.base == hookCgroup {
		places[cgroupKey] = place{a.options.Cgroup, hookCgroup, true}
	}
	addressed, err := addressed()
	if err != nil {
		a.options.Logger.Warn("bpf: list the addresses of interfaces", "error", err)
		return nil
	}
	for _, i := range interfaces {
		up := i.Flags&net.FlagUp != 0
		switch {
		case !a.options.wants(i.Name):
		case !a.options.names(i.Name) && !addressed[i.Index] && a.at[i.Index] == nil:
		case slices.Contains(a.options.XDP, i.Name):
			places[i.Index] = place{i.Name, hookXDP, up}
		case a.base == hookTCX:
			places[i.Index] = place{i.Name, hookTCX, up}
		}
	}
	return places
}

// addressed returns the interfaces with an address that datagrams are sent to. The ports of bridges have
// none: a host of containers has hundreds, and the kernel takes 16 ms to attach to each.
func addressed() (map[int]bool, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	indices := make(map[int]bool)
	for _, a := range all {
		if a.IP.IsGlobalUnicast() || a.IP.IsLoopback() {
			indices[a.LinkIndex] = true
		}
	}
	return indices, nil
}

// bring attaches programs to places, and detaches the others.
func (a *attachments) bring(places map[int]place) {
	if places == nil {
		return
	}
	for index, t := range a.at {
		if p, ok := places[index]; !ok || !t.fits(p) {
			t.detach(a.options.Logger)
			delete(a.at, index)
		}
	}
	for index, p := range places {
		t := a.at[index]
		if t == nil {
			t = &attachment{wanted: p.hook}
			t.Index, t.Hook = index, hookNone
			a.at[index] = t
		}
		t.up = p.up
		if p.name != "" {
			t.Name = p.name
		}
		if t.due(time.Now()) {
			a.try(t)
		}
	}
}

// publish shows other goroutines where programs are.
func (a *attachments) publish() {
	all := make([]InterfaceStatus, 0, len(a.at))
	for _, t := range a.at {
		all = append(all, t.InterfaceStatus)
	}
	a.setXDP(slices.ContainsFunc(all, func(i InterfaceStatus) bool { return i.Hook == hookXDP }))
	all = append(all, a.absent(all)...)
	slices.SortStableFunc(all, func(x, y InterfaceStatus) int { return x.Index - y.Index })
	a.current.Store(&all)
}

// absent returns the status of named interfaces that are not among present.
func (a *attachments) absent(present []InterfaceStatus) (absent []InterfaceStatus) {
	names := a.options.Interfaces
	if len(names) == 0 || a.base != hookTCX {
		names = a.options.XDP
	}
	for _, name := range names {
		if !slices.ContainsFunc(present, func(i InterfaceStatus) bool { return i.Name == name }) {
			err := newError("attach to "+name, unix.ENODEV, "an interface of this name is attached to when it comes")
			absent = append(absent, InterfaceStatus{Name: name, Hook: hookNone, Err: err})
		}
	}
	return absent
}

// detach detaches all programs.
func (a *attachments) detach() {
	for _, t := range a.at {
		t.detach(a.options.Logger)
	}
	clear(a.at)
	a.publish()
}

// fits reports whether t can stay at p: the program is where it was put, and nothing changed that
// could let a failed attempt succeed.
func (t *attachment) fits(p place) bool {
	if p.hook != t.wanted || t.up != p.up && t.Hook != t.wanted {
		return false
	}
	return t.link == nil || t.Hook == hookCgroup || linkedTo(t.link) == t.Index
}

// linkedTo returns the index of the interface that l is attached to, 0 if the interface is gone.
func linkedTo(l link.Link) int {
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if tcx := info.TCX(); tcx != nil {
		return int(tcx.Ifindex)
	}
	if xdp := info.XDP(); xdp != nil {
		return int(xdp.Ifindex)
	}
	return 0
}

// due reports whether it is time to try to attach t.
func (t *attachment) due(now time.Time) bool {
	return t.link == nil && t.tries < maxTries && !now.Before(t.retry)
}

// detach ends the link of t.
func (t *attachment) detach(log *slog.Logger) {
	if t.link == nil {
		return
	}
	if err := t.link.Close(); err != nil {
		log.Warn("bpf: detach", "interface", t.Name, "hook", t.Hook, "error", err)
	}
	log.Debug("bpf: detached", "interface", t.Name, "hook", t.Hook)
}

// subscription is the kernel's reports of changes of interfaces and their addresses. A nil subscription has
// none.
type subscription struct {
	ch  chan struct{}
	end chan struct{}
}

// subscribe returns nil if the kernel refuses.
func subscribe() *subscription {
	s := &subscription{make(chan struct{}), make(chan struct{})}
	links, addrs := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate)
	if netlink.LinkSubscribe(links, s.end) != nil {
		return nil
	}
	if netlink.AddrSubscribe(addrs, s.end) != nil {
		close(s.end)
		drain(links)
		return nil
	}
	go s.merge(links, addrs)
	return s
}

// merge passes reports of both kinds on, until one kind ends.
func (s *subscription) merge(links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate) {
	defer drain(addrs)
	defer drain(links)
	defer close(s.ch)
	for {
		var ok bool
		select {
		case _, ok = <-links:
		case _, ok = <-addrs:
		case <-s.end:
			return
		}
		if !ok {
			return
		}
		select {
		case s.ch <- struct{}{}:
		case <-s.end:
			return
		}
	}
}

// drain reads a channel until its sender has ended.
func drain[T any](ch <-chan T) {
	for range ch {
	}
}

// updates returns the channel of reports. It is closed when reports were lost.
func (s *subscription) updates() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.ch
}

// close ends the reports.
func (s *subscription) close() {
	if s == nil {
		return
	}
	close(s.end)
	drain(s.ch)
}
