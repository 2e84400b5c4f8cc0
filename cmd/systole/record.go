package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"systole/engine"
	"systole/engine/replay"
)

// newRecord returns the command that records heartbeats for replay.
func newRecord(signals <-chan os.Signal) *cobra.Command {
	o := &pingOptions{}
	var file string
	cmd := &cobra.Command{
		Use:   "record TARGET",
		Short: "record a peer's heartbeats for replay",
		Long: `record exchanges heartbeats with TARGET as ping does, prints the same, and writes one line
of CSV per heartbeat that arrived, as systole replay reads it. It ends as ping does, and
with the same exit status. FILE must not exist yet.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("--file: %w", err)
			}
			r := newRecorder(out)
			o.sink = r.take
			err = o.run(cmd, args, signals)
			return errors.Join(err, r.flush(), out.Close())
		},
	}
	o.registerPing(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write, which must not exist")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}

// recorder writes heartbeats as CSV.
type recorder struct {
	out  *bufio.Writer
	line []byte
	high uint64 // of the sequence, whose low half a sample has
	last uint32
	err  error
}

// newRecorder returns a recorder that has written the header.
func newRecorder(out io.Writer) *recorder {
	r := &recorder{out: bufio.NewWriter(out)}
	_, r.err = r.out.WriteString(replay.Header + "\n")
	return r
}

// take writes one heartbeat. Samples come in the order of their sequences.
func (r *recorder) take(s *engine.Sample) {
	if s.Sequence < r.last && r.last-s.Sequence > 1<<31 {
		r.high += 1 << 32
	}
	r.last = s.Sequence
	b := strconv.AppendUint(r.line[:0], r.high|uint64(s.Sequence), 10)
	for _, v := range []int64{int64(s.Send), int64(s.Arrival), int64(s.Arrival.Add(s.Read))} {
		b = append(b, ',')
		b = strconv.AppendInt(b, v, 10)
	}
	r.line = append(b, '\n')
	if _, err := r.out.Write(r.line); r.err == nil {
		r.err = err
	}
}

// flush writes what is buffered and returns the first error of all.
func (r *recorder) flush() error {
	if err := r.out.Flush(); r.err == nil {
		r.err = err
	}
	if r.err != nil {
		return fmt.Errorf("write the recording: %w", r.err)
	}
	return nil
}
