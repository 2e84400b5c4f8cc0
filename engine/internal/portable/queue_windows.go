package portable

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// queue asks the kernel whether a socket has datagrams. It is reused, so that asking allocates nothing.
type queue struct {
	bytes, written uint32
	holds          bool
	ask            func(fd uintptr)
}

// fionread asks for the number of bytes that can be read.
const fionread = 0x4004667f

func (q *queue) init() {
	q.ask = func(fd uintptr) {
		err := windows.WSAIoctl(windows.Handle(fd), fionread, nil, 0,
			(*byte)(unsafe.Pointer(&q.bytes)), uint32(unsafe.Sizeof(q.bytes)), &q.written, nil, 0)
		q.holds = err == nil && q.bytes > 0
	}
}

// receiveBuffer and sendBuffer return the granted sizes.
func receiveBuffer(fd uintptr) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF)
}

func sendBuffer(fd uintptr) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_SNDBUF)
}
