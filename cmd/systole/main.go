// Command systole is the probe: it answers heartbeats, sends them, and prints what it
// learns of its peers.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as in the manual page.
const (
	exitAlive = 0 // every peer was alive at the end
	exitPeer  = 1 // a peer failed, or was never heard
	exitUsage = 2 // wrong usage, or an error of the system
)

// errPeer says that the run was good and a peer was not.
var errPeer = errors.New("a peer failed or was never heard")

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, signals))
}

// run executes the command line and returns the exit code. It is main without the
// process: tests call it.
func run(args []string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	root := newRoot(signals)
	out := &output{Writer: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.Execute()
	if out.err != nil && (err == nil || errors.Is(err, errPeer)) {
		err = fmt.Errorf("print: %w", out.err)
	}
	switch {
	case err == nil:
		return exitAlive
	case errors.Is(err, errPeer):
		return exitPeer
	default:
		fmt.Fprintln(stderr, "systole:", err)
		return exitUsage
	}
}

// output is where a command prints. It keeps the first error, so that no command has to
// look at each line whether it could be written.
type output struct {
	io.Writer
	err error
}

// Write writes b.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// newRoot returns the command tree.
func newRoot(signals <-chan os.Signal) *cobra.Command {
	root := &cobra.Command{
		Use:   "systole",
		Short: "UDP heartbeats: is it alive, since when not, and why",
		Long: `systole watches peers by UDP heartbeats and tells within milliseconds, with the
reason, when one has died, restarted, left or cannot be reached.

Exit status: 0 every peer was alive at the end; 1 a peer failed or was never heard;
2 wrong usage or an error of the system.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command; try %s --help", cmd.Name())
		},
	}
	root.AddCommand(newServe(signals), newPing(signals), newRecord(signals))
	for _, c := range []*cobra.Command{newReplay(), newSim(), newMan(), newKeys()} {
		// They have nothing to finish: a signal ends them as it does any program.
		c.PersistentPreRun = func(*cobra.Command, []string) { signal.Reset() }
		root.AddCommand(c)
	}
	return root
}
