package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"systole/engine"
	"systole/engine/detect"
	"systole/wire"
)

// nodeOptions are the flags that serve and ping share: what concerns the node itself.
type nodeOptions struct {
	pathOptions
	id           uint64
	listen       []string
	interval     time.Duration
	multiplier   float64
	detector     string
	keys         string
	mistakeEvery time.Duration
	detectWithin time.Duration
	maxRate      float64
	shards       int
	fifo         int
	nice         int
	cpus         []int
	recvBuffer   int
	final        bool
}

// register adds the flags to cmd.
func (o *nodeOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&o.id, "id", 0, "this node's id; 0 is a random one, new at every start")
	f.StringSliceVarP(&o.listen, "listen", "l", nil, "local address:port, may be repeated (default any, port chosen by the kernel)")
	f.DurationVarP(&o.interval, "interval", "i", 0, "period of heartbeats, with its unit, from 1ms to 1m; 0 is what --detect-within takes, or 100ms")
	f.StringVar(&o.detector, "detector", "margin", "detector: margin (keeps the promise of the next three flags), or NAME or NAME:PARAM as replay has them: chen, fixed, oz, 2w, bertier, phi (as Akka has it) or phi-exp (as Cassandra has it)")
	f.DurationVar(&o.mistakeEvery, "mistake-every", defaultMistakeEvery, "margin: at least this mean time between two mistakes about one peer, with its unit")
	f.DurationVar(&o.detectWithin, "detect-within", 0, "margin: suspect a crash within this time, with its unit; 0 is as soon as --mistake-every allows")
	f.Float64Var(&o.maxRate, "max-rate", 0, "margin: at most so many heartbeats per second to a peer; 0 is what --interval says, or 1000")
	f.Float64Var(&o.multiplier, "multiplier", defaultMultiplier, "fixed, chen, 2w without a parameter: silence that is suspect, in periods (chen, 2w: one less is the margin)")
	f.StringVarP(&o.keys, "keys", "k", "", "file with authentication keys; every datagram is then authenticated")
	f.IntVar(&o.shards, "shards", 1, "owner loops, each with a thread and a socket")
	f.IntVar(&o.fifo, "fifo", 0, "run the loops in SCHED_FIFO with this priority, 1 to 99; needs CAP_SYS_NICE")
	f.IntVar(&o.nice, "nice", 0, "nice value of the loops, -20 to 19; below 0 needs CAP_SYS_NICE")
	f.IntSliceVar(&o.cpus, "cpu", nil, "CPUs to pin the loops to")
	f.BoolVar(&o.final, "final", false, "a failure is final for the incarnation of the peer: only a new start of it is alive again")
	f.StringVar(&o.local, "local", "", "local address that heartbeats to the given peers leave from; empty leaves it to the routes")
	f.StringVar(&o.device, "device", "", "interface through which they leave; empty leaves it to the routes")
	f.IntVar(&o.recvBuffer, "recv-buffer", 0, "receive buffer in bytes; 0 is sized for the peers")
}

// config returns the engine's configuration, or what is wrong with the flags.
func (o *nodeOptions) config(log *slog.Logger) (engine.Config, error) {
	c := engine.Config{
		ID: o.id, Period: o.interval, Shards: o.shards, RecvBuffer: o.recvBuffer, Logger: log,
		Final: o.final,
	}
	for _, l := range o.listen {
		a, err := netip.ParseAddrPort(l)
		if err != nil {
			return c, fmt.Errorf("--listen %q: want address:port, for instance 0.0.0.0:7946: %w", l, err)
		}
		c.Listen = append(c.Listen, a)
	}
	if !(o.multiplier >= 1 && o.multiplier <= 1000) {
		return c, fmt.Errorf("--multiplier %v is not within 1 to 1000", o.multiplier)
	}
	if err := o.judge(&c); err != nil {
		return c, err
	}
	if o.keys != "" {
		ring, err := wire.LoadKeyRing(o.keys)
		if err != nil {
			return c, fmt.Errorf("--keys: %w", err)
		}
		c.Keys = ring
	}
	var err error
	c.Sched, err = o.sched()
	return c, err
}

// sched returns the scheduling that the flags ask for. The program owns its process, so
// every loop gets a P of its own.
func (o *nodeOptions) sched() (engine.Sched, error) {
	s := engine.Sched{CPUs: o.cpus, Procs: max(o.shards, 1)}
	switch {
	case o.fifo != 0 && o.nice != 0:
		return s, fmt.Errorf("--fifo and --nice exclude each other")
	case o.fifo != 0:
		s.Class, s.Priority = engine.FIFO, o.fifo
	case o.nice != 0:
		s.Class, s.Priority = engine.Nice, o.nice
	}
	return s, nil
}

const (
	// defaultInterval is the period of heartbeats unless something says otherwise.
	defaultInterval     = 100 * time.Millisecond
	defaultMistakeEvery = 24 * time.Hour
	defaultMultiplier   = 3.0
)

// judge sets how peers are judged: by a promise, or by another detector.
func (o *nodeOptions) judge(c *engine.Config) (err error) {
	if o.detector == "margin" {
		if o.multiplier != defaultMultiplier {
			return errors.New("--multiplier is not for the detector margin, which learns its own")
		}
		c.Promise = detect.Promise{DetectWithin: o.detectWithin, MistakeEvery: o.mistakeEvery, MaxRate: o.maxRate}
		return nil
	}
	if o.detectWithin != 0 || o.maxRate != 0 || o.mistakeEvery != defaultMistakeEvery {
		return fmt.Errorf("--detect-within, --mistake-every and --max-rate are promises, which the detector %s does not keep", o.detector)
	}
	if o.interval == 0 {
		o.interval = defaultInterval
	}
	c.Detector, err = o.newDetector()
	return err
}

// newDetector returns the detector that the flags ask for, if it is another one than
// margin.
func (o *nodeOptions) newDetector() (detect.Detector, error) {
	d, err := detect.Parse(o.detector)
	if err != nil {
		return nil, fmt.Errorf("--%w", err) // which begins with "detector" and the text
	}
	margin := time.Duration((o.multiplier - 1) * float64(o.interval))
	multiplied := !strings.Contains(o.detector, ":")
	switch d := d.(type) {
	case *detect.Margin:
		return nil, fmt.Errorf("--detector %s: the promise of margin is --mistake-every", o.detector)
	case *detect.Fixed:
		if multiplied {
			d.Multiplier = o.multiplier
		}
	case *detect.Chen:
		if multiplied {
			d.Alpha = margin
		}
	case *detect.TwoWindow:
		if multiplied {
			d.Alpha = margin
		}
	default:
		multiplied = false
	}
	if !multiplied && o.multiplier != defaultMultiplier {
		return nil, fmt.Errorf("--multiplier is for fixed, chen and 2w without a parameter, not for %s", o.detector)
	}
	if multiplied && margin <= 0 && d.Name() != "fixed" {
		return nil, fmt.Errorf("--multiplier %v leaves %s no margin; more than 1", o.multiplier, d.Name())
	}
	return d, nil
}
