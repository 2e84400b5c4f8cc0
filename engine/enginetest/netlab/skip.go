package netlab

import (
	"errors"
	"os"
	"testing"
)

// Test returns a lab that is closed with the test. Without the privilege to make one the
// test is skipped as Require does.
func Test(t testing.TB) *Lab {
	t.Helper()
	l, err := New()
	Require(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Require fails the test for any err but nil. Where err is ErrPrivilege it skips the test
// instead, except where SYSTOLE_CI is set: there a lab must be had.
func Require(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrPrivilege) && os.Getenv("SYSTOLE_CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}
