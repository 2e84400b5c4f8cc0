//go:build systole_canary

package engine

const canary = true
