package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "systole/wire"
)

// digits is a key of equal digits.
func digits(c string) string { return strings.Repeat(c, 2*len(Key{})) }

// parse is ParseKeyRing that must succeed.
func parse(t testing.TB, lines ...string) *KeyRing {
	t.Helper()
	r, err := ParseKeyRing(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must returns a ring that could be made.
func must(t testing.TB) func(*KeyRing, error) *KeyRing {
	return func(r *KeyRing, err error) *KeyRing {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// key looks a key up, nil if it is refused.
func key(r *KeyRing, id uint32, own, peer uint64) *Key {
	var k Key
	if !NewAuthenticator().Key(r, id, own, peer, &k) {
		return nil
	}
	return &k
}

// accepts fails t unless what one node sends is accepted by the other, under the same key.
func accepts(t *testing.T, sender, receiver *KeyRing, from, to uint64) {
	t.Helper()
	id := sender.SendKey()
	sent, taken := key(sender, id, from, to), key(receiver, id, to, from)
	if sent == nil || taken == nil || *sent != *taken {
		t.Errorf("%v to %v: what is sent with key %d is refused", sender, receiver, id)
	}
}

// W13: the three steps of a rotation overlap, one node being a step ahead of the other,
// whichever it is: from a shared key to another, from shared to pairwise, and from one
// master to another, at a node that holds the master and at one that does not.
func TestRotation(t *testing.T) {
	const a, b = 0xa, 0xb
	made := must(t)
	shared := made(SharedKeyRing(1, Key{1}))
	for name, next := range map[string]*KeyRing{
		"shared": made(SharedKeyRing(2, Key{2})), "master": made(MasterKeyRing(2, Key{2})),
	} {
		t.Run("shared to "+name, func(t *testing.T) { rotate(t, shared, next, a, b) })
	}
	t.Run("master to master", func(t *testing.T) {
		rotate(t, made(MasterKeyRing(1, Key{1})), made(MasterKeyRing(2, Key{2})), a, b)
	})
}

// rotate rotates from one ring to another at node a, which has what is on file, and at
// node b, which has pairwise keys for every master.
func rotate(t *testing.T, from, to *KeyRing, a, b uint64) {
	t.Helper()
	added := must(t)(from.Add(to))
	promoted := must(t)(added.Promote(2))
	steps := []*KeyRing{from, added, promoted, to}
	at := func(i int) *KeyRing {
		if !steps[i].Pairwise() {
			return steps[i]
		}
		return must(t)(steps[i].ForNode(b, []uint64{a, 0xc}))
	}
	for i := range steps {
		for j := max(i-1, 0); j <= min(i+1, len(steps)-1); j++ {
			accepts(t, steps[i], at(j), a, b)
			accepts(t, at(j), steps[i], b, a)
			accepts(t, at(i), must(t)(roundTrip(steps[j])), b, a)
		}
	}
}

// roundTrip writes a ring and reads it again.
func roundTrip(r *KeyRing) (*KeyRing, error) {
	var file bytes.Buffer
	if _, err := r.WriteTo(&file); err != nil {
		return nil, err
	}
	return ParseKeyRing(&file)
}

// W10, W13: who may hold which key.
func TestScopes(t *testing.T) {
	r := parse(t,
		"# the scopes", "1 accept "+digits("1"), "2 accept master "+digits("2"),
		"3 send peer:178 "+digits("3"), "3 send peer:0x00000000000000B1 "+digits("4"))
	m := Key(bytes.Repeat([]byte{0x22}, len(Key{})))
	pairOf := PairKey(&m, 7, 178)
	for _, test := range []struct {
		id        uint32
		own, peer uint64
		want      string // its first digits, none: refused
	}{
		{1, 7, 178, "1111"}, {1, 0, 0, "1111"}, {2, 7, 178, fmt.Sprintf("%x", pairOf[:2])},
		{2, 178, 7, fmt.Sprintf("%x", pairOf[:2])}, {2, 0, 178, ""}, {2, 7, 0, ""},
		{3, 7, 178, "3333"}, {3, 7, 0xb1, "4444"}, {3, 7, 179, ""}, {3, 7, 0, ""}, {0, 7, 178, ""}, {4, 7, 178, ""},
	} {
		got := ""
		if k := key(r, test.id, test.own, test.peer); k != nil {
			got = fmt.Sprintf("%x", k[:2])
		}
		if got != test.want {
			t.Errorf("key %d of %d with %d: %q, want %q", test.id, test.own, test.peer, got, test.want)
		}
	}
	if !r.Pairwise() || parse(t, "1 send "+digits("1")).Pairwise() || !parse(t, "1 send master "+digits("1")).Pairwise() {
		t.Error("which rings need ids")
	}
}

// A ring without keys accepts none and says so; nothing of it panics.
func TestZeroKeyRing(t *testing.T) {
	r := new(KeyRing)
	if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("Validate: %v", err)
	}
	if r.SendKey() != 0 || r.Pairwise() || len(r.IDs()) != 0 || key(r, 0, 1, 2) != nil || key(r, 1, 1, 2) != nil {
		t.Error("the zero ring has a key")
	}
	if s := fmt.Sprintf("%v %#v", r, r); !strings.Contains(s, "no keys") {
		t.Error(s)
	}
	path := filepath.Join(t.TempDir(), "keys")
	one := must(t)(SharedKeyRing(1, Key{1}))
	for name, f := range map[string]func() error{
		"Add":     func() error { _, err := r.Add(one); return err },
		"AddZero": func() error { _, err := one.Add(r); return err },
		"Promote": func() error { _, err := r.Promote(0); return err },
		"ForNode": func() error { _, err := r.ForNode(1, []uint64{2}); return err },
		"Save":    func() error { return r.Save(path) },
	} {
		if f() == nil {
			t.Errorf("%s accepts the zero ring", name)
		}
	}
	if n, err := r.WriteTo(new(bytes.Buffer)); n != 0 || err != nil {
		t.Errorf("WriteTo: %d, %v", n, err)
	}
}

// Rings that cannot be combined.
func TestCombineFaults(t *testing.T) {
	made := must(t)
	m, s := made(MasterKeyRing(1, Key{1})), made(SharedKeyRing(2, Key{2}))
	node := made(m.ForNode(1, []uint64{2}))
	for want, f := range map[string]func() (*KeyRing, error){
		"key 1 is there already": func() (*KeyRing, error) { return m.Add(node) },
		"no key 9":               func() (*KeyRing, error) { return m.Promote(9) },
		"key id 0":               func() (*KeyRing, error) { return SharedKeyRing(0, Key{}) },
		"no master key":          func() (*KeyRing, error) { return s.ForNode(1, []uint64{2}) },
		"pairwise already":       func() (*KeyRing, error) { return node.ForNode(1, []uint64{2}) },
		"twice":                  func() (*KeyRing, error) { return m.ForNode(1, []uint64{2, 2}) },
		"the node itself":        func() (*KeyRing, error) { return m.ForNode(1, []uint64{1}) },
		"no peers":               func() (*KeyRing, error) { return m.ForNode(1, nil) },
		"node's id is 0":         func() (*KeyRing, error) { return m.ForNode(0, []uint64{1}) },
		"peer is 0":              func() (*KeyRing, error) { return m.ForNode(1, []uint64{0}) },
	} {
		if r, err := f(); r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if got := made(m.Add(s)).IDs(); len(got) != 2 || got[1] != 2 {
		t.Errorf("ids %v", got)
	}
}

func TestKeyRingFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "no key to send with",
		"1 accept " + digits("a"):        "no key to send with",
		"1 send":                         "line 1: 2 fields",
		"0 send " + digits("a"):          "line 1: the id",
		"x send " + digits("a"):          "line 1: the id",
		"4294967296 send " + digits("a"): "line 1: the id",
		"\n1 send abc":                   "line 2: key 1 has 3 digits",
		"1 send " + digits("x"):          "not hexadecimal",
		"1 use " + digits("a"):           "neither send nor accept",
		// Fields out of their places are not quoted: they may be keys.
		"1 " + digits("a") + " " + digits("a"):                                "neither send nor accept",
		"1 send " + digits("a") + " " + digits("a"):                           "neither master nor peer",
		"1 send master master " + digits("a"):                                 "5 fields",
		"1 send peer: " + digits("a"):                                         "peer's id",
		"1 send peer:0 " + digits("a"):                                        "peer's id",
		"1 send peer:0000000000000012 " + digits("a"):                         "peer's id",
		"1 send peer:1f " + digits("a"):                                       "peer's id",
		"1 send peer:0x " + digits("a"):                                       "peer's id",
		"1 send peer:+1 " + digits("a"):                                       "peer's id",
		"1 send peer:18446744073709551616 " + digits("a"):                     "peer's id",
		"1 accept peer:1 " + digits("a") + "\n1 accept peer:2 " + digits("a"): "no key to send with",
		"1 send peer:1 " + digits("a") + "\n1 accept peer:2 " + digits("a"):   "line 2: key 1 is one to send with on one line",
		"1 accept peer:1 " + digits("a") + "\n1 send peer:2 " + digits("a"):   "line 2: key 1 is one to send with on one line",
		"1 send peer:31 " + digits("a") + "\n1 send peer:0x1f " + digits("b"): "line 2: key 1 is there twice for peer 0x",
		"1 send peer:1 " + digits("a") + "\n1 send " + digits("b"):            "line 2: key 1 has another scope",
		"1 send master " + digits("a") + "\n1 send peer:1 " + digits("b"):     "line 2: key 1 has another scope",
		"1 send master " + digits("a") + "\n1 send master " + digits("b"):     "line 2: key 1 is there twice",
		"1 send " + digits("a") + "\n1 accept " + digits("b"):                 "line 2: key 1 is there twice",
		"1 send " + digits("a") + "\n2 send " + digits("b"):                   "line 2: key 2 is a second one",
	} {
		r, err := ParseKeyRing(strings.NewReader(text))
		if err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "aaaa") {
			t.Errorf("the error tells the key: %v", err)
		}
	}
	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, "%d accept %s\n", i+1, digits("a"))
	}
	if _, err := ParseKeyRing(strings.NewReader(many.String())); err == nil {
		t.Error("17 keys were accepted")
	}
	_, err := ParseKeyRing(strings.NewReader(strings.Repeat("nonsense\n", 1000)))
	if lines := strings.Count(err.Error(), "line"); lines != 20 {
		t.Errorf("%d faults told of 1000", lines)
	}
	r := parse(t, "1 send "+digits("a"), "2 accept peer:1 "+digits("a"))
	if s := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(s, "aaaa") || strings.Contains(s, "170") {
		t.Errorf("printing tells the key: %s", s)
	}
}

func TestLoadKeyRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadKeyRing(path); err == nil {
		t.Error("a missing file was read")
	}
	if err := os.WriteFile(path, []byte("1 send "+digits("a")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := LoadKeyRing(path); err != nil || r.SendKey() != 1 {
		t.Error(err)
	}
}

// What is saved is read again, and never written over.
func TestSaveKeyRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	lines := "1 accept " + digits("a") + "\n2 send peer:0x0000000000000001 " + digits("b") +
		"\n2 send peer:0x00000000000000ff " + digits("c") + "\n3 accept master " + digits("d") + "\n"
	if err := parse(t, lines).Save(path); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != lines {
		t.Errorf("%v, wrote\n%s", err, text)
	}
	if err := must(t)(SharedKeyRing(9, Key{})).Save(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if r, err := LoadKeyRing(path); err != nil || r.SendKey() != 2 {
		t.Errorf("%v, %v", r, err)
	}
	one, err := NewKey()
	other, err2 := NewKey()
	if one == other || one == (Key{}) || err != nil || err2 != nil {
		t.Error("keys are not random")
	}
}

// A lookup allocates nothing, whatever the scope.
func TestKeyAllocs(t *testing.T) {
	r := parse(t, "1 send "+digits("1"), "2 accept master "+digits("2"), "3 accept peer:5 "+digits("3"))
	a, out, sum := NewAuthenticator(), new(Key), 0
	n := testing.AllocsPerRun(1000, func() {
		for id := range uint32(5) {
			if a.Key(r, id, 7, 5, out) {
				sum++
			}
		}
	})
	if n != 0 || sum != 3*1001 {
		t.Errorf("%v allocations, %d found", n, sum)
	}
}
