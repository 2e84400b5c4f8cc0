package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"systole/bench/qos"
	"systole/engine/detect"
	"systole/engine/replay"
)

// calibrationLinks is over how many links of each model the days are spread, each with a
// seed of its own. On each a detector first has to learn.
const calibrationLinks = 4

// virtual returns so many days of virtual time.
func virtual(days float64) time.Duration { return time.Duration(days * float64(24*time.Hour)) }

// contender is a detector with what it promises.
type contender struct {
	name     string
	d        detect.Detector
	promised float64 // mistakes per hour, or none
	warm     float64 // share of -warm
}

// promising are on all links, shipped on the first of each model: what they do differs by
// orders of magnitude, and takes most of the time.
var (
	promising = []contender{
		{"margin, 1/hour", &detect.Margin{MistakeEvery: time.Hour}, 1, 1.0 / 7},
		{"margin, 1/day", &detect.Margin{MistakeEvery: 24 * time.Hour}, 1.0 / 24, 1},
	}
	shipped = []contender{
		{"fixed × 3", &detect.Fixed{}, none, 1},
		{"chen", &detect.Chen{}, none, 1},
		{"two-window", &detect.TwoWindow{}, none, 1},
		{"phi (Akka)", &detect.PhiNormal{}, none, 1},
		{"phi-exp (Cassandra)", &detect.PhiExponential{}, none, 1},
		{"bertier", &detect.Bertier{}, none, 1},
		{"oz", &detect.Oz{}, none, 1},
	}
)

// runCalibration is the benchmark qos.
func runCalibration(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "qos",
		about: fmt.Sprintf("Models of links (bench/qos/model.go) at %v, %v days of each on %d links, in virtual time with the kernel's stamps. "+
			"The margin detector has its promise and no other setting, and %v days to learn, a seventh of it for 1/hour; the others are as shipped, on the first link. "+
			"ratio is observed over promised, between its exact 95%% bounds if mistakes are independent. td_ms is the mean from the send of the last heartbeat before a crash to the suspicion, the "+
			"path's delay included, tm_ms how long a mistake lasts, wrong_ppm is 1 - P_A in millionths.",
			qos.Models[0].Period, o.days, calibrationLinks, o.warm),
		columns: []string{"promised_per_hour", "mistakes", "per_hour", "ratio", "ratio_low", "ratio_high", "td_ms", "tm_ms", "wrong_ppm"},
	}
	figures, err := calibrate(ctx, o)
	if err != nil {
		return nil, err
	}
	for i, m := range qos.Models {
		for k, c := range append(promising[:len(promising):len(promising)], shipped...) {
			f := figures[i][k]
			low, high := qos.PoissonBounds(f.Mistakes, 0.95)
			due := c.promised * f.Observed.Hours()
			tm := none
			if f.Mistakes > 0 {
				tm = millis(f.MistakeMean())
			}
			t.add(m.Name+", "+c.name, c.promised, float64(f.Mistakes), f.PerHour(), float64(f.Mistakes)/due, low/due, high/due,
				millis(f.Detection()), tm, 1e6*(1-f.Accuracy()))
		}
	}
	return t, nil
}

// calibrate watches all links of all models and returns, for each model, the figures of
// the contenders: those of promising, then those of shipped.
func calibrate(ctx context.Context, o options) ([][]qos.Figures, error) {
	figures := make([][]qos.Figures, len(qos.Models))
	for i := range figures {
		figures[i] = make([]qos.Figures, len(promising)+len(shipped))
	}
	var mu sync.Mutex // figures
	err := parallel(ctx, len(qos.Models)*calibrationLinks, func(ctx context.Context, job int) error {
		model, link := job/calibrationLinks, job%calibrationLinks
		contenders := promising
		if link == 0 {
			contenders = append(contenders[:len(contenders):len(contenders)], shipped...)
		}
		m := &qos.Models[model]
		length := virtual(o.warm + o.days/calibrationLinks)
		var judges []*qos.Judge
		for _, c := range contenders {
			judges = append(judges, qos.NewJudge(c.d, replay.NIC, m.Period, virtual(c.warm*o.warm)))
		}
		err := qos.Watch(ctx, qos.NewSource(m, uint64(link)+1), length, judges...)
		mu.Lock()
		defer mu.Unlock()
		for k, j := range judges {
			figures[model][k].Add(j.Figures())
		}
		return err
	})
	return figures, err
}

// parallel runs jobs 0 to n-1 on all CPUs. The first that fails ends the others' context.
func parallel(ctx context.Context, n int, job func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := make(chan int)
	errs := make([]error, runtime.NumCPU())
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = job(ctx, i)
				}
				if errs[w] != nil {
					cancel()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}
