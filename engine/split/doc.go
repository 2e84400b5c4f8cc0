// Package split says in which part of its way a heartbeat's delay arose: at the sender, in the sender's
// host, in the network, in the receiver's host, or at the receiver's socket. It works on the samples of
// engine.Peer.Samples and on the delays of an engine.Event.
//
//	c := split.New(e.Grid())
//	...
//	n, total := p.Samples(buf)
//	c.Take(buf[:n], total)
//	...
//	sum := c.Sum()
//	fmt.Println(sum.Cause()) // 97 % of the delay arose in the network
//
// A Collector has a histogram of each part (package histogram), and their sum. A Sum splits the delay of one heartbeat or of
// many. Cause names the part in which most of it arose.
//
// # What counts as a delay
//
// The engine reads its sockets once per step of its grid, so that a batch costs one wake-up: by design a
// heartbeat waits at the socket for up to engine.Engine.Grid, which is 4 ms at most. A Sum takes one step
// off each wait there. Histograms have the whole wait. An average delay below 100 µs is no delay: so
// much of it is the noise of clocks and schedulers.
//
// # What was not measured
//
// A part that was not measured is in Network, and a Cause says so. The wait in the sender's host is known
// only of heartbeats of which the sender tells it; see engine.Config.StampSends. Where that is one in so
// many, a Sum takes their mean for the others, as far as the delay of the others allows. If most of the
// network's delay is of heartbeats without a known wait all the same, it arose "in the network or the
// sender's host". Without a stamp of the arrival, the receiver's parts are in Network too.
package split
