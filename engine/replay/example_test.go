package replay_test

import (
	"bytes"
	"fmt"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/recording"
	"systole/engine/replay"
)

// An engine records with Config.Recorder. This example makes up two thousand heartbeats, loses two
// of every hundred, and compares two detectors over the rest.
func Example() {
	var file bytes.Buffer
	rec, err := recording.New(&file, recording.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const period = 10 * time.Millisecond
	for s := uint64(1); s <= 2000; s++ {
		if s%100 < 2 {
			continue
		}
		send := clock.Instant(s) * clock.Instant(period)
		rec.Record(&recording.Heartbeat{
			Peer: 42, Incarnation: 1, Sequence: s, Period: uint32(period / time.Microsecond),
			Send: send, Arrival: send.Add(time.Second), Read: send.Add(time.Second), Source: clock.Kernel,
		})
	}
	rec.Name(42, "db1")
	if err := rec.Close(); err != nil {
		fmt.Println(err)
		return
	}

	r, err := recording.Read(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range []detect.Detector{published.Fixed(2, 0), published.Fixed(4, 0)} {
		result, err := replay.Run(r.Streams[0].Beats, d, replay.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: suspects a crash after %v, %d mistakes\n", r.Streams[0].Name, result.DetectionMean, result.Mistakes)
	}
	// Output:
	// db1: suspects a crash after 20ms, 19 mistakes
	// db1: suspects a crash after 40ms, 0 mistakes
}
