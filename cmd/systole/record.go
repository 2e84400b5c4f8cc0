package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"systole/engine/recording"
)

// newRecord returns the command that records heartbeats for replay.
func newRecord(p *process) *cobra.Command {
	o := &pingOptions{}
	var file string
	cmd := &cobra.Command{
		Use:   "record TARGET... -f FILE",
		Short: "record heartbeats for replay",
		Long: `record does what ping does, and writes every received heartbeat to FILE, for systole
replay: about 12 bytes each. Its exit status is that of ping. If FILE is -, the recording goes
to the standard output, and all other output to the standard error.

If record is killed, the recording lacks at most the last second. If FILE cannot be written,
for instance because the disk is full, record ends at once with exit status 2.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.record(cmd, args, file, p)
		},
	}
	o.registerWatch(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "text", formatHelp)
	f.StringVarP(&file, "file", "f", "", "`FILE` to write, which must not exist; - means the standard output")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

// record runs as ping does, with a recorder.
func (o *pingOptions) record(cmd *cobra.Command, args []string, file string, p *process) (err error) {
	var out io.WriteCloser
	if file == "-" {
		out = &output{Writer: os.Stdout, process: p}
		cmd.SetOut(cmd.ErrOrStderr())
	} else if file == "" {
		return errors.New("--file is empty")
	} else if out, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	o.recorder, err = recording.New(out, recording.Options{})
	if err != nil {
		return errors.Join(err, out.Close(), removeEmpty(file))
	}
	err = o.run(cmd, args, p)
	failed := errors.Join(o.recorder.Close(), out.Close())
	s := o.recorder.Stats()
	if (failed != nil || err != nil && !errors.Is(err, errPeer)) && s.Written == 0 {
		failed = errors.Join(failed, removeEmpty(file))
	}
	if s.Overflowed > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d heartbeats are not recorded: they arrived faster than %s could be written", s.Overflowed, file))
	}
	// A fault of the recording is more important than a peer that is not alive.
	if failed != nil {
		return failed
	}
	return err
}

// removeEmpty removes a recording without heartbeats, after an error.
func removeEmpty(file string) error {
	if file == "-" {
		return nil
	}
	return os.Remove(file)
}
