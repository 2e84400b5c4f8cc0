package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stuckPipe returns the end of a pipe that is full and that nobody reads.
func stuckPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	fd := int(w.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(fd, make([]byte, 4096)); err != nil {
			break
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	return w
}

// closedPipe returns the end of a pipe whose reader has closed it.
func closedPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// awaitLog waits until the server has logged a text.
func (s *server) awaitLog(text string) {
	s.t.Helper()
	for end := time.Now().Add(awaitTime); !strings.Contains(s.log(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the server has not logged %q: %s", text, s.log())
		}
	}
}

// wait waits for the end of cmd and returns its exit code. It fails the test after a time.
func wait(t *testing.T, cmd *exec.Cmd, most time.Duration) int {
	t.Helper()
	late := time.AfterFunc(most, func() {
		t.Errorf("%v has not ended after %v", cmd.Args, most)
		cmd.Process.Kill()
	})
	defer late.Stop()
	cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// A reader that has stopped reading does not keep a signal from ending the program, and the peers get
// their goodbyes.
func TestSignalsWithAStuckReader(t *testing.T) {
	for name, args := range map[string][]string{
		"text": {"ping"}, "JSON": {"ping", "-o", "json"}, "the summary": {"ping", "-q", "-w", "200ms"},
		"a recording": {"record", "-f", "-", "-q"},
	} {
		s := serve(t, anyPort)
		cmd := exec.Command(binary, append(args, "-i", "20ms", s.addr)...)
		var complaints shared
		cmd.Stdout, cmd.Stderr = stuckPipe(t), &complaints
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		recording := args[0] == "record" // blocks in its first write, before the peer hears of it
		if !recording {
			s.awaitLog("to=alive")
		}
		time.Sleep(1500 * time.Millisecond) // until it blocks in a write
		cmd.Process.Signal(syscall.SIGTERM)
		if code := wait(t, cmd, time.Second); code != exitUsage || !strings.Contains(complaints.String(), "nobody reads") {
			t.Errorf("%s: exit status %d, %s", name, code, complaints.String())
		}
		if !recording {
			s.awaitLog("cause=goodbye")
		}
	}
}

// So does a server whose log nobody reads.
func TestServerWithAStuckLog(t *testing.T) {
	cmd := exec.Command(binary, "serve", "--listen", anyPort)
	cmd.Stderr = stuckPipe(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)            // it blocks in its first line of the log
	cmd.Process.Signal(syscall.SIGHUP) // is handled in between
	time.Sleep(time.Second)
	cmd.Process.Signal(syscall.SIGTERM)
	if code := wait(t, cmd, time.Second); code != exitAlive {
		t.Errorf("exit status %d", code)
	}
}

// A pipe that closes ends the program quietly, with goodbyes and the status of SIGPIPE.
func TestClosedPipe(t *testing.T) {
	for name, args := range map[string][]string{
		"text": {"ping"}, "JSON": {"ping", "-o", "json"}, "the summary": {"ping", "-q", "-w", "500ms"},
		"a recording": {"record", "-f", "-"},
	} {
		s := serve(t, anyPort)
		cmd := exec.Command(binary, append(args, "-i", "20ms", s.addr)...)
		var complaints shared
		cmd.Stdout, cmd.Stderr = closedPipe(t), &complaints
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if code := wait(t, cmd, awaitTime); code != exitClosed {
			t.Errorf("%s: exit status %d", name, code)
		}
		if text := complaints.String(); strings.Contains(text, "systole:") {
			t.Errorf("%s: complained %s", name, text)
		}
		if args[0] == "ping" { // record notices before the peer hears of it
			s.awaitLog("cause=goodbye")
		}
	}
	cmd := exec.Command(binary, "serve", "--listen", anyPort)
	cmd.Stderr = closedPipe(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, cmd, awaitTime); code != exitClosed {
		t.Errorf("a server without a reader of its log: exit status %d", code)
	}
	for _, args := range [][]string{{"replay", csvRecording(t)}, {"sim", "testdata/crash.json"}} {
		cmd := exec.Command(binary, args...)
		cmd.Stdout = closedPipe(t)
		cmd.Run()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPIPE {
			t.Errorf("%v: ended with %v", args, cmd.ProcessState)
		}
	}
}

// What was ignored at the start stays ignored.
func TestIgnoredSignals(t *testing.T) {
	s := serve(t, anyPort)
	for _, test := range []struct {
		ignored string
		sig     syscall.Signal
	}{{"HUP", syscall.SIGHUP}, {"INT", syscall.SIGINT}} {
		p := startProbe(t, exec.Command("sh", "-c", `trap "" `+test.ignored+`; exec "$@"`, "sh", binary, "ping", "-o", "json", s.addr))
		p.await("alive", "first-contact")
		p.cmd.Process.Signal(test.sig)
		for until := time.Now().Add(1200 * time.Millisecond); ; {
			l, ok := p.next()
			if !ok || l.Type == "summary" {
				t.Fatalf("SIG%s ended it though it was ignored", test.ignored)
			}
			if l.seen.After(until) {
				break
			}
		}
		p.cmd.Process.Signal(syscall.SIGTERM)
		if _, code := p.finish(); code != exitAlive {
			t.Errorf("exit status %d", code)
		}
	}
	p := ping(t, s.addr)
	p.await("alive", "first-contact")
	p.cmd.Process.Signal(syscall.SIGHUP)
	if _, code := p.finish(); code != exitAlive {
		t.Errorf("SIGHUP, not ignored: exit status %d", code)
	}
}

// A program in the shell's background can be told by nohup to outlive it.
func TestNohup(t *testing.T) {
	nohup, err := exec.LookPath("nohup")
	if err != nil {
		lacking(t, "nohup(1)")
	}
	s := serve(t, anyPort)
	out := filepath.Join(t.TempDir(), "out")
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(nohup, binary, "ping", s.addr, "-w", "1500ms")
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.awaitLog("to=alive")
	cmd.Process.Signal(syscall.SIGHUP)
	started := time.Now()
	if code := wait(t, cmd, awaitTime); code != exitAlive || time.Since(started) < 500*time.Millisecond {
		t.Errorf("exit status %d after %v", code, time.Since(started))
	}
}

// blocker is a writer that blocks until it is released.
type blocker struct {
	released chan struct{}
	text     shared
}

// Write implements io.Writer.
func (b *blocker) Write(p []byte) (int, error) {
	<-b.released
	return b.text.Write(p)
}

// A write that blocks waits until a signal has waited for it. A write that was given up is done when the reader
// reads again, and later ones follow it.
func TestOutputGivesUp(t *testing.T) {
	p, b := newProcess(), &blocker{released: make(chan struct{})}
	o := &output{Writer: b, process: p}
	written := make(chan error, 1)
	line := []byte("one\n")
	go func() {
		_, err := o.Write(line)
		copy(line, "xxxx") // as a buffer that is used again
		written <- err
	}()
	select {
	case err := <-written:
		t.Fatalf("a write did not wait: %v", err)
	case <-time.After(2 * patience):
	}
	p.signals <- syscall.SIGQUIT
	if err := <-written; !errors.Is(err, errUnread) {
		t.Fatalf("after a signal: %v", err)
	}
	started := time.Now()
	if _, err := o.Write([]byte("lost\n")); !errors.Is(err, errUnread) || time.Since(started) > patience {
		t.Errorf("a write after one that was given up: %v after %v", err, time.Since(started))
	}
	<-p.signals
	close(b.released)
	if _, err := o.Write([]byte("two\n")); err != nil || b.text.String() != "one\ntwo\n" {
		t.Errorf("%v, %q", err, b.text.String())
	}
	if !errors.Is(o.failed(), errUnread) {
		t.Errorf("the first error is %v", o.failed())
	}
}
