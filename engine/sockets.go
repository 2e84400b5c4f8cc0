package engine

import (
	"cmp"
	"errors"
	"net/netip"

	"systole/engine/internal/network"
	"systole/engine/internal/portable"
)

// openSockets opens the sockets of every shard, unless the network is simulated.
func (e *Engine) openSockets() error {
	switch {
	case e.cfg.world != nil:
		e.shards[0].net = e.cfg.world
		return nil
	case e.cfg.portable:
		return e.openPortable()
	}
	return e.openNative()
}

// openPortable opens the sockets of the only shard.
func (e *Engine) openPortable() error {
	size := e.bufferSizes()
	n, err := portable.Open(portable.Options{
		Listen: e.cfg.Listen, Optional: e.cfg.defaultListen, RecvBuffer: size[0], SendBuffer: size[1],
	})
	if err == nil {
		e.shards[0].net = n
	}
	return err
}

// layer names the sockets.
func (e *Engine) layer() string {
	switch {
	case e.cfg.world != nil:
		return "simulated"
	case e.cfg.portable:
		return "portable"
	}
	return "linux"
}

// bufferSizes returns the sizes of the receive and the send buffer. By default, the
// receive buffer holds what every peer sends in two periods or, if that is longer, in the
// longest stall that is no pause; the send buffer holds the batches of one turn. Both hold
// at least a burst of first contacts.
func (e *Engine) bufferSizes() [2]int {
	size := 2 * network.QueuedSize * max(e.cfg.ExpectedPeers/e.cfg.Shards, minBufferedPeers)
	return [2]int{cmp.Or(e.cfg.RecvBuffer, size), cmp.Or(e.cfg.SendBuffer, size)}
}

// minBufferedPeers is the least number of peers that buffers are sized for.
const minBufferedPeers = 256

// closeSockets closes the sockets of every shard.
func (e *Engine) closeSockets() error {
	var errs []error
	for _, s := range e.shards {
		if s.net != nil {
			errs = append(errs, s.net.Close())
		}
	}
	return errors.Join(errs...)
}

// Addrs returns the local addresses, with the ports that the kernel chose. Any
// goroutine may call it.
func (e *Engine) Addrs() []netip.AddrPort { return e.shards[0].net.Local() }
