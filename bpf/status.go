package bpf

import "time"

// Status is what a Source does at present.
type Status struct {
	Tier Tier `json:"tier"`
	// Limit is why Tier is not the one that the options ask for, nil if it is.
	Limit *Error `json:"limit,omitempty"`
	// Interfaces are where programs are attached, or should be, in the order of their indices.
	Interfaces []InterfaceStatus `json:"interfaces"`
	// HandOffs reports whether HandedOff knows when network drivers take heartbeats.
	HandOffs     bool   `json:"handoffs"`
	HandOffError *Error `json:"handoff_error,omitempty"` // why not
	// Loader is why the programs have ended though the Source has not: the process that Dial had
	// load them has ended.
	Loader   *Error   `json:"loader,omitempty"`
	Counters Counters `json:"counters"`
}

// InterfaceStatus is the program at an interface.
type InterfaceStatus struct {
	Index int       `json:"index"` // 0: a cgroup, or no interface has the name
	Name  string    `json:"name"`  // or the directory of the cgroup
	Hook  string    `json:"hook"`  // "tcx", "cgroup" or "xdp"; "none": no program is attached
	Since time.Time `json:"since,omitzero"`
	// Err is why no program is attached, or why it is not by native XDP.
	Err *Error `json:"error,omitempty"`
}
