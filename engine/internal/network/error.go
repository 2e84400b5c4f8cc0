package network

// Error is a failed step of a set-up. It unwraps to the error of the
// system.
type Error struct {
	Op   string // the step, for instance "bind 192.0.2.1:7853"
	Err  error  // why it failed
	Help string // what would help; may be empty
}

// Error returns the step, why it failed and what would help.
func (e *Error) Error() string {
	s := "udp: " + e.Op + ": " + e.Err.Error()
	if e.Help != "" {
		s += " (" + e.Help + ")"
	}
	return s
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }
