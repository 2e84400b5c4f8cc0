package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"systole/bpf"
)

// tryStamps returns an error unless the kernel stamps a datagram that a socket sends to itself.
func tryStamps() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	const flags = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil {
		return fmt.Errorf("SO_TIMESTAMPING: %w", err)
	}
	limit := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return fmt.Errorf("SO_RCVTIMEO: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind to 127.0.0.1: %w", err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	for range stampTries {
		if err = stampOnce(fd, own); err == nil {
			return nil
		}
		time.Sleep(stampPause)
	}
	return err
}

// The kernel begins to stamp some time after the first socket of the host asked for it.
const (
	stampTries = 20
	stampPause = 5 * time.Millisecond
)

// stampOnce sends a datagram to a socket itself. It returns an error unless that is stamped.
func stampOnce(fd int, own unix.Sockaddr) error {
	before := time.Now()
	if err := unix.Sendto(fd, []byte("systole doctor"), 0, own); err != nil {
		return fmt.Errorf("send to 127.0.0.1: %w", err)
	}
	data, control := make([]byte, 64), make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(fd, data, control, 0)
	if err != nil {
		return fmt.Errorf("receive at 127.0.0.1: %w", err)
	}
	return checkStamp(control[:n], before, time.Now())
}

// checkStamp returns an error unless control messages have a stamp between two instants, or next to
// them: the kernel's clock may be read on another CPU.
func checkStamp(control []byte, before, after time.Time) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("control messages: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_TIMESTAMPING || len(m.Data) < 16 {
			continue
		}
		stamp := time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		if stamp.Before(before.Add(-time.Millisecond)) || stamp.After(after.Add(time.Millisecond)) {
			return fmt.Errorf("the stamp is %v after sending", stamp.Sub(before))
		}
		return nil
	}
	return errors.New("the kernel does not stamp datagrams")
}

// receiveStamps judges whether the kernel stamps datagrams.
func (h *host) receiveStamps() Finding {
	if h.stampsErr != nil {
		return Finding{
			Verdict: Note, Found: "no stamp of the kernel: " + h.stampsErr.Error(),
			Remedy: "allow SO_TIMESTAMPING, if a sandbox refuses it; without stamps, time in the socket's queue counts as delay of the network",
		}
	}
	return Finding{Found: "the kernel stamps datagrams (SO_TIMESTAMPING), which needs no privilege"}
}

// perInterface returns a check that has a finding, or several, per interface.
func (h *host) perInterface(check func(name string) []Finding) func() []Finding {
	return func() []Finding {
		names, err := h.interfaces()
		if err != nil {
			return []Finding{unknown(err)}
		}
		var all []Finding
		for _, name := range names {
			for _, f := range check(name) {
				f.Subject = name
				all = append(all, f)
			}
		}
		if len(all) == 0 {
			return []Finding{{Verdict: Note, Found: "no interface is up and has an address"}}
		}
		return all
	}
}

// interfaces returns the interfaces to examine. By default, those are the interfaces that heartbeats of
// other hosts can come to.
func (h *host) interfaces() ([]string, error) {
	if len(h.options.Interfaces) > 0 {
		return h.options.Interfaces, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if p, ok := a.(*net.IPNet); ok && p.IP.IsGlobalUnicast() {
				names = append(names, i.Name)
				break
			}
		}
	}
	return names, nil
}

// hardwareStamps judges whether an interface stamps datagrams itself.
func (h *host) hardwareStamps(name string) []Finding {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return []Finding{unknown(fmt.Errorf("open a socket: %w", err))}
	}
	defer func() { _ = unix.Close(fd) }()
	info, err := unix.IoctlGetEthtoolTsInfo(fd, name)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return []Finding{unknown(fmt.Errorf("ETHTOOL_GET_TS_INFO: %w", err))}
	}
	f := judgeHardware(info)
	h.hardware[name] = f.Verdict == OK
	return []Finding{f}
}

