package netlab

import (
	"errors"
	"os"
	"testing"
)

// Test returns a lab that is closed with the test. Without the privilege to make one the
// test is skipped, except where SYSTOLE_CI is set: there it must be had.
func Test(t testing.TB) *Lab {
	t.Helper()
	l, err := New()
	switch {
	case errors.Is(err, ErrPrivilege) && os.Getenv("SYSTOLE_CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}
