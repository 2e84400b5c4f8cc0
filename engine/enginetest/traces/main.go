//go:build linux

// Command traces records the traces in engine/replay/testdata anew: short, real, and each
// with something that befell the heartbeats. Two hosts, which package netlab makes, run
// the probe; the commands that did it are kept beside the traces, in traces.json. It needs
// root, ip(8) and nft(8); `make traces` calls it.
//
// Where nothing else is meant to happen the probes run in a real-time class, so that a
// busy machine does not get into the trace.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"systole/engine/enginetest/netlab"
)

// Trace says how a trace is made. Serve runs on host b (10.78.0.2), Record on host a
// (10.78.0.1), which are joined by a veth pair; Steps happen meanwhile.
type Trace struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Serve   string `json:"serve"`
	Record  string `json:"record"`
	Steps   []Step `json:"steps,omitempty"`
	Dropped int    `json:"dropped"` // datagrams from b that the kernel of a says it dropped
}

// Step is a shell command on a host; $serve and $record are the processes.
type Step struct {
	After string `json:"after"` // the beginning
	Host  string `json:"host"`
	Shell string `json:"shell"`
	// Counts says that the command prints Dropped.
	Counts bool `json:"counts,omitempty"`
}

const (
	serve  = "systole serve --listen 10.78.0.2:7853 --interval 10ms --id 2 --fifo 10"
	record = "systole record 10.78.0.2:7853 -f %s.sysrec --interval 10ms --wait %s --quiet --fifo 10"

	busy   = "for i in 1 2 3 4 5 6 7 8; do timeout 15 bash -c 'while :; do :; done' & done; wait"
	lossy  = "nft 'add table inet lab; add chain inet lab in { type filter hook input priority 0; }; add rule inet lab in meta l4proto udp numgen random mod 100 < 5 counter drop'"
	counts = "nft 'add rule inet lab in meta l4proto udp accept'; nft list table inet lab | sed -n 's/.*counter packets \\([0-9]*\\).*/\\1/p'; nft delete table inet lab"
)

// local returns a command with the loopback address for the other host's.
func local(command string) string { return strings.ReplaceAll(command, "10.78.0.2", "127.0.0.1") }

// stop returns the steps that stop a process twice for half a second.
func stop(process string) []Step {
	shell := fmt.Sprintf("kill -STOP $%s; sleep 0.5; kill -CONT $%s", process, process)
	return []Step{{After: "10s", Host: "b", Shell: shell}, {After: "20s", Host: "b", Shell: shell}}
}

var traces = []Trace{
	{Name: "loopback", About: "two processes on one host", Serve: local(serve), Record: local(record)},
	{Name: "veth", About: "two hosts on a veth pair, nothing else", Serve: serve, Record: record},
	{Name: "starved", About: "15 s in which the sender, at the lowest priority, has to share its CPUs with eight busy loops", Serve: "nice -n 19 " + strings.TrimSuffix(serve, " --fifo 10"), Record: record, Steps: []Step{{After: "8s", Host: "b", Shell: busy}}},
	{Name: "sender-stopped", About: "the sender's process is stopped twice for half a second (SIGSTOP)", Serve: serve, Record: record, Steps: stop("serve")},
	{Name: "receiver-stopped", About: "the receiver's process is stopped twice for half a second (SIGSTOP), while heartbeats go on arriving in its socket (the sender must not take it for failed: it would send less)", Serve: serve + " --multiplier 100", Record: record, Steps: stop("record")},
	{Name: "lossy", About: "from the fifth to the twenty-fifth second the receiver's kernel drops each datagram with a probability of 5 %", Serve: serve, Record: record, Steps: []Step{{After: "5s", Host: "a", Shell: lossy}, {After: "25s", Host: "a", Shell: counts, Counts: true}}},
}

// length is how long a trace is.
const length = "30s"

func main() {
	binary := flag.String("systole", "bin/systole", "the probe")
	out := flag.String("out", "engine/replay/testdata", "directory to write to")
	only := flag.String("only", "", "record this trace alone")
	flag.Parse()
	if err := makeAll(*binary, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "traces:", err)
		os.Exit(1)
	}
}

// makeAll records the traces and writes how they were made.
func makeAll(binary, out, only string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if err := os.Setenv("PATH", filepath.Dir(binary)+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	manifest := filepath.Join(out, "traces.json")
	if only != "" {
		if err := readManifest(manifest); err != nil {
			return err
		}
	}
	for i := range traces {
		t := &traces[i]
		if only != "" && t.Name != only {
			continue
		}
		if !strings.Contains(t.Record, t.Name) {
			t.Record = fmt.Sprintf(t.Record, t.Name, length)
		}
		fmt.Println(t.Name + ": " + t.About)
		if err := t.make(out); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(traces); err != nil {
		return err
	}
	return os.WriteFile(manifest, text.Bytes(), 0o644)
}

// readManifest takes over what is known of the traces that are not made now.
func readManifest(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err // all are made first
	}
	var before []Trace
	if err := json.Unmarshal(text, &before); err != nil {
		return err
	}
	for i := range traces {
		for _, b := range before {
			if b.Name == traces[i].Name {
				traces[i].Dropped, traces[i].Record = b.Dropped, b.Record
			}
		}
	}
	return nil
}

// make records one trace.
func (t *Trace) make(out string) (err error) {
	lab, err := netlab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := os.Remove(filepath.Join(out, t.Name+".sysrec")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	hosts := map[string]*netlab.Host{"a": lab.A, "b": lab.B}
	from := "a"
	if t.Name == "loopback" {
		from = "b"
	}
	server := shell(hosts["b"], "exec "+t.Serve)
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Kill() // it may have ended
		_ = server.Wait()
	}()
	time.Sleep(500 * time.Millisecond)
	recorder := shell(hosts[from], "exec "+t.Record)
	recorder.Dir, recorder.Stderr = out, os.Stderr
	if err := recorder.Start(); err != nil {
		return err
	}
	began := time.Now()
	env := append(os.Environ(), "serve="+strconv.Itoa(server.Process.Pid), "record="+strconv.Itoa(recorder.Process.Pid))
	for _, s := range t.Steps {
		if err := t.step(s, hosts[s.Host], began, env); err != nil {
			_ = recorder.Process.Signal(syscall.SIGKILL)
			return errors.Join(err, recorder.Wait())
		}
	}
	var exit *exec.ExitError
	if err := recorder.Wait(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return err
	}
	return nil // 1 is that the peer was not alive at the end, which may be just what was to be seen
}

// step does a step when its time has come.
func (t *Trace) step(s Step, h *netlab.Host, began time.Time, env []string) error {
	after, err := time.ParseDuration(s.After)
	if err != nil {
		return err
	}
	time.Sleep(time.Until(began.Add(after)))
	cmd := shell(h, s.Shell)
	cmd.Env = env
	cmd.Stderr = os.Stderr
	printed, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", s.Shell, err)
	}
	if s.Counts {
		if t.Dropped, err = strconv.Atoi(strings.TrimSpace(string(printed))); err != nil {
			return fmt.Errorf("%s: want a number: %w", s.Shell, err)
		}
	}
	return nil
}

// shell returns a command line on a host.
func shell(h *netlab.Host, line string) *exec.Cmd {
	cmd := h.Command("bash", "-c", line)
	return cmd
}
