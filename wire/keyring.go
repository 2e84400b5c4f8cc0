package wire

import (
	"errors"
	"fmt"
	"os"
)

// KeyRing is the keys that a node accepts, one of which it sends with. It does not
// change once made, and any goroutine may use it. It comes from LoadKeyRing,
// ParseKeyRing, or the functions that make and combine rings; the zero value has no keys
// and accepts none.
//
// Its file has a line per key: an id from 1 to 4294967295, the word send or accept, and
// 64 hexadecimal digits. Before the digits may stand a scope. Blank lines and lines that
// begin with # are passed over. Exactly one id is the one to send with.
//
//	1 accept 5d0c...                            shared: all nodes hold it
//	2 accept master 9a41...                     the pairwise keys of all nodes follow from it
//	3 send   peer:0x00000000000000b1 77e0...    pairwise: this node and node b1 hold it
//	3 send   peer:178 c39d...                   the same id, with node b2
//
// Who holds a shared key can speak as any node. Who holds pairwise keys can speak as
// itself alone; who holds the master, as any node. Pairwise keys need ids that are
// configured: this node's own, and those of its peers.
//
// A key is replaced in three steps, each on all nodes before the next, and no heartbeat
// is lost: add the new key as accept; make it send and the old one accept; remove the
// old one. The scopes of the old and the new key may differ.
type KeyRing struct {
	keys  []ringKey
	send  int // index of the key to send with
	pairs map[pair]Key
}

// ringKey is a key id and what it stands for.
type ringKey struct {
	id    uint32
	scope scope
	key   Key // of a pairwise key id nothing: see KeyRing.pairs
}

// pair names a pairwise key: the other node, and the key id.
type pair struct {
	peer uint64
	id   uint32
}

// scope is who holds a key.
type scope uint8

const (
	shared scope = iota
	master
	pairwise
)

const (
	// maxKeys bounds the key ids of a ring, since a lookup walks them.
	maxKeys = 16
	// maxPairs bounds the pairwise keys of a ring.
	maxPairs = 1 << 20
)

// LoadKeyRing reads the key ring from a file, which only its owner may read or write:
// the errors of ParseKeyRing, of the file system, or of its permissions.
//
// On Windows it does not check who may read the file: its access list decides, and a file has
// that of its folder unless somebody changes it.
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
	if err := checkOwnerOnly(path, info); err != nil {
		return nil, err
	}
	r, err := ParseKeyRing(f)
	if err != nil {
		return nil, fmt.Errorf("wire: key ring %s: %w", path, err)
	}
	return r, nil
}

// errNoKeys is what Validate says of a ring without keys.
var errNoKeys = errors.New("wire: the key ring has no keys: make it with LoadKeyRing or ParseKeyRing")

// Validate returns an error if the ring has no keys, as new(KeyRing) has none.
func (r *KeyRing) Validate() error {
	if len(r.keys) == 0 {
		return errNoKeys
	}
	return nil
}

// SendKey returns the id of the key to send with, 0 if the ring has no keys.
func (r *KeyRing) SendKey() uint32 {
	if len(r.keys) == 0 {
		return 0
	}
	return r.keys[r.send].id
}

// IDs returns the key ids in the order in which they were added: the newest is the last.
func (r *KeyRing) IDs() []uint32 {
	ids := make([]uint32, len(r.keys))
	for i := range r.keys {
		ids[i] = r.keys[i].id
	}
	return ids
}

// Pairwise reports whether a key needs both ids known: it is a pairwise key or a master.
func (r *KeyRing) Pairwise() bool {
	for i := range r.keys {
		if r.keys[i].scope != shared {
			return true
		}
	}
	return false
}

// find returns the key with an id, nil if the ring does not accept it.
func (r *KeyRing) find(id uint32) *ringKey {
	for i := range r.keys {
		if r.keys[i].id == id {
			return &r.keys[i]
		}
	}
	return nil
}

// Format prints which keys there are, for every verb, and none of them.
func (r *KeyRing) Format(out fmt.State, _ rune) {
	if len(r.keys) == 0 {
		fmt.Fprint(out, "no keys")
		return
	}
	fmt.Fprintf(out, "%d keys, sending with %d", len(r.keys), r.SendKey())
}
