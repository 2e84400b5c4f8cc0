package wire

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// NewKey returns a random key.
func NewKey() (Key, error) {
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return k, fmt.Errorf("wire: make a key: %w", err)
	}
	return k, nil
}

// PairKey returns the pairwise key of two nodes under a master key. The order of the ids
// does not matter.
func PairKey(masterKey *Key, a, b uint64) Key {
	var k Key
	NewAuthenticator().pairKey(&k, masterKey, a, b)
	return k
}

// SharedKeyRing returns a ring of one key that all nodes hold. The id is not 0.
func SharedKeyRing(id uint32, key Key) (*KeyRing, error) { return oneKey(id, shared, key) }

// MasterKeyRing returns a ring of one master key. The id is not 0.
func MasterKeyRing(id uint32, key Key) (*KeyRing, error) { return oneKey(id, master, key) }

// oneKey returns a ring of one key, to send with.
func oneKey(id uint32, s scope, key Key) (*KeyRing, error) {
	if id == 0 {
		return nil, errors.New("wire: make a key ring: key id 0 means no key: choose another")
	}
	return &KeyRing{keys: []ringKey{{id: id, scope: s, key: key}}}, nil
}

// lines calls f for each line of the ring's file, until f returns an error.
func (r *KeyRing) lines(f func(keyLine) error) error {
	peers := make(map[uint32][]uint64)
	for p := range r.pairs {
		peers[p.id] = append(peers[p.id], p.peer)
	}
	for i := range r.keys {
		line := keyLine{ringKey: r.keys[i], send: i == r.send}
		if line.scope != pairwise {
			if err := f(line); err != nil {
				return err
			}
			continue
		}
		slices.SortFunc(peers[line.id], cmp.Compare[uint64])
		for _, line.peer = range peers[line.id] {
			line.key = r.pairs[pair{line.peer, line.id}]
			if err := f(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// Add returns a ring with the keys of both, sending with the key of r: the first step of
// a rotation. It is an error if a key id is in both, or if a ring has no keys.
func (r *KeyRing) Add(other *KeyRing) (*KeyRing, error) {
	if err := errors.Join(r.Validate(), other.Validate()); err != nil {
		return nil, err
	}
	for _, id := range other.IDs() {
		if r.find(id) != nil {
			return nil, fmt.Errorf("wire: add to the key ring: key %d is there already: choose another id", id)
		}
	}
	sum := &KeyRing{send: -1}
	err := r.lines(sum.add)
	if err == nil {
		err = other.lines(func(line keyLine) error {
			line.send = false
			return sum.add(line)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("wire: add to the key ring: %w", err)
	}
	return sum, nil
}

// Promote returns a ring of the same keys that sends with the given one: the second step
// of a rotation. It is an error if the ring has no such key.
func (r *KeyRing) Promote(id uint32) (*KeyRing, error) {
	i := slices.Index(r.IDs(), id)
	if i < 0 {
		return nil, fmt.Errorf("wire: promote a key: the ring has no key %d", id)
	}
	return &KeyRing{keys: r.keys, send: i, pairs: r.pairs}, nil
}

// ForNode returns the ring of one node, made from the ring of who holds the master: each
// master key is replaced by the pairwise keys of the node with its peers, under the same
// key id; shared keys stay. It is an error if there is no master key, or a pairwise one;
// if an id is 0, or a peer is named twice, or is the node itself.
func (r *KeyRing) ForNode(own uint64, peers []uint64) (*KeyRing, error) {
	if err := checkPeers(own, peers); err != nil {
		return nil, err
	}
	node, masters, a := &KeyRing{send: -1}, 0, NewAuthenticator()
	err := r.lines(func(line keyLine) error {
		switch line.scope {
		case shared:
			return node.add(line)
		case pairwise:
			return fmt.Errorf("key %d is pairwise already", line.id)
		}
		masters++
		masterKey := line.key
		line.scope = pairwise
		for _, line.peer = range peers {
			a.pairKey(&line.key, &masterKey, own, line.peer)
			if err := node.add(line); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && masters == 0 {
		err = errors.New("the ring has no master key")
	}
	if err != nil {
		return nil, fmt.Errorf("wire: make pairwise keys: %w", err)
	}
	return node, nil
}

// checkPeers returns an error unless the ids are those of a node and of its peers.
func checkPeers(own uint64, peers []uint64) error {
	switch {
	case own == 0:
		return errors.New("wire: make pairwise keys: the node's id is 0")
	case len(peers) == 0:
		return errors.New("wire: make pairwise keys: no peers")
	case slices.Contains(peers, 0):
		return errors.New("wire: make pairwise keys: the id of a peer is 0")
	case slices.Contains(peers, own):
		return fmt.Errorf("wire: make pairwise keys: %#016x is the node itself, not a peer", own)
	}
	return nil
}

// WriteTo writes the ring's file, keys and all, as ParseKeyRing reads it.
func (r *KeyRing) WriteTo(w io.Writer) (int64, error) {
	out := bufio.NewWriter(w)
	total := int64(0)
	err := r.lines(func(line keyLine) error {
		n, err := fmt.Fprintf(out, "%d %s %s\n", line.id, line.words(), hex.EncodeToString(line.key[:]))
		total += int64(n)
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return total - int64(out.Buffered()), fmt.Errorf("wire: write the key ring: %w", err)
	}
	return total, nil
}

// words returns the fields between id and key.
func (l *keyLine) words() string {
	role := "accept"
	if l.send {
		role = "send"
	}
	switch l.scope {
	case master:
		return role + " master"
	case pairwise:
		return fmt.Sprintf("%s peer:0x%016x", role, l.peer)
	}
	return role
}

// Save writes the ring to a new file that only its owner may read or write; on Windows the file has the
// access list of its folder. It is an error if the ring has no keys or the file exists.
func (r *KeyRing) Save(path string) error {
	if err := r.Validate(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("wire: write the key ring: %w", err)
	}
	_, err = r.WriteTo(f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // half a ring is none; the error is told
		return fmt.Errorf("wire: key ring %s: %w", path, err)
	}
	return nil
}
