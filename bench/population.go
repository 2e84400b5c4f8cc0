package main

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"systole/engine/enginetest/load"
)

// populationOptions are the flags of a population, the peers of a node.
type populationOptions struct {
	local, target netip.AddrPort
	count         int           // of peers
	period        time.Duration // of the heartbeats of each
	scheduling
}

// flags returns the flags of o.
func (o *populationOptions) flags() *flag.FlagSet {
	f := flag.NewFlagSet("population", flag.ContinueOnError)
	f.TextVar(&o.local, "local", netip.AddrPort{}, "`address` of the population")
	f.TextVar(&o.target, "target", netip.AddrPort{}, "`address` of the node")
	f.IntVar(&o.count, "count", 100, "`number` of peers")
	f.DurationVar(&o.period, "period", 100*time.Millisecond, "`period` of heartbeats")
	o.scheduling.flags(f)
	return f
}

// args returns the arguments that flags parses into o.
func (o *populationOptions) args() []string {
	args := []string{"-local", o.local.String(), "-target", o.target.String(), "-count", strconv.Itoa(o.count), "-period", o.period.String()}
	return append(args, o.scheduling.args()...)
}

// populationCounts are the answer of a population to "end".
type populationCounts struct {
	Sent, Received uint64
	Mistakes       uint64 // suspicions of the node, which lives
}

// minus returns the counts since earlier ones.
func (c populationCounts) minus(earlier populationCounts) populationCounts {
	return populationCounts{c.Sent - earlier.Sent, c.Received - earlier.Received, c.Mistakes - earlier.Mistakes}
}

// runPopulation is the subcommand population.
func runPopulation(args []string) error {
	var o populationOptions
	if err := o.flags().Parse(args); err != nil {
		return err
	}
	p, err := load.NewPopulation(load.Config{Local: o.local, Target: o.target, FirstID: firstPeerID, Nodes: o.count, Period: o.period})
	if err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		exitWith("population", errors.Join(o.apply(), p.Run(context.Background())))
	}()
	var before populationCounts
	counts := func() populationCounts { return populationCounts{p.Sent(), p.Received(), p.Mistakes()} }
	return commands{
		"begin": func(string) (any, error) {
			before = counts()
			return nil, nil
		},
		"end": func(string) (any, error) { return counts().minus(before), nil },
	}.serve(os.Stdin, os.Stdout)
}
