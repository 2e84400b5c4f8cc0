package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"time"

	"systole/bpf"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// splitLab is a path with an engine at either end, taps at the devices between, and what injects delays.
// The sender and all softirqs have the first CPU, the receiver has the last.
type splitLab struct {
	path             *netlab.Lab
	sender, receiver *child
	hogs             [2]*child // of the first CPU and of the last
	taps             [arriving + 1]*tap
	passed           [arriving + 1]map[uint64]passing // by the taps until now, by sequence
	reads            *readingTrace                    // of the receiver
	others           net.Conn                         // datagrams of others to the receiver's host
	sink             net.PacketConn                   // their destination
}

// The taps in the order of the way.
const (
	leaving  = iota // at the sender's device, after its queue
	entering        // at the router's device
	going           // at its other device, after the queue
	arriving        // at the receiver's device
)

// The ids of the ends, and the SCHED_FIFO priorities of the ends and of the hogs.
const (
	splitSender   = 1
	splitReceiver = 2
	splitPriority = 10
	hogPriority   = 20
)

// newSplitLab makes the lab and waits until both ends hear each other.
func newSplitLab(ctx context.Context, tier bpf.Tier) (l *splitLab, err error) {
	l = &splitLab{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.path, err = netlab.NewRouted(); err != nil {
		return nil, err
	}
	if err := l.openTaps(); err != nil {
		return nil, err
	}
	if err := l.openOthers(l.path.A); err != nil {
		return nil, err
	}
	if err := l.startEnds(ctx, tier); err != nil {
		return nil, err
	}
	return l, l.traceReads()
}

// startEnds starts the engines and the hogs.
func (l *splitLab) startEnds(ctx context.Context, tier bpf.Tier) (err error) {
	from, to := hostAddr(l.path.A), hostAddr(l.path.B)
	fifo := func(priority, cpu int) scheduling { return scheduling{0, priority, true, cpu} }
	l.receiver, err = startChild(ctx, l.path.B, "path-end", pathEndOptions{to, from, splitReceiver, splitSender, splitEcho, fifo(splitPriority, lastCPU()), tier})
	if err != nil {
		return err
	}
	l.sender, err = startChild(ctx, l.path.A, "path-end", pathEndOptions{from, to, splitSender, splitReceiver, splitPeriod, fifo(splitPriority, 0), tier})
	if err != nil {
		return err
	}
	for i, cpu := range []int{0, lastCPU()} {
		if l.hogs[i], err = startChild(ctx, l.path.Router, "hog", fifo(hogPriority, cpu)); err != nil {
			return err
		}
	}
	var hears, heard bool
	if err := errors.Join(l.receiver.ask(ctx, "await", &hears), l.sender.ask(ctx, "await", &heard)); err != nil {
		return err
	}
	if !hears || !heard {
		return errors.New("the ends do not hear each other")
	}
	return nil
}

// traceReads begins to trace the receiver's readings. What arrived before has been read by then.
func (l *splitLab) traceReads() (err error) {
	if l.reads, err = openReadingTrace(l.receiver.cmd.Process.Pid); err != nil {
		return err
	}
	since := clock.Now()
	err = l.drain()
	maps.DeleteFunc(l.passed[arriving], func(_ uint64, p passing) bool { return p.at < since })
	return err
}

// openTaps opens the taps along the way.
func (l *splitLab) openTaps() (err error) {
	for i, t := range []struct {
		host      *netlab.Host
		device    string
		direction uint32
	}{
		leaving:  {l.path.A, l.path.A.Device, outgoing},
		entering: {l.path.Router, l.path.FromA, incoming},
		going:    {l.path.Router, l.path.Router.Device, outgoing},
		arriving: {l.path.B, l.path.B.Device, incoming},
	} {
		if l.taps[i], err = openTap(t.host, t.device, t.direction); err != nil {
			return err
		}
		l.passed[i] = make(map[uint64]passing)
	}
	return nil
}

// otherPort is where the datagrams of others go.
const otherPort = 9

// openOthers makes a host the one whose datagrams fill queues on the way to the receiver's host.
func (l *splitLab) openOthers(from *netlab.Host) (err error) {
	to := netip.AddrPortFrom(netip.MustParseAddr(l.path.B.Addr), otherPort)
	if l.sink == nil {
		err = l.path.B.Do(func() (err error) {
			l.sink, err = net.ListenPacket("udp4", to.String())
			return err
		})
	}
	if err == nil {
		err = from.Do(func() (err error) {
			if l.others != nil {
				_ = l.others.Close()
			}
			l.others, err = net.Dial("udp4", to.String())
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("open the sockets of others: %w", err)
	}
	return nil
}

// close ends the children and removes the lab.
func (l *splitLab) close() error {
	for _, c := range []*child{l.hogs[0], l.hogs[1], l.sender, l.receiver} {
		if c != nil {
			c.kill()
		}
	}
	var errs []error
	for _, t := range l.taps {
		if t != nil {
			errs = append(errs, t.close())
		}
	}
	for _, c := range []interface{ Close() error }{l.others, l.sink} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if l.reads != nil {
		errs = append(errs, l.reads.close())
	}
	if l.path != nil {
		errs = append(errs, l.path.Close())
	}
	return errors.Join(errs...)
}

// A shaped device sends 20 Mbit/s. A burst of others takes it 12 ms.
const (
	otherSize  = 1400
	otherBurst = 20
	burstTime  = 12 * time.Millisecond
)

// shape limits what a host's device sends. Datagrams beyond that wait in its queue.
func shape(h *netlab.Host) error {
	return h.Run("tc", "qdisc", "add", "dev", h.Device, "root", "tbf", "rate", "20mbit", "burst", "1600", "limit", "200000")
}

// shapeSender prepares bursts in the sender's queue, shapeRouter bursts in the router's.
func (l *splitLab) shapeSender() error { return shape(l.path.A) }
func (l *splitLab) shapeRouter() error {
	return errors.Join(shape(l.path.Router), l.openOthers(l.path.Router))
}

// burst sends a burst of others.
func (l *splitLab) burst(context.Context) (span, error) {
	b := make([]byte, otherSize)
	begin := clock.Now()
	for range otherBurst {
		if _, err := l.others.Write(b); err != nil {
			return span{}, err
		}
	}
	return span{begin, clock.Now().Add(burstTime)}, nil
}

// stop has a hog stop a child. The hog has the CPU that the child has not.
func stop(ctx context.Context, hog, c *child, when span) (s span, err error) {
	order, err := json.Marshal(stopOrder{c.cmd.Process.Pid, when})
	if err != nil {
		return s, err
	}
	err = hog.ask(ctx, "stop "+string(order), &s)
	return s, err
}

// stopReceiver stops the receiver for four periods.
func (l *splitLab) stopReceiver(ctx context.Context) (span, error) {
	begin := clock.Now().Add(time.Millisecond)
	return stop(ctx, l.hogs[0], l.receiver, span{begin, begin.Add(4 * splitPeriod)})
}

// starveReceiver takes the receiver's CPU for two periods.
func (l *splitLab) starveReceiver(ctx context.Context) (s span, err error) {
	err = l.hogs[1].ask(ctx, "spin "+(2*splitPeriod).String(), &s)
	return s, err
}

// A sender is stopped from this long before it is to send until that long after.
const (
	stopBefore = 500 * time.Microsecond
	stopAfter  = 7500 * time.Microsecond
)

// stopSender stops the sender around the instant of a send.
func (l *splitLab) stopSender(ctx context.Context) (span, error) {
	phase, err := l.phase()
	if err != nil {
		return span{}, err
	}
	now := clock.Now()
	due := now.Add(wrapped(phase-phaseOf(now)) + 3*splitPeriod)
	return stop(ctx, l.hogs[1], l.sender, span{due.Add(-stopBefore), due.Add(stopAfter)})
}

// phase returns the place of the sends in their period.
func (l *splitLab) phase() (time.Duration, error) {
	if err := l.drain(); err != nil {
		return 0, err
	}
	var at []clock.Instant
	for _, p := range l.passed[leaving] {
		at = append(at, p.at)
	}
	if len(at) == 0 {
		return 0, errors.New("the sender has sent nothing")
	}
	return phaseOfAll(at), nil
}

// drain reads all taps. Of a sequence that has passed a tap twice, the first counts.
func (l *splitLab) drain() error {
	for i, t := range l.taps {
		passed, err := t.passed()
		if err != nil {
			return err
		}
		for _, p := range passed {
			if _, twice := l.passed[i][p.h.Sequence]; p.h.Sender == splitSender && !twice {
				l.passed[i][p.h.Sequence] = p
			}
		}
	}
	return nil
}

// ways returns the heartbeats since an instant that have passed all taps and that the receiver tells of.
func (l *splitLab) ways(ctx context.Context, since clock.Instant) (ways []way, grid time.Duration, err error) {
	var told pathEndSamples
	if err := errors.Join(l.receiver.ask(ctx, "samples", &told), l.drain()); err != nil {
		return nil, 0, err
	}
	reads, err := l.reads.reads()
	if err != nil {
		return nil, 0, err
	}
	readAt := readInOrder(l.passed[arriving], reads)
	for _, s := range told.Samples {
		var p [arriving + 1]passing
		all := s.Send >= since
		for i := range p {
			var ok bool
			p[i], ok = l.passed[i][uint64(s.Sequence)]
			all = all && ok
		}
		if all {
			ways = append(ways, way{
				send: clock.Instant(p[leaving].h.SendInstant), left: p[leaving].at, entered: p[entering].at, went: p[going].at,
				arrived: p[arriving].at, read: readAt[uint64(s.Sequence)], told: s,
			})
		}
	}
	return ways, told.Grid, nil
}