// judgeHardware judges what an interface can stamp.
func judgeHardware(info *unix.EthtoolTsInfo) Finding {
	switch {
	case info == nil || info.So_timestamping&unix.SOF_TIMESTAMPING_RX_HARDWARE == 0:
		return Finding{Verdict: Note, Found: "no hardware stamps"}
	case info.Rx_filters>>unix.HWTSTAMP_FILTER_ALL&1 == 0:
		return Finding{Verdict: Note, Found: "hardware stamps of PTP only, not of heartbeats"}
	case info.Phc_index < 0:
		return Finding{Verdict: Note, Found: "hardware stamps without a clock that can be compared"}
	}
	return Finding{
		Found:   fmt.Sprintf("hardware stamps of all datagrams, by the clock /dev/ptp%d", info.Phc_index),
		Figures: map[string]int64{"phc_index": int64(info.Phc_index)},
	}
}

// occupants tells which programs are attached to an interface.
func occupants(name string) []Finding {
	found, err := bpf.Hooks(name)
	return judgeOccupants(found, err)
}

// judgeOccupants judges the programs on an interface, and the error of listing them.
func judgeOccupants(found []string, err error) []Finding {
	var all []Finding
	for _, o := range found {
		f := Finding{Verdict: Note, Found: o}
		if strings.HasPrefix(o, "xdp") {
			f.Remedy = "native XDP is not for this probe then; tcx works beside it, and sees what it passes"
		}
		all = append(all, f)
	}
	switch {
	case err != nil:
		all = append(all, unknown(err))
	case len(found) == 0:
		all = append(all, Finding{Found: "no program on XDP and tcx"})
	}
	return all
}

// tiers judges the tiers of stamps, from the worst to the best. Each has its name as the subject.
func (h *host) tiers() []Finding {
	kernel := Finding{Subject: "kernel", Found: "the kernel's receive stamps"}
	if h.stampsErr != nil {
		kernel = Finding{Subject: "kernel", Verdict: Note, Found: h.stampsErr.Error()}
	}
	stamps := judgeProgram(tryProgram(bpf.Options{}))
	stamps.Subject = "bpf"
	absorb := judgeProgram(tryProgram(bpf.Options{Absorb: true}))
	absorb.Subject = "absorb"
	if absorb.Verdict == OK {
		absorb.Found += "; opt-in: taken heartbeats are missing in tcpdump, netfilter and the counters of sockets; " +
			"native XDP is attached only to interfaces that are named, and may reset their links"
	}
	return []Finding{kernel, stamps, absorb, h.tierHardware()}
}

// tryProgram attaches programs to the loopback interface for a moment: nothing less shows whether the
// kernel lets this process do so.
func tryProgram(o bpf.Options) (bpf.Status, error) {
	o.Interfaces, o.Peers = []string{"lo"}, 1
	s, err := bpf.Open(o)
	if err != nil {
		return bpf.Status{}, err
	}
	status := s.Status()
	return status, s.Close()
}

// judgeProgram judges what became of programs.
func judgeProgram(status bpf.Status, err error) Finding {
	if err == nil && status.Limit != nil {
		err = status.Limit
	}
	if err != nil {
		return Finding{Verdict: Note, Found: oneLine(err), Remedy: "see capabilities and kernel"}
	}
	f := Finding{Found: "attached to lo by " + hookOf(status)}
	switch {
	case status.HandOffs:
		f.Found += ", with stamps of hand-offs"
	case status.HandOffError != nil:
		f.Found += "; no stamps of hand-offs: " + oneLine(status.HandOffError)
	}
	return f
}

// hookOf returns the hook of the first program that is attached.
func hookOf(s bpf.Status) string {
	for _, i := range s.Interfaces {
		if i.Hook != "none" {
			return i.Hook
		}
	}
	return "none"
}

// tierHardware judges the tier of hardware stamps.
func (h *host) tierHardware() Finding {
	f := Finding{Subject: "nic", Verdict: Note, Found: "no interface stamps heartbeats itself"}
	for _, able := range h.hardware {
		if able {
			f.Found = "an interface can; this build does not use it"
		}
	}
	return f
}
