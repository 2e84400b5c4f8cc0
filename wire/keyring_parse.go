package wire

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLineFaults bounds the faults that ParseKeyRing returns of one file.
const maxLineFaults = 20

// ParseKeyRing reads a key ring. It returns the faults of all lines, joined; of more
// than 20, the first 20. They never contain a key.
func ParseKeyRing(in io.Reader) (*KeyRing, error) {
	r := &KeyRing{send: -1}
	var faults []error
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan() && len(faults) < maxLineFaults; n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := r.addLine(line); err != nil {
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

// keyLine is one line of a key ring's file.
type keyLine struct {
	ringKey
	send bool
	peer uint64 // of a pairwise key
}

// addLine adds the key of one line.
func (r *KeyRing) addLine(text string) error {
	line, err := parseKeyLine(text)
	if err != nil {
		return err
	}
	return r.add(line)
}

// parseKeyLine reads one line. A field out of its place may be a key, so that no error
// quotes one.
func parseKeyLine(text string) (keyLine, error) {
	var line keyLine
	fields := strings.Fields(text)
	if len(fields) != 3 && len(fields) != 4 {
		return line, fmt.Errorf("%d fields, want id, send or accept, maybe a scope, and key", len(fields))
	}
	id, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || id == 0 {
		return line, errors.New("the id is not a number from 1 to 4294967295")
	}
	line.id = uint32(id)
	switch fields[1] {
	case "send":
		line.send = true
	case "accept":
	default:
		return line, fmt.Errorf("key %d: the second field is neither send nor accept", id)
	}
	if len(fields) == 4 {
		if line.scope, line.peer, err = parseScope(fields[2]); err != nil {
			return line, fmt.Errorf("key %d: %w", id, err)
		}
	}
	digits := fields[len(fields)-1]
	if len(digits) != 2*keySize {
		return line, fmt.Errorf("key %d has %d digits, want %d", id, len(digits), 2*keySize)
	}
	if _, err := hex.Decode(line.key[:], []byte(digits)); err != nil {
		return line, fmt.Errorf("key %d is not hexadecimal", id)
	}
	return line, nil
}

// parseScope reads the scope of a line: master, or peer: and an id.
func parseScope(text string) (scope, uint64, error) {
	if text == "master" {
		return master, 0, nil
	}
	number, ok := strings.CutPrefix(text, "peer:")
	if !ok {
		return shared, 0, errors.New("the scope is neither master nor peer:ID")
	}
	peer, err := ParseID(number)
	if err != nil {
		return shared, 0, fmt.Errorf("the peer's id is %w", err)
	}
	return pairwise, peer, nil
}

// errID does not quote what is wrong: a field out of its place may be a key.
var errID = errors.New("not a number from 1 to 2^64-1, decimal without zeros before it or hexadecimal with 0x")

// ParseID reads the id of a node as key files have it: a decimal number, or a hexadecimal
// one with 0x. A decimal number with zeros before it is an error, since it is likely a
// hexadecimal one.
func ParseID(text string) (uint64, error) {
	base := 10
	if digits, isHex := strings.CutPrefix(text, "0x"); isHex {
		text, base = digits, 16
	} else if strings.HasPrefix(text, "0") {
		return 0, errID
	}
	id, err := strconv.ParseUint(text, base, 64)
	if err != nil || id == 0 {
		return 0, errID
	}
	return id, nil
}

// add adds a line. With an error the ring is as it was.
func (r *KeyRing) add(line keyLine) error {
	id := line.id
	known := r.find(id)
	sends := r.send >= 0 && r.keys[r.send].id == id
	switch {
	case known == nil && len(r.keys) == maxKeys:
		return fmt.Errorf("more than %d keys", maxKeys)
	case known != nil && known.scope != line.scope:
		return fmt.Errorf("key %d has another scope on another line", id)
	case known != nil && line.scope != pairwise:
		return fmt.Errorf("key %d is there twice", id)
	case known != nil && line.send != sends:
		return fmt.Errorf("key %d is one to send with on one line and not on another", id)
	case known == nil && line.send && r.send >= 0:
		return fmt.Errorf("key %d is a second one to send with", id)
	}
	if line.scope == pairwise {
		if err := r.addPair(line); err != nil {
			return err
		}
		line.key = Key{}
	}
	if known != nil {
		return nil
	}
	if line.send {
		r.send = len(r.keys)
	}
	r.keys = append(r.keys, line.ringKey)
	return nil
}

// addPair adds the pairwise key of a line.
func (r *KeyRing) addPair(line keyLine) error {
	name := pair{line.peer, line.id}
	if _, there := r.pairs[name]; there {
		return fmt.Errorf("key %d is there twice for peer %#016x", line.id, line.peer)
	}
	if len(r.pairs) == maxPairs {
		return fmt.Errorf("more than %d pairwise keys", maxPairs)
	}
	if r.pairs == nil {
		r.pairs = make(map[pair]Key)
	}
	r.pairs[name] = line.key
	return nil
}
