//go:build race

package enginetest_test

const raceEnabled = true
