//go:build linux && !systole_portable

package engine

// onlyPortable says that every engine has the portable sockets.
const onlyPortable = false
