//go:build !linux || systole_portable

package engine

// onlyPortable says that every engine has the portable sockets: on all systems but Linux, and in
// tests with the build tag systole_portable.
const onlyPortable = true
