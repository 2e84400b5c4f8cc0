package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is what a command shares with main: the signals, and whether anybody reads what it prints.
type process struct {
	signals chan os.Signal
	closed  chan struct{} // closed when a reader of the output has closed its pipe
	once    sync.Once     // guards closing it
	ending  atomic.Bool   // a signal ends the command: no write may block any more
}

// newProcess returns a process without signals.
func newProcess() *process {
	return &process{signals: make(chan os.Signal, 8), closed: make(chan struct{})}
}

// notify has the signals delivered. Those that were ignored when the process started stay ignored:
// SIGHUP under nohup, SIGINT of a background job. (Go's runtime does not tell of other signals
// whether they were ignored.)
//
// SIGPIPE is taken and dropped, so that a write to a closed pipe returns an error and the command can
// say goodbye to its peers.
func (p *process) notify() {
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(p.signals, s)
		}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// pressed reports whether the command has better to do than to wait for a reader: a signal is waiting, or
// has ended it.
func (p *process) pressed() bool { return p.ending.Load() || len(p.signals) > 0 }

// next returns the signal that waits, if any.
func (p *process) next() (os.Signal, bool) {
	select {
	case sig := <-p.signals:
		return sig, true
	default:
		return nil, false
	}
}

// unread tells the command that a reader has closed its pipe.
func (p *process) unread() { p.once.Do(func() { close(p.closed) }) }

// isClosed reports whether a reader has closed its pipe.
func (p *process) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// errUnread means that a write was given up.
var errUnread = errors.New("nobody reads the output; some of it is missing")

const (
	// patience is how long a signal waits for a write that blocks.
	patience = 300 * time.Millisecond
	// glance is the time between two looks at the signals during such a write.
	glance = 20 * time.Millisecond
)

// output is a command's standard output or standard error. It keeps the first error, so that commands
// need not check each write. A write that blocks, because the reader of a pipe or a terminal has stopped
// reading, is given up when a signal waits. Any goroutine may write.
type output struct {
	io.Writer
	process *process

	mu      sync.Mutex  // guards what follows; held during a write
	pending chan result // the write that was given up, nil if there is none
	err     error
}

// result is that of a write.
type result struct {
	n   int
	err error
}

// Write writes b. It returns errUnread if it was given up.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pending != nil {
		if _, ok := o.await(o.pending, 0); !ok {
			return 0, o.keep(errUnread)
		}
		o.pending = nil
	}
	// The copy, because the caller changes b after a write that was given up.
	text, done := append([]byte(nil), b...), make(chan result, 1)
	go func() {
		n, err := o.Writer.Write(text)
		done <- result{n, err}
	}()
	r, ok := o.await(done, patience)
	if !ok {
		o.pending = done
		return 0, o.keep(errUnread)
	}
	return r.n, o.keep(r.err)
}

// await waits for a write until it is done, or was awaited for a time in which a signal waited.
func (o *output) await(done chan result, most time.Duration) (result, bool) {
	select {
	case r := <-done:
		return r, true
	case <-time.After(glance):
	}
	look := time.NewTicker(glance)
	defer look.Stop()
	for waited := time.Duration(0); ; {
		if o.process.pressed() {
			if waited >= most {
				return result{}, false
			}
			waited += glance
		}
		select {
		case r := <-done:
			return r, true
		case <-look.C:
		}
	}
}

// keep keeps the first error, and tells the command that a pipe is closed.
func (o *output) keep(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		o.process.unread()
	}
	if o.err == nil {
		o.err = err
	}
	return err
}

// failed returns the first error.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Close does nothing: the process ends with its output open.
func (o *output) Close() error { return nil }
