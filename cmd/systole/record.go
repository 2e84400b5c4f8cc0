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
func newRecord(signals <-chan os.Signal) *cobra.Command {
	o := &pingOptions{}
	var file string
	cmd := &cobra.Command{
		Use:   "record TARGET... -o FILE",
		Short: "record peers' heartbeats for replay",
		Long: `record exchanges heartbeats with each TARGET as ping does, prints the same, and writes
every heartbeat that arrived to FILE, as systole replay reads it: some 12 bytes each. It
ends as ping does, and with the same exit status. FILE must not exist yet; - is the
standard output, and what is printed then goes to the standard error.

A recording whose writer was killed holds all but the last second. Where FILE cannot be
written further, for instance on a full disk, record ends at once with exit status 2.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.record(cmd, args, file, signals)
		},
	}
	o.registerWatch(cmd)
	f := cmd.Flags()
	f.StringVar(&o.output, "format", "text", "what is printed: text, or json for JSON Lines")
	f.StringVarP(&file, "output", "o", "", "FILE to write, which must not exist; - is the standard output")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}

// record runs as ping does, with a recorder.
func (o *pingOptions) record(cmd *cobra.Command, args []string, file string, signals <-chan os.Signal) (err error) {
	var out io.WriteCloser = os.Stdout
	if file == "-" {
		cmd.SetOut(cmd.ErrOrStderr())
	} else if file == "" {
		return errors.New("--output is empty")
	} else if out, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	o.recorder, err = recording.New(out, recording.Options{})
	if err != nil {
		return errors.Join(err, out.Close(), removeEmpty(file))
	}
	err = o.run(cmd, args, signals)
	failed := errors.Join(o.recorder.Close(), out.Close())
	s := o.recorder.Stats()
	if (failed != nil || err != nil && !errors.Is(err, errPeer)) && s.Written == 0 {
		failed = errors.Join(failed, removeEmpty(file))
	}
	if s.Overflowed > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d heartbeats arrived faster than %s took them and are not recorded", s.Overflowed, file))
	}
	// What is wrong with the recording counts more than a peer that was not alive.
	if failed != nil {
		return failed
	}
	return err
}

// removeEmpty removes a recording that holds nothing, after an error that says why.
func removeEmpty(file string) error {
	if file == "-" {
		return nil
	}
	return os.Remove(file)
}
