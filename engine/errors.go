package engine

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed: the engine was closed or shut down.
	ErrClosed = errors.New("engine: closed")
	// ErrNoPeer: the peer was removed, or is of another engine.
	ErrNoPeer = errors.New("engine: no such peer; it was removed")
	// ErrDuplicate: the peer's id was given already, or its address is watched: see Engine.AddPeer.
	ErrDuplicate = errors.New("engine: peer is watched already")
	// ErrBusy: the shard's command ring is full; call Turn, or try again later.
	ErrBusy = errors.New("engine: command ring full; the loop has not turned")
	// ErrFull: the peer table holds as many peers as it can.
	ErrFull = fmt.Errorf("engine: table full at %d peers", maxPeers)
	// ErrManual: Turn belongs to engines opened with Config.Manual, and run to others.
	ErrManual = errors.New("engine: Turn needs Config.Manual")
)

// FieldError is one fault of a Config or PeerConfig, or of a level.List. Validate returns all of
// them, joined.
type FieldError struct {
	Field  string // the field's name
	Reason string // what is wrong, and what would be right
	cause  error
}

// Error returns "engine: Field: reason".
func (e *FieldError) Error() string { return "engine: " + e.Field + ": " + e.Reason }

// Unwrap returns the error behind the fault, for instance a *detect.InfeasibleError; nil
// if there is none.
func (e *FieldError) Unwrap() error { return e.cause }

// fieldError builds a FieldError.
func fieldError(field, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &FieldError{field, err.Error(), errors.Unwrap(err)}
}
