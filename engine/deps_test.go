package engine_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a package may link, besides the standard library, and why no more. A server that
// links the engine must not get a command line, a metrics library or a BPF loader with it.
var mayLink = map[string]struct {
	allowed []string
	why     string
}{
	"systole/bpf": {[]string{
		"systole/engine/clock", "systole/wire", "github.com/cilium/ebpf", "github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys",
	}, "programs below the sockets are optional: they know datagrams and instants, never the engine, and the engine never them"},
	"systole/wire":             {nil, "the datagram is a leaf: fuzzers, tools and other implementations link it alone"},
	"systole/ringbuf":          {nil, "the rings are a leaf"},
	"systole/engine/clock":     {[]string{"golang.org/x/sys"}, "instants are a leaf that everything may import"},
	"systole/engine/recording": {[]string{"systole/engine/clock", "systole/ringbuf", "golang.org/x/sys"}, "a recording is written by a ring's reader and knows no engine"},
	"systole/engine/replay": {[]string{
		"systole/engine/clock", "systole/engine/detect", "systole/engine/detect/internal/param", "systole/engine/detect/internal/silence",
		"systole/engine/internal/margins", "systole/engine/recording", "systole/ringbuf", "golang.org/x/sys",
	}, "a replay needs detectors, recordings and nothing that moves"},
	"systole/engine/detect": {[]string{
		"systole/engine/clock", "systole/engine/detect/internal/param", "systole/engine/detect/internal/silence", "systole/engine/internal/margins",
		"golang.org/x/sys",
	}, "detectors are pure: no sockets, no datagrams, no clock reads"},
	"systole/engine/detect/internal/param":   {nil, "checks of parameters are a leaf"},
	"systole/engine/detect/internal/silence": {[]string{"systole/engine/clock", "golang.org/x/sys"}, "the arithmetic of detectors is pure"},
	"systole/engine/detect/published": {[]string{
		"systole/engine/clock", "systole/engine/detect", "systole/engine/detect/internal/param", "systole/engine/detect/internal/silence",
		"systole/engine/internal/margins", "golang.org/x/sys",
	}, "published detectors are pure, and no default"},
	"systole/engine/internal/antireplay": {nil, "the window of sequences is a leaf"},
	"systole/engine/histogram":           {[]string{"systole/engine/internal/buckets"}, "histograms are a leaf that anything may count in"},
	"systole/engine/internal/buckets":    {nil, "buckets are a leaf"},
	"systole/engine/internal/book": {[]string{
		"systole/engine/clock", "systole/engine/internal/network", "golang.org/x/sys",
	}, "the address book knows addresses and slots, and nothing of heartbeats"},
	"systole/engine/internal/evidence": {[]string{"systole/engine/clock", "golang.org/x/sys"}, "the rules for judging are pure"},
	"systole/engine/internal/margins":  {[]string{"systole/engine/clock", "golang.org/x/sys"}, "the arithmetic of margins is pure"},
	"systole/engine/internal/names":    {[]string{"systole/engine/clock", "systole/ringbuf", "golang.org/x/sys"}, "names know instants and addresses, and nothing of heartbeats"},
	"systole/engine/internal/netlink":  {[]string{"golang.org/x/sys"}, "links and routes are a leaf: they know addresses, and no sockets of heartbeats"},
	"systole/engine/internal/network":  {[]string{"systole/engine/clock", "golang.org/x/sys"}, "what a loop needs of sockets, without a loop"},
	"systole/engine/internal/sim": {[]string{
		"systole/engine/clock", "systole/engine/enginetest/netmodel", "systole/engine/internal/network", "golang.org/x/sys",
	}, "a world for whatever turns: so the engine's own tests can use it"},
	"systole/engine/enginetest/netmodel": {
		nil, "models of delay and loss are a leaf: worlds and benchmarks draw from them",
	},
	"systole/engine/internal/oneway":      {[]string{"systole/engine/clock", "golang.org/x/sys"}, "the estimate of a path's delays is pure"},
	"systole/engine/internal/kernelclock": {[]string{"systole/engine/clock", "golang.org/x/sys"}, "stamps become instants, whoever took them"},
	"systole/engine/internal/portable":    {[]string{"systole/engine/clock", "systole/engine/internal/network", "golang.org/x/sys"}, "sockets know nothing of heartbeats"},
	"systole/engine/internal/prefetch":    {nil, "the processor's prefetch is a leaf"},
	"systole/engine/internal/timer":       {[]string{"systole/engine/clock", "golang.org/x/sys"}, "the wheel is pure"},
	"systole/engine/internal/udp": {[]string{
		"systole/engine/clock", "systole/engine/internal/network", "golang.org/x/sys", "golang.org/x/net",
	}, "sockets know nothing of heartbeats"},
	"systole/engine/enginetest/netlab": {[]string{"golang.org/x/sys"}, "labs are a leaf: tests of every package use them"},
	"systole/engine":                   {engineLinks, "servers link the engine: the standard library, x/sys, x/net and nothing else"},
	"systole/engine/level":             {append([]string{"systole/engine", "systole/engine/internal/evidence"}, engineLinks...), "levels are a client of the engine, which does not know them"},
	"systole/engine/split":             {append([]string{"systole/engine"}, engineLinks...), "splits are a client of the engine, which does not know them"},
}

