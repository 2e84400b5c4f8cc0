package wire

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// KeyRing is the keys that a node accepts, one of which it sends with. It does not
// change once made, and any goroutine may use it.
//
// Its file has a line per key: an id from 1 to 4294967295, the word send or accept, and
// 64 hexadecimal digits. Blank lines and lines that begin with # are passed over.
// Exactly one key is the one to send with.
//
//	# made by: openssl rand -hex 32
//	1 accept 5d0c...
//	2 send   9a41...
//
// A key is replaced in three steps, each on all nodes before the next, and no heartbeat
// is lost: add the new key as accept; make it send and the old one accept; remove the
// old one.
type KeyRing struct {
	entries []keyEntry
	send    int
}

// keyEntry is a key and its id.
type keyEntry struct {
	id  uint32
	key Key
}

// maxKeys bounds a ring, since a lookup walks it.
const maxKeys = 16

// LoadKeyRing reads the key ring from a file, which only its owner may read or write:
// the errors of ParseKeyRing, of the file system, or of its permissions.
func LoadKeyRing(path string) (*KeyRing, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("wire: read the key ring: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("wire: read the key ring: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("wire: key ring %s is open to others (mode %03o): chmod 600 it", path, mode)
	}
	r, err := ParseKeyRing(f)
	if err != nil {
		return nil, fmt.Errorf("wire: key ring %s: %w", path, err)
	}
	return r, nil
}

// ParseKeyRing reads a key ring. It returns the faults of all lines, joined; they never
// contain a key.
func ParseKeyRing(in io.Reader) (*KeyRing, error) {
	r := &KeyRing{send: -1}
	var faults []error
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := r.add(line); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
		}
	}
	if err := lines.Err(); err != nil {
		faults = append(faults, err)
	}
	if r.send < 0 && len(faults) == 0 {
		faults = append(faults, errors.New("no key to send with: mark one with send"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return r, nil
}

// add adds the key of one line.
func (r *KeyRing) add(line string) error {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return fmt.Errorf("%d fields, want id, send or accept, and key", len(fields))
	}
	id, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || id == 0 {
		return errors.New("the id is not a number from 1 to 4294967295")
	}
	var e keyEntry
	e.id = uint32(id)
	if len(fields[2]) != 2*KeySize {
		return fmt.Errorf("key %d has %d digits, want %d", id, len(fields[2]), 2*KeySize)
	}
	if _, err := hex.Decode(e.key[:], []byte(fields[2])); err != nil {
		return fmt.Errorf("key %d is not hexadecimal", id)
	}
	switch {
	case len(r.entries) == maxKeys:
		return fmt.Errorf("more than %d keys", maxKeys)
	case r.Key(e.id) != nil:
		return fmt.Errorf("key %d is there twice", id)
	case fields[1] == "send" && r.send >= 0:
		return fmt.Errorf("key %d is a second one to send with", id)
	case fields[1] == "send":
		r.send = len(r.entries)
	case fields[1] != "accept":
		return fmt.Errorf("key %d: %q is neither send nor accept", id, fields[1])
	}
	r.entries = append(r.entries, e)
	return nil
}

// Key returns the key with an id, nil if the ring does not accept it.
func (r *KeyRing) Key(id uint32) *Key {
	for i := range r.entries {
		if r.entries[i].id == id {
			return &r.entries[i].key
		}
	}
	return nil
}

// SendKey returns the id of the key to send with.
func (r *KeyRing) SendKey() uint32 { return r.entries[r.send].id }

// String says which keys there are, and none of them.
func (r *KeyRing) String() string {
	return fmt.Sprintf("%d keys, sending with %d", len(r.entries), r.SendKey())
}

// GoString keeps keys out of %#v.
func (r *KeyRing) GoString() string { return "wire.KeyRing{" + r.String() + "}" }
