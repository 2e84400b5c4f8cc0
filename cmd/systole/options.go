package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"systole/engine"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/wire"
)

// nodeOptions are the flags of all commands that open an engine.
type nodeOptions struct {
	pathOptions
	stampOptions
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
	stampSends   int
	final        bool
}

// register adds the flags to cmd.
func (o *nodeOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&o.id, "id", 0, "id of this node; 0 means a random id at every start")
	f.StringSliceVarP(&o.listen, "listen", "l", nil, "local address:port, or :port for all addresses; may be repeated (default: any address and a free port; serve: port "+defaultPort+")")
	f.DurationVarP(&o.interval, "interval", "i", 0, "period of heartbeats, from 1ms to 1m; 0 means the period that --detect-within needs, else 100ms")
	f.StringVar(&o.detector, "detector", "margin", "detector, as `NAME` or NAME:PARAM: margin keeps the promise of --mistake-every, --detect-within and --max-rate; for the others see systole replay --help")
	f.DurationVar(&o.mistakeEvery, "mistake-every", defaultMistakeEvery, "margin: least mean time between two mistakes about a peer, from 1s to 876000h")
	f.DurationVar(&o.detectWithin, "detect-within", 0, "margin: suspect a crashed peer within this time, from 2ms to 1h; 0 means as soon as --mistake-every allows")
	f.Float64Var(&o.maxRate, "max-rate", 0, "margin: greatest number of heartbeats per second to a peer, from 1/60 to 1000; 0 means that of --interval, else 1000 with --detect-within, else 10")
	f.Float64Var(&o.multiplier, "multiplier", defaultMultiplier, "fixed, chen and 2w without a parameter: silence until suspicion in periods, from 1 to 1000 (chen and 2w: above 1)")
	f.StringVarP(&o.keys, "keys", "k", "", "`FILE` with keys (see systole keys); every datagram is then authenticated")
	f.IntVar(&o.shards, "shards", 1, "number of owner loops, from 1 to 64; each has a thread and its own sockets")
	f.IntVar(&o.fifo, "fifo", 0, "SCHED_FIFO priority of the loops, from 1 to 99; needs CAP_SYS_NICE; 0 means none")
	f.IntVar(&o.nice, "nice", 0, "nice value of the loops, from -20 to 19; below 0 needs CAP_SYS_NICE")
	f.IntSliceVar(&o.cpus, "cpu", nil, "CPUs to which the loops are pinned; may be repeated (default: no pinning)")
	f.BoolVar(&o.final, "final", false, "a failed peer is alive again only after a restart")
	f.StringVar(&o.local, "local", "", "local address from which heartbeats to the given peers are sent (default: by the routes)")
	f.StringVar(&o.device, "device", "", "interface through which heartbeats to the given peers are sent (default: by the routes)")
	f.IntVar(&o.stampSends, "stamp-sends", 16, "one heartbeat in so many to each peer is stamped by the kernel when the driver takes it, and the peer is told how long it waited in this host, from 1 to 65536; 0 means none")
	o.registerStamps(cmd)
	f.IntVar(&o.recvBuffer, "recv-buffer", 0, "receive buffer of each socket in bytes; 0 means enough for 1024 peers")
}

// config returns the engine's configuration, or the first fault of the flags.
func (o *nodeOptions) config(log *slog.Logger) (engine.Config, error) {
	c := engine.Config{
		ID: o.id, Period: o.interval, Shards: o.shards, RecvBuffer: o.recvBuffer, Logger: log,
		Final: o.final, StampSends: o.stampSends,
	}
	var err error
	if c.Listen, err = parseListen(o.listen, log); err != nil {
		return c, err
	}
	if !(o.multiplier >= 1 && o.multiplier <= 1000) {
		return c, fmt.Errorf("--multiplier %v is not within 1 to 1000", o.multiplier)
	}
	if err := o.setDetector(&c); err != nil {
		return c, err
	}
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

// sched returns the scheduling. The process has nothing else to do, so every loop gets a P of its
// own.
func (o *nodeOptions) sched() (engine.Sched, error) {
	s := engine.Sched{Nice: o.nice, FIFO: o.fifo, CPUs: o.cpus, Procs: max(o.shards, 1)}
	if s.FIFO != 0 && s.Nice != 0 {
		return s, errors.New("--fifo and --nice exclude each other")
	}
	return s, nil
}

const (
	defaultInterval     = 100 * time.Millisecond
	defaultMistakeEvery = 24 * time.Hour
	defaultMultiplier   = 3.0
)

// setDetector sets the promise, or a detector other than margin.
func (o *nodeOptions) setDetector(c *engine.Config) (err error) {
	if o.detector == "margin" {
		if o.multiplier != defaultMultiplier {
			return errors.New("--multiplier does not apply to the detector margin, which learns its margin")
		}
		c.Promise = detect.Promise{DetectWithin: o.detectWithin, MistakeEvery: o.mistakeEvery, MaxRate: o.maxRate}
		return nil
	}
	if o.detectWithin != 0 || o.maxRate != 0 || o.mistakeEvery != defaultMistakeEvery {
		return fmt.Errorf("--detect-within, --mistake-every and --max-rate are promises: the detector %s does not keep them, only margin does", o.detector)
	}
	if o.interval == 0 {
		o.interval = defaultInterval
	}
	c.Detector, err = o.newDetector()
	return err
}

// newDetector returns the detector of the flags if that is not margin. The multiplier applies to
// some detectors, unless they have a parameter.
func (o *nodeOptions) newDetector() (detect.Detector, error) {
	d, err := published.Parse(o.detector)
	if err != nil {
		return nil, fmt.Errorf("--%w", err) // err begins with "detector" and the text
	}
	margin := time.Duration((o.multiplier - 1) * float64(o.interval))
	applies := !strings.Contains(o.detector, ":")
	switch {
	case d.Name() == "margin":
		return nil, fmt.Errorf("--detector %s: margin takes its promise from --mistake-every", o.detector)
	case !applies:
	case d.Name() == "fixed":
		d = published.Fixed(o.multiplier, 0)
	case d.Name() == "chen":
		d = published.Chen(margin, 0, 0)
	case d.Name() == "2w":
		d = published.TwoWindow(margin, 0, 0, 0)
	default:
		applies = false
	}
	if !applies && o.multiplier != defaultMultiplier {
		return nil, fmt.Errorf("--multiplier applies to fixed, chen and 2w without a parameter, not to %s", o.detector)
	}
	if applies && margin <= 0 && d.Name() != "fixed" {
		return nil, fmt.Errorf("--multiplier %v leaves no margin to %s; want more than 1", o.multiplier, d.Name())
	}
	return d, nil
}
