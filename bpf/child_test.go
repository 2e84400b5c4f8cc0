package bpf

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// Some tests need another process: to kill it, or to give it another user and fewer capabilities. The
// test binary is its program, which finds its task in the environment.
const taskVariable = "SYSTOLE_BPF_TASK"

// task is what a child does.
type task struct {
	Role    string // "open", "dial" or "serve"
	Path    string // of the loader's socket
	Options Options
	Beats   bool // after opening, heartbeats are exchanged over lo
}

// outcome is what a child reports when it is ready.
type outcome struct {
	Status *Status
	Error  *Error // of opening
	Beats  string // what went wrong with heartbeats
	Held   held
}

func TestMain(m *testing.M) {
	text := os.Getenv(taskVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		panic(err)
	}
	t.do()
}

// do reports when the child is ready, and again for each byte on its standard input, until that ends.
// Each time it exchanges heartbeats if the task asks for it.
func (t *task) do() {
	if t.Role == "serve" {
		t.serve()
		return
	}
	s, err := t.open()
	out := outcome{Error: err}
	for {
		if s != nil && t.Beats {
			if err := beatsOverLo(s, netip.MustParseAddr("127.0.0.1")); err != nil {
				out.Beats = err.Error()
			}
		}
		if s != nil {
			status := s.Status()
			out.Status, out.Held = &status, holds(s)
		}
		if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
			panic(err)
		}
		if n, _ := os.Stdin.Read(make([]byte, 1)); n == 0 {
			return
		}
	}
}

func (t *task) open() (s *Source, failure *Error) {
	var err error
	if t.Role == "dial" {
		s, err = Dial(t.Path, t.Options)
	} else {
		s, err = Open(t.Options)
	}
	if err != nil && !errors.As(err, &failure) {
		failure = newError("untyped", err, "")
	}
	return s, failure
}

func (t *task) serve() {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.Path, Net: "unix"})
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(t.Path, 0o666); err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(outcome{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := Serve(ctx, l, t.Options); !errors.Is(err, context.Canceled) {
		panic(err)
	}
}

// child is a process with a task.
type child struct {
	*exec.Cmd
	in      io.WriteCloser
	reports chan outcome
}

// start starts a child in the calling thread's namespace. It is killed with the test.
func start(t *testing.T, what task, prepare ...func(*exec.Cmd)) *child {
	text, err := json.Marshal(what)
	if err != nil {
		t.Error(err)
		return nil
	}
	c := &child{Cmd: exec.Command("/proc/self/exe"), reports: make(chan outcome)}
	c.Env = append(os.Environ(), taskVariable+"="+string(text))
	c.Stderr = os.Stderr
	for _, f := range prepare {
		f(c.Cmd)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		c.in, err = c.StdinPipe()
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { _ = c.kill() })
	go func() {
		defer close(c.reports)
		for d := json.NewDecoder(out); ; {
			var o outcome
			if d.Decode(&o) != nil {
				return
			}
			c.reports <- o
		}
	}()
	return c
}

// report returns what the child reports next.
func (c *child) report(t *testing.T) outcome {
	t.Helper()
	select {
	case o, ok := <-c.reports:
		if !ok {
			t.Error("the child ended without a report")
		}
		return o
	case <-time.After(20 * time.Second):
		t.Error("the child does not report")
		return outcome{}
	}
}

// again asks for another report.
func (c *child) again(t *testing.T) outcome {
	t.Helper()
	if _, err := c.in.Write([]byte{1}); err != nil {
		t.Error(err)
	}
	return c.report(t)
}

// kill kills the child without a warning.
func (c *child) kill() error {
	err := c.Process.Kill()
	for range c.reports {
	}
	_ = c.Wait()
	return err
}

// nobody has the child run as a user without rights, but for some capabilities.
func nobody(capabilities ...uintptr) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
			AmbientCaps: capabilities,
		}
	}
}

// held are the kernel's ids of what a source holds.
type held struct {
	Programs []ebpf.ProgramID
	Maps     []ebpf.MapID
}

// holds returns what a source of Open holds. The programs have maps of their own beside the table's.
func holds(s *Source) (h held) {
	l, ok := s.owner.(*loader)
	if !ok {
		return h
	}
	p := l.programs
	for _, program := range []*ebpf.Program{p.tcx, p.cgroup, p.xdp, p.handOff} {
		if program == nil {
			continue
		}
		info, err := program.Info()
		if err != nil {
			continue
		}
		id, _ := info.ID()
		maps, _ := info.MapIDs()
		h.Programs = append(h.Programs, id)
		h.Maps = append(h.Maps, maps...)
	}
	slices.Sort(h.Maps)
	h.Maps = slices.Compact(h.Maps)
	return h
}
