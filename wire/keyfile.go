//go:build !windows

package wire

import (
	"fmt"
	"os"
)

// checkOwnerOnly returns an error if others than the owner may read or write a file.
func checkOwnerOnly(path string, info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("wire: key ring %s is open to others (mode %03o): chmod 600 it", path, mode)
	}
	return nil
}
