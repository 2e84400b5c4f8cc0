package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"systole/engine/replay"
)

// recordedDir is where the committed recordings lie, from the top of the repository.
const recordedDir = "engine/replay/testdata"

// recordedWarmup is how many heartbeats of a recording only teach.
const recordedWarmup = 300

// runRecorded is the benchmark traces.
func runRecorded(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "traces",
		about: fmt.Sprintf("Every detector over the recordings of %s, half a minute each at 10 ms, after %d heartbeats that only teach: mistakes and mean detection time "+
			"by the kernel's stamps (nic) and by when the program read (app). traces.json there says how each was recorded; what a machine that others use did meanwhile is in them.",
			recordedDir, recordedWarmup),
		columns: []string{"nic_mistakes", "nic_td_ms", "app_mistakes", "app_td_ms"},
	}
	files, err := filepath.Glob(filepath.Join(recordedDir, "*.sysrec"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no recordings in %s; run it from the top of the repository", recordedDir)
	}
	for _, file := range files {
		if err := recorded(ctx, t, file); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return t, nil
}

// recorded adds the rows of one recording.
func recorded(ctx context.Context, t *table, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	rec, err := replay.Read(f)
	_ = f.Close() // it was only read
	if err != nil {
		return err
	}
	if len(rec.Streams) != 1 {
		return fmt.Errorf("%d streams, want 1", len(rec.Streams))
	}
	for _, c := range append(promising[:1:1], shipped...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var figures []float64
		for _, stamps := range []replay.Stamps{replay.NIC, replay.App} {
			r, err := replay.Run(rec.Streams[0].Trace, c.d, replay.Options{Stamps: stamps, Warmup: recordedWarmup, Period: 10 * time.Millisecond})
			switch {
			case errors.Is(err, replay.ErrUnjudged):
				figures = append(figures, math.NaN(), math.NaN())
			case err != nil:
				return err
			default:
				figures = append(figures, float64(r.Mistakes), millis(r.DetectionMean))
			}
		}
		t.add(strings.TrimSuffix(filepath.Base(file), ".sysrec")+", "+c.name, figures...)
	}
	return nil
}
