package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"systole/bench/internal/qos"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// calibrationLinks is the number of links of each model, each with its own seed and its share of the
// days. A detector first learns on each link.
const calibrationLinks = 4

// virtual returns so many days of virtual time.
func virtual(days float64) time.Duration { return time.Duration(days * float64(24*time.Hour)) }

// entrant is a detector to measure.
type entrant struct {
	name     string
	d        detect.Detector
	promised float64 // mistakes per hour, or none
	warm     float64 // share of -warm in which it learns
}

// The margin detectors are measured on all links, the baselines on the first link of each model: their
// figures differ by orders of magnitude, and they take most of the time.
var (
	marginDetectors = []entrant{
		{"margin, 1/hour", detect.Margin(detect.MarginOptions{MistakeEvery: time.Hour}), 1, 1.0 / 7},
		{"margin, 1/day", detect.Margin(detect.MarginOptions{MistakeEvery: 24 * time.Hour}), 1.0 / 24, 1},
	}
	baselines = []entrant{
		{"fixed × 3", published.Fixed(0, 0), none, 1},
		{"chen", published.Chen(0, 0, 0), none, 1},
		{"two-window", published.TwoWindow(0, 0, 0, 0), none, 1},
		{"phi (Akka)", published.PhiNormal(published.PhiNormalOptions{}), none, 1},
		{"phi-exp (Cassandra)", published.PhiExponential(published.PhiExponentialOptions{}), none, 1},
		{"bertier", published.Bertier(published.BertierOptions{}), none, 1},
		{"oz", published.Oz(published.OzOptions{}), none, 1},
	}
)

// runCalibration is the benchmark qos.
func runCalibration(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "qos",
		about: fmt.Sprintf("Models of links (bench/internal/qos/model.go) at %v, %v days of each on %d links, in virtual time with the kernel's stamps. "+
			"The margin detector has its promise and no other setting, and learns for %v days, or a seventh of them for 1/hour. The others have their defaults, on the first link. "+
			"ratio is observed over promised mistakes, between its exact 95%% bounds if mistakes are independent. td_ms is the mean from the send of the last heartbeat before a crash to the suspicion, the "+
			"delay of the path included; tm_ms is how long a mistake lasts; wrong_ppm is 1 - P_A in millionths.",
			qos.Models[0].Period, o.days, calibrationLinks, o.warm),
		columns: []string{"promised_per_hour", "mistakes", "per_hour", "ratio", "ratio_low", "ratio_high", "td_ms", "tm_ms", "wrong_ppm"},
	}
	figures, err := calibrate(ctx, o)
	if err != nil {
		return nil, err
	}
	for i, m := range qos.Models {
		for k, e := range slices.Concat(marginDetectors, baselines) {
			t.add(m.Name+", "+e.name, e.figures(&figures[i][k])...)
		}
	}
	return t, nil
}

// figures returns a row of qos.
func (e *entrant) figures(f *qos.Figures) []float64 {
	low, high := qos.PoissonBounds(f.Mistakes, 0.95)
	due := e.promised * f.Observed.Hours()
	lasting := none
	if f.Mistakes > 0 {
		lasting = millis(f.MistakeMean())
	}
	return []float64{
		e.promised, float64(f.Mistakes), f.PerHour(), float64(f.Mistakes) / due, low / due, high / due,
		millis(f.Detection()), lasting, 1e6 * (1 - f.Accuracy()),
	}
}

// calibrate runs all links of all models. It returns the figures by model, then by detector: the
// marginDetectors and then the baselines.
func calibrate(ctx context.Context, o options) ([][]qos.Figures, error) {
	figures := make([][]qos.Figures, len(qos.Models))
	for i := range figures {
		figures[i] = make([]qos.Figures, len(marginDetectors)+len(baselines))
	}
	var mu sync.Mutex // guards figures
	err := parallel(ctx, len(qos.Models)*calibrationLinks, func(ctx context.Context, job int) error {
		model, link := job/calibrationLinks, job%calibrationLinks
		entrants := marginDetectors
		if link == 0 {
			entrants = slices.Concat(marginDetectors, baselines)
		}
		m := &qos.Models[model]
		length := virtual(o.warm + o.days/calibrationLinks)
		var judges []*qos.Judge
		for _, e := range entrants {
			judges = append(judges, qos.NewJudge(e.d, qos.NIC, m.Period, virtual(e.warm*o.warm)))
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

// parallel runs the jobs 0 to n-1 on all CPUs. The first job that fails ends the context of the others,
// and no more start. parallel returns the error of the first, or that of ctx.
func parallel(ctx context.Context, n int, job func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				if err := job(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
