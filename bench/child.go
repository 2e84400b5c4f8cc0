package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"systole/engine/enginetest/netlab"
)

// A measurement runs this program as children, on the hosts of a lab. The arguments of a child are a
// subcommand and its options as JSON. A child prints "ready". Then it reads commands, one per line, and
// answers each with one line of JSON.

// child is a child as its parent sees it.
type child struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// childPort is the port of every child.
const childPort = 7853

// childTimeout is how long a child may take to become ready, and to answer a command.
const childTimeout = 60 * time.Second

// startChild starts this program as a child on a host and waits until the child is ready.
func startChild(ctx context.Context, h *netlab.Host, subcommand string, options any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: h.Command(self, subcommand, string(encoded))}
	endWithParent(c.cmd)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := c.line(ctx)
	if err != nil || line != "ready\n" {
		c.kill()
		return nil, fmt.Errorf("%s did not become ready: it printed %q: %w", subcommand, line, errors.Join(err, ctx.Err()))
	}
	return c, nil
}

// line reads a line that the child prints. A child that prints none within childTimeout is killed.
func (c *child) line(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	defer stop()
	return c.out.ReadString('\n')
}

// ask sends a command and decodes the answer into reply.
func (c *child) ask(ctx context.Context, command string, reply any) error {
	_, err := fmt.Fprintln(c.in, command)
	var line string
	if err == nil {
		line, err = c.line(ctx)
	}
	if err == nil {
		err = json.Unmarshal([]byte(line), reply)
	}
	if err != nil {
		return fmt.Errorf("ask a child to %s: %w", command, errors.Join(err, ctx.Err()))
	}
	return nil
}

// kill kills the child and waits for its end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.cmd.Wait()         // its error is the signal
}

// hostAddr returns the address of the child on a host.
func hostAddr(h *netlab.Host) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(h.Addr), childPort)
}

// decodeOptions decodes the options of a child.
func decodeOptions(encoded string, options any) error {
	d := json.NewDecoder(strings.NewReader(encoded))
	d.DisallowUnknownFields()
	if err := d.Decode(options); err != nil {
		return fmt.Errorf("decode the options: %w", err)
	}
	return nil
}

// commands are the commands of a child by name. arg is the rest of the line.
type commands map[string]func(arg string) (reply any, err error)

// serve answers the commands on in until one fails. The end of in is an error: a parent kills its
// children when it needs them no more.
func (c commands) serve(in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, arg, _ := strings.Cut(lines.Text(), " ")
		command, ok := c[name]
		if !ok {
			return fmt.Errorf("there is no command %q", name)
		}
		reply, err := command(arg)
		if err == nil {
			err = answers.Encode(reply)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// exitWith ends a child whose work has failed. Its parent then reads the end of its output.
func exitWith(subcommand string, err error) {
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", subcommand, err)
	os.Exit(1)
}