// engineLinks is what the engine links of this module and others.
var engineLinks = []string{
	"systole/wire", "systole/ringbuf", "systole/engine/clock", "systole/engine/detect", "systole/engine/detect/internal/param",
	"systole/engine/detect/internal/silence", "systole/engine/recording",
	"systole/engine/histogram", "systole/engine/internal/buckets",
	"systole/engine/internal/antireplay", "systole/engine/internal/book", "systole/engine/internal/evidence", "systole/engine/internal/kernelclock", "systole/engine/internal/margins",
	"systole/engine/internal/names", "systole/engine/internal/netlink", "systole/engine/internal/network", "systole/engine/internal/portable",
	"systole/engine/internal/oneway", "systole/engine/internal/prefetch", "systole/engine/internal/timer", "systole/engine/internal/udp", "golang.org/x/sys", "golang.org/x/net",
}

// What a package may import of this module itself, where that is less than what it links.
var mayImport = map[string]struct {
	allowed []string
	why     string
}{
	"systole/engine/level": {[]string{
		"systole/engine", "systole/engine/clock", "systole/engine/detect", "systole/engine/internal/evidence", "systole/engine/internal/timer",
	}, "levels use the engine's public API, as another interpreter would, the rules for judging, and a timing wheel"},
	"systole/engine/split": {[]string{"systole/engine", "systole/engine/clock", "systole/engine/histogram"}, "splits use the engine's public API"},
}

func TestImports(t *testing.T) {
	for pkg, rule := range mayImport {
		for _, dep := range goList(t, "-f", `{{join .Imports "\n"}}`, pkg) {
			if strings.HasPrefix(dep, "systole/") && !slices.Contains(rule.allowed, dep) {
				t.Errorf("%s imports %s; %s", pkg, dep, rule.why)
			}
		}
	}
}

func TestDependencies(t *testing.T) {
	for pkg, rule := range mayLink {
		used := make(map[string]bool)
		for _, dep := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg) {
			if dep == pkg {
				continue
			}
			prefix, ok := covered(dep, rule.allowed)
			used[prefix] = true
			if !ok {
				t.Errorf("%s links %s; %s", pkg, dep, rule.why)
			}
		}
		for _, a := range rule.allowed {
			if !used[a] {
				t.Errorf("%s may link %s, and does not: take it off the list", pkg, a)
			}
		}
	}
}

// goList returns the words that go list prints. Its standard error is apart: on a new machine
// it also names what is downloaded.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	var complaints strings.Builder
	list := exec.Command("go", append([]string{"list"}, args...)...)
	list.Stderr = &complaints
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, complaints.String())
	}
	return strings.Fields(string(out))
}

// covered reports whether dep is one of the allowed packages, or lies below one.
func covered(dep string, allowed []string) (string, bool) {
	for _, a := range allowed {
		if dep == a || strings.HasPrefix(dep, a+"/") && !strings.HasPrefix(a, "systole/") {
			return a, true
		}
	}
	return "", false
}

// Every rule names a package that exists, and every package has a rule or is a program,
// a benchmark or help for tests.
func TestEveryPackageHasARule(t *testing.T) {
	for _, pkg := range goList(t, "systole/...") {
		free := strings.HasPrefix(pkg, "systole/cmd/") || strings.HasPrefix(pkg, "systole/bench") ||
			strings.HasPrefix(pkg, "systole/fuzz") || strings.HasPrefix(pkg, "systole/engine/enginetest")
		if _, ok := mayLink[pkg]; !ok && !free {
			t.Errorf("%s has no rule", pkg)
		}
	}
}
