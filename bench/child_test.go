package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	broken := errors.New("no such luck")
	c := commands{
		"echo": func(arg string) (any, error) { return map[string]string{"arg": arg}, nil },
		"void": func(string) (any, error) { return nil, nil },
		"fail": func(string) (any, error) { return nil, broken },
		"inf":  func(string) (any, error) { return none, nil },
	}
	for _, s := range []struct {
		in, out, want string
	}{
		{"", "ready\n", io.ErrUnexpectedEOF.Error()},
		{"echo\necho a b\nvoid x\n", "ready\n{\"arg\":\"\"}\n{\"arg\":\"a b\"}\nnull\n", io.ErrUnexpectedEOF.Error()},
		{"void\nfail\nvoid\n", "ready\nnull\n", "fail: no such luck"},
		{"void\nech\nvoid\n", "ready\nnull\n", `there is no command "ech"`},
		{"inf\n", "ready\n", "inf: json: unsupported value"},
		{strings.Repeat("x", bufio.MaxScanTokenSize), "ready\n", bufio.ErrTooLong.Error()},
	} {
		var out bytes.Buffer
		err := c.serve(strings.NewReader(s.in), &out)
		if out.String() != s.out || err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%.20q: answered %q and ended by %v; want %q and %s", s.in, out.String(), err, s.out, s.want)
		}
	}
	if err := c.serve(strings.NewReader("void\n"), failingWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("no reader: %v", err)
	}
}

// failingWriter is a pipe that nobody reads.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A parent and a child in one process: every command gets its answer.
func TestAsk(t *testing.T) {
	inReader, in := io.Pipe()
	out, outWriter := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := commands{
			"add": func(arg string) (any, error) { return len(arg), nil },
			"bad": func(string) (any, error) { return nil, errors.New("no such luck") },
		}.serve(inReader, outWriter)
		_, _ = inReader.Close(), outWriter.Close()
		served <- err
	}()
	c := &child{in: in, out: bufio.NewReader(out)}
	if line, err := c.line(t.Context()); line != "ready\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	var n int
	if err := c.ask(t.Context(), "add 1234", &n); n != 4 || err != nil {
		t.Errorf("answer %d, %v", n, err)
	}
	var text string
	if err := c.ask(t.Context(), "add 1", &text); err == nil || !strings.Contains(err.Error(), "ask a child to add 1: json: cannot unmarshal number") {
		t.Errorf("a number as text: %v", err)
	}
	if err := c.ask(t.Context(), "bad", &n); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "ask a child to bad: EOF") {
		t.Errorf("a child that fails: %v", err)
	}
	if err := <-served; err == nil || err.Error() != "bad: no such luck" {
		t.Errorf("the child ended by %v", err)
	}
	if err := c.ask(t.Context(), "add", &n); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a child that has ended: %v", err)
	}
}

// A child that does not answer is killed when the context ends.
func TestAskCancelled(t *testing.T) {
	c := &child{cmd: exec.Command("/bin/sleep", "60")}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.ask(ctx, "wake up", new(any)); !errors.Is(err, context.Canceled) || !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	c.kill()
}
