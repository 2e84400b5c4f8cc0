//go:build !systole_canary

package engine

// canary breaks a rule on purpose in builds with the tag systole_canary: our own pauses move
// no deadline. The simulated world has to find that out; see TestCanary in enginetest.
const canary = false
