//go:build !windows

package wire_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "systole/wire"
)

// A key ring that others may read or write is not loaded, and none is saved so.
func TestKeyFilesAreTheOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	ring := parse(t, "1 send "+digits("a"))
	if err := ring.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o620, 0o604, 0o602, 0o666, 0o444} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyRing(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %03o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if r, err := LoadKeyRing(path); err != nil || r.SendKey() != 1 {
			t.Errorf("mode %03o: %v", mode, err)
		}
	}
}
