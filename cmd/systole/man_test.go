package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal runs cmd on a terminal and returns what it shows.
func terminal(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		lacking(t, "a pseudo-terminal: "+err.Error())
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var shown bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		shown.ReadFrom(master) // ends with EIO when the last process has closed the terminal
	}()
	timeout := time.AfterFunc(awaitTime, func() { cmd.Process.Kill() })
	defer timeout.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %v", cmd.Args, err)
	}
	<-read
	return strings.ReplaceAll(shown.String(), "\r\n", "\n")
}

// man without a directory is plain text if there is no terminal, and a pager has it if there is one.
func TestManShows(t *testing.T) {
	for page, want := range map[string]string{"": "systole - watch processes", "ping": "--multiplier", "sim": "systole sim [FILE]"} {
		out, complaint, code := run1(strings.Fields("man " + page)...)
		if code != exitAlive || !strings.Contains(out, want) || !strings.HasPrefix(out, "NAME\n  systole") || strings.ContainsAny(out, "\x1b\b") {
			t.Errorf("man %s: exit status %d, %s%s", page, code, complaint, out)
		}
	}
	dir := t.TempDir()
	page := func(name, script string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	show := func(env ...string) string {
		cmd := exec.Command(binary, "man", "ping")
		cmd.Env = append(env, "PATH="+dir+":"+filepath.Dir(path), "TERM=dumb")
		return terminal(t, cmd)
	}
	page("man", "exit 1") // as one that does not know -l
	page("less", "echo by less; cat")
	page("mine", "echo by mine; cat")
	for want, env := range map[string][]string{
		"by less\nNAME\n": nil, "by mine\nNAME\n": {"PAGER=mine"}, "-mine\nNAME\n": {"PAGER=mine", "MANPAGER=echo man-mine; cat"},
		"NAME\n  systole ping": {"PAGER=cat"},
	} {
		if out := show(env...); !strings.Contains(out, want) || !strings.Contains(out, "--multiplier") {
			t.Errorf("%v: want %q, got %s", env, want, out)
		}
	}
	page("man", `echo "by man $*"; cat`)
	if out := show(); !strings.HasPrefix(out, "by man -l -\n") || !strings.Contains(out, ".TH \"SYSTOLE\"") {
		t.Errorf("man has not got the page: %s", out)
	}
}

// The version is that of the module, else the revision, else that there is none.
func TestVersion(t *testing.T) {
	out, _, code := run1("--version")
	if code != exitAlive || !strings.HasPrefix(out, "systole ") || !strings.Contains(out, runtime.Version()) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit status %d, %q", code, out)
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3, go1.26.0, " + platform: {GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}},
		"without a version, revision 0123456789ab of 2026-11-28T22:50:00Z, modified, go1.26.0, " + platform: {
			GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-11-28T22:50:00Z"}, {Key: "vcs.modified", Value: "true"},
			}},
		"without a version, go1.26.0, " + platform: {GoVersion: "go1.26.0"},
	} {
		if got := versionOf(&info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A port alone stands for all addresses of both families.
func TestListenOnAPort(t *testing.T) {
	s := serve(t, ":0")
	if len(s.addrs) < 1 || len(s.addrs) > 2 || !strings.HasPrefix(s.addr, "0.0.0.0:") {
		t.Fatalf("serving on %v", s.addrs)
	}
	for _, addr := range s.addrs {
		host := "127.0.0.1"
		if strings.HasPrefix(addr, "[") {
			host = "[::1]"
		}
		if _, code := ping(t, host+":"+port(addr), "-l", ":0", "--count", "5").finish(); code != exitAlive {
			t.Errorf("%s: exit status %d", addr, code)
		}
	}
	for _, bad := range []string{":", ":x", ":65536", "7853", "localhost:7853"} {
		if _, complaint, code := run1("serve", "-l", bad); code != exitUsage || !strings.Contains(complaint, "--listen") {
			t.Errorf("%s: exit status %d, %s", bad, code, complaint)
		}
	}
}
