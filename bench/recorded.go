package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"systole/engine/detect"
	"systole/engine/recording"
	"systole/engine/replay"
)

const (
	recordedDir    = "engine/replay/testdata" // from the top of the repository
	recordedWarmup = 300                      // heartbeats of a recording in which detectors only learn
	recordedPeriod = 10 * time.Millisecond
)

// runRecorded is the benchmark traces.
func runRecorded(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "traces",
		about: fmt.Sprintf("Every detector on the recordings of %s, half a minute each at %v, after %d heartbeats of learning: mistakes and mean detection time "+
			"by the kernel's stamps (nic) and by the times of reading (app). traces.json in that directory says how each was recorded. The recordings include "+
			"what other processes on a shared machine did meanwhile.",
			recordedDir, recordedPeriod, recordedWarmup),
		columns: []string{"nic_mistakes", "nic_td_ms", "app_mistakes", "app_td_ms"},
	}
	files, err := filepath.Glob(filepath.Join(recordedDir, "*.sysrec"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there are no recordings in %s; run the benchmark from the top of the repository", recordedDir)
	}
	for _, file := range files {
		if err := addRecording(ctx, t, file); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return t, nil
}

// addRecording adds the rows of one recording.
func addRecording(ctx context.Context, t *table, file string) error {
	trace, err := readTrace(file)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(file), ".sysrec")
	for _, e := range slices.Concat(marginDetectors[:1], baselines) {
		if err := ctx.Err(); err != nil {
			return err
		}
		figures, err := recordedFigures(trace, e.d)
		if err != nil {
			return err
		}
		t.add(name+", "+e.name, figures...)
	}
	return nil
}

// readTrace returns the heartbeats of a recording of one life of one peer.
func readTrace(file string) ([]recording.Beat, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	rec, err := recording.Read(f)
	_ = f.Close() // it was only read
	if err != nil {
		return nil, err
	}
	if len(rec.Streams) != 1 {
		return nil, fmt.Errorf("the recording has %d streams, want one", len(rec.Streams))
	}
	return rec.Streams[0].Beats, nil
}

// recordedFigures returns a row of traces. Stamps without which nothing can be judged have no figures.
func recordedFigures(trace []recording.Beat, d detect.Detector) ([]float64, error) {
	var figures []float64
	for _, readTimes := range []bool{false, true} {
		r, err := replay.Run(trace, d, replay.Options{ReadTimes: readTimes, Warmup: recordedWarmup, Period: recordedPeriod})
		switch {
		case errors.Is(err, replay.ErrUnjudged):
			figures = append(figures, none, none)
		case err != nil:
			return nil, err
		default:
			figures = append(figures, float64(r.Mistakes), millis(r.DetectionMean))
		}
	}
	return figures, nil
}
