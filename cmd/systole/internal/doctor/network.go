package doctor

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"systole/engine"
)

// buffers judges whether sockets hold what an engine wants. It opens one, and closes it at once.
func (h *host) buffers() Finding {
	e, err := engine.Open(engine.Config{Listen: h.options.Listen, ExpectedPeers: h.options.Peers, Manual: true})
	if err != nil {
		return Finding{
			Verdict: Problem, Found: "an engine does not open: " + oneLine(err),
			Remedy: "free the address, or give another one by --listen; in a sandbox, allow sockets of UDP and their options",
		}
	}
	stats := e.Stats()
	if err := e.Close(); err != nil {
		return unknown(err)
	}
	return judgeBuffers(stats, h.options.Peers)
}

// judgeBuffers judges the buffers of an engine for a number of peers.
func judgeBuffers(stats engine.Stats, peers int) Finding {
	recv, send := stats.Sockets.RecvBuffer, stats.Sockets.SendBuffer
	f := Finding{
		Found: fmt.Sprintf("%d peers want %d bytes to receive and %d to send, and sockets get them", peers, recv.Wanted, send.Wanted),
		Figures: map[string]int64{
			"receive_wanted": int64(recv.Wanted), "receive_granted": int64(recv.Granted),
			"send_wanted": int64(send.Wanted), "send_granted": int64(send.Granted),
		},
	}
	var settings []string
	if recv.Granted < recv.Wanted {
		settings = append(settings, fmt.Sprintf("net.core.rmem_max=%d", recv.Wanted))
	}
	if send.Granted < send.Wanted {
		settings = append(settings, fmt.Sprintf("net.core.wmem_max=%d", send.Wanted))
	}
	if len(settings) > 0 {
		f.Verdict = Problem
		f.Found = fmt.Sprintf("%d peers want %d bytes to receive and %d to send; sockets get %d and %d",
			peers, recv.Wanted, send.Wanted, recv.Granted, send.Granted)
		f.Remedy = "sysctl -w " + strings.Join(settings, " ") + ", or give CAP_NET_ADMIN"
	}
	return f
}

// udpDrops judges what sockets of UDP have dropped in this network namespace. The kernel does not say of
// which process they were.
func (h *host) udpDrops() Finding {
	if err := cmp.Or(h.before.udpErr, h.after.udpErr); err != nil {
		return unknown(err)
	}
	return judgeUDP(h.before.udp, h.after.udp, h.sample)
}

// judgeUDP judges the counters before and after the sample.
func judgeUDP(before, after udpCounts, length time.Duration) Finding {
	full, sum := since(after.full, before.full), since(after.checksum, before.checksum)
	f := Finding{
		Found: fmt.Sprintf("sockets of all processes refused %d datagrams so far: %d for a full buffer (%d in a sample of %v), "+
			"%d for a wrong checksum (%d)", after.errors, after.full, full, length.Round(time.Millisecond), after.checksum, sum),
		Figures: map[string]int64{
			"errors": int64(after.errors), "full": int64(after.full), "full_sample": int64(full),
			"checksum": int64(after.checksum), "checksum_sample": int64(sum), "sample_ns": int64(length),
		},
	}
	var remedies []string
	if after.full > 0 {
		remedies = append(remedies, "look for the sockets that overflow: ss -uampn, d in skmem")
	}
	if after.checksum > 0 {
		remedies = append(remedies, "look for a device or a path that damages datagrams: ethtool -S")
	}
	if len(remedies) > 0 {
		f.Verdict, f.Remedy = Note, strings.Join(remedies, "; ")
	}
	return f
}

// backlogDrops judges what CPUs have dropped before any socket, for all network namespaces.
func (h *host) backlogDrops() Finding {
	if err := cmp.Or(h.before.backlogErr, h.after.backlogErr); err != nil {
		return unknown(err)
	}
	return judgeBacklog(h.before.backlog, h.after.backlog, h.sample)
}

// judgeBacklog judges the counters before and after the sample.
func judgeBacklog(before, after backlogCounts, length time.Duration) Finding {
	dropped, squeezed := since(after.dropped, before.dropped), since(after.squeezed, before.squeezed)
	f := Finding{
		Found: fmt.Sprintf("the CPUs' queues dropped %d packets since boot (%d in a sample of %v), and had more than one round could take %d times (%d)",
			after.dropped, dropped, length.Round(time.Millisecond), after.squeezed, squeezed),
		Figures: map[string]int64{
			"dropped": int64(after.dropped), "dropped_sample": int64(dropped),
			"squeezed": int64(after.squeezed), "squeezed_sample": int64(squeezed), "sample_ns": int64(length),
		},
	}
	switch {
	case dropped > 0:
		f.Verdict, f.Remedy = Problem, "raise net.core.netdev_max_backlog"
	case after.dropped > 0:
		f.Verdict, f.Remedy = Note, "raise net.core.netdev_max_backlog"
	case squeezed > 0:
		f.Verdict, f.Remedy = Note, "raise net.core.netdev_budget and netdev_budget_usecs"
	}
	return f
}
