package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"systole/engine"
	"systole/engine/detect"
	"systole/wire"
)

// nodeOptions are the flags that serve and ping share: what concerns the node itself.
type nodeOptions struct {
	id           uint64
	listen       []string
	interval     time.Duration
	multiplier   float64
	detector     string
	keys         string
	mistakeEvery time.Duration
	shards       int
	fifo         int
	nice         int
	cpus         []int
	recvBuffer   int
	resurrect    bool
}

// register adds the flags to cmd.
func (o *nodeOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&o.id, "id", 0, "this node's id; 0 is a random one, new at every start")
	f.StringSliceVarP(&o.listen, "listen", "l", nil, "local address:port, may be repeated (default any, port chosen by the kernel)")
	f.DurationVarP(&o.interval, "interval", "i", 100*time.Millisecond, "period of heartbeats, with its unit, from 1ms to 1m")
	f.StringVar(&o.detector, "detector", "chen", "detector: chen, fixed, oz, 2w, bertier, phi (as Akka has it), phi-exp (as Cassandra has it) or margin (learns what the promise of --mistake-every takes)")
	f.Float64Var(&o.multiplier, "multiplier", 3, "silence that is suspect, in periods (chen, 2w: one less is the margin); others have no use for it")
	f.DurationVar(&o.mistakeEvery, "mistake-every", 24*time.Hour, "margin: mean time between two mistakes about one peer, with its unit")
	f.StringVarP(&o.keys, "keys", "k", "", "file with authentication keys; every datagram is then authenticated")
	f.IntVar(&o.shards, "shards", 1, "owner loops, each with a thread and a socket")
	f.IntVar(&o.fifo, "fifo", 0, "run the loops in SCHED_FIFO with this priority, 1 to 99; needs CAP_SYS_NICE")
	f.IntVar(&o.nice, "nice", 0, "nice value of the loops, -20 to 19; below 0 needs CAP_SYS_NICE")
	f.IntSliceVar(&o.cpus, "cpu", nil, "CPUs to pin the loops to")
	f.BoolVar(&o.resurrect, "resurrect", true, "take a failed peer back in the same life when it is heard again")
	f.IntVar(&o.recvBuffer, "recv-buffer", 0, "receive buffer in bytes; 0 is sized for the peers")
}

// config returns the engine's configuration, or what is wrong with the flags.
func (o *nodeOptions) config(log *slog.Logger) (engine.Config, error) {
	c := engine.Config{
		ID: o.id, Period: o.interval, Shards: o.shards, RecvBuffer: o.recvBuffer, Logger: log,
		Resurrect: o.resurrect,
	}
	for _, l := range o.listen {
		a, err := netip.ParseAddrPort(l)
		if err != nil {
			return c, fmt.Errorf("--listen %q: want address:port, for instance 0.0.0.0:7946: %w", l, err)
		}
		c.Listen = append(c.Listen, a)
	}
	if o.multiplier < 1 || o.multiplier > 1000 {
		return c, fmt.Errorf("--multiplier %v is not within 1 to 1000", o.multiplier)
	}
	d, err := o.newDetector()
	if err != nil {
		return c, err
	}
	c.Detector = d
	if o.keys != "" {
		ring, err := wire.LoadKeyRing(o.keys)
		if err != nil {
			return c, fmt.Errorf("--keys: %w", err)
		}
		c.Keys = ring
	}
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

// newDetector returns the detector that the flags ask for.
func (o *nodeOptions) newDetector() (detect.Detector, error) {
	margin := time.Duration((o.multiplier - 1) * float64(o.interval))
	switch o.detector {
	case "chen":
		return &detect.Chen{Alpha: margin}, nil
	case "fixed":
		return &detect.Fixed{Multiplier: o.multiplier}, nil
	case "2w":
		return &detect.TwoWindow{Alpha: margin}, nil
	}
	margins := &detect.Margin{MistakeEvery: o.mistakeEvery, Period: o.interval}
	for _, d := range []detect.Detector{margins, &detect.Oz{}, &detect.Bertier{}, &detect.PhiNormal{}, &detect.PhiExponential{}} {
		if d.Name() == o.detector {
			return d, nil
		}
	}
	return nil, fmt.Errorf("--detector %s: want chen, fixed, oz, 2w, bertier, phi, phi-exp or margin", strconv.Quote(o.detector))
}
