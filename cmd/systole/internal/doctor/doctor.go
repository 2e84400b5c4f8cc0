// Package doctor examines a host for what makes heartbeats late, lost or badly stamped.
//
// doctor.go has the list of checks. Each other file has the checks of one subject: the clock, the thread
// of a loop, time that others take, the network, privileges, stamps.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Verdict is what a check concludes.
type Verdict uint8

const (
	OK      Verdict = iota
	Note            // worth knowing, or not known; an engine works
	Problem         // heartbeats will be late or lost
)

// String returns "ok", "note" or "problem".
func (v Verdict) String() string { return [...]string{"ok", "note", "problem"}[v] }

// MarshalText returns the text of String, for JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Finding is the result of a check.
type Finding struct {
	Check   string  `json:"check"`             // the check's name
	Subject string  `json:"subject,omitempty"` // the interface or tier, where a check has several
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Remedy  string  `json:"remedy,omitempty"`
	// Figures are the numbers in Found. Names that end in "_ns" are in nanoseconds, in "_ppm" in parts
	// per million.
	Figures map[string]int64 `json:"figures,omitempty"`
}

// unknown returns the finding of a check that failed.
func unknown(err error) Finding {
	return Finding{Verdict: Note, Found: "not known: " + oneLine(err)}
}

// oneLine returns the text of an error, which may be of several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Options say what an engine on this host would be.
type Options struct {
	Listen     []netip.AddrPort // local addresses; empty: any, on free ports
	Peers      int              // number of peers that buffers are sized for
	Interfaces []string         // for the checks of interfaces; empty: those that are up and have an address
}

// CheckTier is the name of the findings about tiers of stamps.
const CheckTier = "stamp-tier"

// Run examines the host. It takes about half a second, on a starved host up to two. Checks that fail,
// for lack of a file or a privilege, are findings as well.
func Run(o Options) []Finding {
	h := &host{root: os.DirFS("/"), options: o}
	h.examine()
	var all []Finding
	for _, c := range []struct {
		name string
		run  func() []Finding
	}{
		{"clock-source", one(h.clockSource)},
		{"time-namespace", one(h.timeNamespace)},
		{"timer-slack", one(h.timerSlack)},
		{"slice", one(h.slice)},
		{"scheduling-class", one(h.schedulingClass)},
		{"wake-up", one(h.wakeUp)},
		{"steal", one(h.steal)},
		{"cpu-quota", one(h.quota)},
		{"buffers", one(h.buffers)},
		{"udp-drops", one(h.udpDrops)},
		{"backlog-drops", one(h.backlogDrops)},
		{"kernel", one(h.kernelFloor)},
		{"capabilities", one(h.capabilities)},
		{"unprivileged-bpf", one(h.unprivilegedBPF)},
		{"btf", one(h.typeInformation)},
		{"receive-stamps", one(h.receiveStamps)},
		{"hardware-stamps", h.perInterface(h.hardwareStamps)},
		{"hooks", h.perInterface(occupants)},
		{CheckTier, h.tiers},
	} {
		for _, f := range c.run() {
			f.Check = c.name
			all = append(all, f)
		}
	}
	return all
}

// one makes a list of a check's only finding.
func one(check func() Finding) func() []Finding {
	return func() []Finding { return []Finding{check()} }
}

// BestTier returns the name of the best tier that works unasked: absorbing heartbeats is opt-in.
func BestTier(all []Finding) string {
	best := "user"
	for _, f := range all {
		if f.Check == CheckTier && f.Verdict == OK && f.Subject != "absorb" {
			best = f.Subject
		}
	}
	return best
}

// host is the host under examination.
type host struct {
	root    fs.FS // the root directory
	options Options

	thread        thread
	before, after counts
	sample        time.Duration // between before and after

	stampsErr error           // why kernel stamps do not work
	hardware  map[string]bool // interfaces that stamp every datagram in hardware
}

// examine measures a thread, and counts before and after.
func (h *host) examine() {
	h.before = h.count()
	start := time.Now()
	h.thread = measureThread(h.root)
	h.sample = time.Since(start)
	h.after = h.count()
	h.stampsErr = tryStamps()
	h.hardware = make(map[string]bool)
}

// text returns the text of a file without the white space around it.
func (h *host) text(name string) (string, error) {
	b, err := fs.ReadFile(h.root, name)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", name, cause(err))
	}
	return strings.TrimSpace(string(b)), nil
}

// cause returns the error in a *fs.PathError, whose path is not the host's.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// list joins words as in "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
