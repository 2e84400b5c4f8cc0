package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// effective returns the capabilities of the calling thread that count for the kernel as a whole: those
// of a user namespace do not.
func (h *host) effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	if !h.initialUsers() {
		return 0, nil
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// initialUsers reports whether this process is in the initial user namespace, as far as it is known.
func (h *host) initialUsers() bool {
	text, err := h.text("proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(text), " ") == "0 0 4294967295"
}

// has reports whether a set has a capability.
func has(set uint64, capability int) bool { return set>>capability&1 != 0 }

// hasBPF reports whether a set has CAP_BPF or CAP_PERFMON. CAP_SYS_ADMIN includes both.
func hasBPF(set uint64, capability int) bool {
	return has(set, capability) || has(set, unix.CAP_SYS_ADMIN)
}

// capabilities tells which of the useful capabilities this process has.
func (h *host) capabilities() Finding {
	set, err := h.effective()
	if err != nil {
		return unknown(err)
	}
	return judgeCapabilities(set, h.initialUsers())
}

// judgeCapabilities judges a set. initial is whether it is of the initial user namespace.
func judgeCapabilities(set uint64, initial bool) Finding {
	var there, lacking []string
	for _, c := range []struct {
		name, use string
		has       bool
	}{
		{"CAP_BPF", "programs", hasBPF(set, unix.CAP_BPF)},
		{"CAP_NET_ADMIN", "programs on interfaces, buffers of any size", has(set, unix.CAP_NET_ADMIN)},
		{"CAP_PERFMON", "stamps of hand-offs", hasBPF(set, unix.CAP_PERFMON)},
		{"CAP_SYS_NICE", "--fifo and --nice below 0", has(set, unix.CAP_SYS_NICE)},
	} {
		if c.has {
			there = append(there, c.name)
		} else {
			lacking = append(lacking, c.name+" ("+c.use+")")
		}
	}
	if !initial {
		return Finding{
			Verdict: Note, Found: "this process is in a user namespace, whose capabilities do not count for BPF and buffers",
			Remedy: "run it outside of the user namespace, if stamps by BPF are wanted",
		}
	}
	if len(lacking) == 0 {
		return Finding{Found: list(there)}
	}
	return Finding{
		Verdict: Note, Found: "without " + list(lacking),
		Remedy: "if that is wanted: AmbientCapabilities= in the unit of systemd, --cap-add of a container, or setcap on the file",
	}
}

// unprivilegedBPF tells what processes without capabilities may load.
func (h *host) unprivilegedBPF() Finding {
	text, err := h.text("proc/sys/kernel/unprivileged_bpf_disabled")
	if err != nil {
		return unknown(err)
	}
	return judgeUnprivilegedBPF(text)
}

// judgeUnprivilegedBPF judges the value of the setting (admin-guide/sysctl/kernel.rst).
func judgeUnprivilegedBPF(value string) Finding {
	switch value {
	case "0":
		return Finding{
			Verdict: Note, Found: "0: any user may load some programs; those of this probe need capabilities nonetheless",
			Remedy: "sysctl -w kernel.unprivileged_bpf_disabled=2, which most distributions have",
		}
	case "1", "2":
		return Finding{Found: value + ": programs need CAP_BPF"}
	}
	return Finding{Verdict: Note, Found: strconv.Quote(value) + ": not known"}
}

// btfFile describes the kernel's types.
const btfFile = "sys/kernel/btf/vmlinux"

// typeInformation tells whether the kernel describes its types, which stamps of hand-offs need.
func (h *host) typeInformation() Finding {
	if err := h.readBTF(); err != nil {
		f := unknown(err)
		if errors.Is(err, fs.ErrNotExist) {
			f.Found = "this kernel, or this container's /sys, does not describe the kernel's types: no stamps of hand-offs by BPF"
			f.Remedy = "a kernel with CONFIG_DEBUG_INFO_BTF; in a container, /sys/kernel/btf"
		}
		return f
	}
	return Finding{Found: "the kernel describes its types in /" + btfFile}
}

// readBTF returns an error unless the file begins as BTF does, in either byte order.
func (h *host) readBTF() error {
	file, err := h.root.Open(btfFile)
	if err != nil {
		return fmt.Errorf("read /%s: %w", btfFile, cause(err))
	}
	defer func() { _ = file.Close() }()
	var magic [2]byte
	if _, err := file.Read(magic[:]); err != nil {
		return fmt.Errorf("read /%s: %w", btfFile, cause(err))
	}
	if magic != [2]byte{0x9f, 0xeb} && magic != [2]byte{0xeb, 0x9f} {
		return fmt.Errorf("/%s is not BTF", btfFile)
	}
	return nil
}

// version is a version of the kernel, major and minor.
type version [2]int

// below reports whether v is earlier than other.
func (v version) below(other version) bool {
	return v[0] < other[0] || v[0] == other[0] && v[1] < other[1]
}

// The earliest kernels for stamps by BPF, and for tcx.
var (
	floorBPF = version{5, 15}
	floorTCX = version{6, 6}
)

// release returns the kernel's release.
func release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// parseRelease returns the version in a release such as "6.18.44-cloud".
func parseRelease(text string) (v version, err error) {
	if _, err := fmt.Sscanf(text, "%d.%d", &v[0], &v[1]); err != nil {
		return v, fmt.Errorf("kernel release %q: %w", text, err)
	}
	return v, nil
}

// kernelFloor judges the kernel's version.
func (h *host) kernelFloor() Finding {
	text, err := release()
	if err != nil {
		return unknown(err)
	}
	return judgeRelease(text)
}

// judgeRelease judges a release.
func judgeRelease(text string) Finding {
	v, err := parseRelease(text)
	switch {
	case err != nil:
		return unknown(err)
	case v.below(floorBPF):
		return Finding{
			Verdict: Note, Found: text + ": stamps by BPF need 5.15, and tcx 6.6", Remedy: "Linux 6.6 or later, if stamps by BPF are wanted",
		}
	case v.below(floorTCX):
		return Finding{Verdict: Note, Found: text + ": stamps by BPF come from cgroup_skb; tcx needs 6.6"}
	}
	return Finding{Found: text + " has tcx"}
}
