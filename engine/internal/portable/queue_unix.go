//go:build unix

package portable

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// queue asks the kernel whether a socket has datagrams. It is reused, so that asking allocates nothing.
type queue struct {
	poll  [1]unix.PollFd
	holds bool
	ask   func(fd uintptr)
}

func (q *queue) init() {
	q.ask = func(fd uintptr) {
		q.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(q.poll[:], 0)
		q.holds = err == nil && n > 0 && q.poll[0].Revents&unix.POLLIN != 0
	}
}

// receiveBuffer and sendBuffer return the granted sizes.
func receiveBuffer(fd uintptr) (int, error) { return bufferSize(fd, unix.SO_RCVBUF) }
func sendBuffer(fd uintptr) (int, error)    { return bufferSize(fd, unix.SO_SNDBUF) }

// bufferSize returns a buffer's size as package net sets it: Linux answers twice as much.
func bufferSize(fd uintptr, option int) (int, error) {
	n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option)
	if runtime.GOOS == "linux" {
		n /= 2
	}
	return n, err
}
