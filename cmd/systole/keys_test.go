package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"systole/wire"
)

// keysIn runs systole keys. In args @ stands for dir.
func keysIn(t *testing.T, dir, args string) error {
	t.Helper()
	cmd := newKeys()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(strings.Fields(strings.ReplaceAll(args, "@", dir+"/")))
	return cmd.Execute()
}

// Nodes accept each other in all steps from a shared key to another, and from shared to pairwise
// keys, as in the help text.
func TestKeysRotation(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{
		"shared -f @s1", "shared --add @s1 -f @s2", "promote @s2 -f @s3",
		"master --add @s1 -f @m2", "promote @m2 -f @m3", "master -f @m4 --key-id 2",
		"pair --master @m2 --id 0xa --peer 11,12 -f @a2", "pair --master @m2 --id 11 --peer 10 --peer 12 -f @b2",
		"pair --master @m3 --id 10 --peer 0xb -f @a3", "pair --master @m3 --id 11 --peer 10 -f @b3",
		"pair --master @m4 --id 10 --peer 11 --add @s1 -f @a4", "pair --master @m4 --id 11 --peer 10 --add @s1 --promote -f @b4",
	} {
		if err := keysIn(t, dir, args); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
	}
	for _, pair := range []string{
		"s1 s1", "s1 s2", "s2 s3", "s3 s3", "s1 b2", "a2 s1", "a2 b2", "a2 b3", "a3 b2", "a3 b3", "m2 b2", "m2 b3", "m3 b3", "a4 b4",
	} {
		a, b, _ := strings.Cut(pair, " ")
		accepted(t, filepath.Join(dir, a), filepath.Join(dir, b), 10, 11)
		accepted(t, filepath.Join(dir, b), filepath.Join(dir, a), 11, 10)
	}
}

// accepted checks that a node with one file accepts the heartbeats of a node with the other.
func accepted(t *testing.T, from, to string, own, peer uint64) {
	t.Helper()
	sender, err := wire.LoadKeyRing(from)
	receiver, err2 := wire.LoadKeyRing(to)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	var sent, accepted wire.Key
	a, id := wire.NewAuthenticator(), sender.SendKey()
	if !a.Key(sender, id, own, peer, &sent) || !a.Key(receiver, id, peer, own, &accepted) || sent != accepted {
		t.Errorf("heartbeats with %s are refused with %s", filepath.Base(from), filepath.Base(to))
	}
}

// Every misuse is an error, and no file is written.
func TestKeysFaults(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"shared -f @s", "master -f @m --key-id 7"} {
		if err := keysIn(t, dir, args); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"":                                                 "no command",
		"shared":                                           "file",
		"shared -f @s":                                     "file exists",
		"shared -f @x --key-id 0":                          "key id 0",
		"shared -f @x --promote":                           "--promote goes with --add",
		"shared -f @x --add @none":                         "no such file",
		"shared -f @x --add @s --key-id 1":                 "key 1 is there already",
		"pair -f @x --id 1 --peer 2":                       "master",
		"pair -f @x --master @s --id 1 --peer 2":           "no master key",
		"pair -f @x --master @m --id 1 --peer 1":           "the node itself",
		"pair -f @x --master @m --id 0 --peer 1":           "--id",
		"pair -f @x --master @m --id 1 --peer 2,00000000f": "--peer",
		"pair -f @x --master @m --id 1 --peer 2,2":         "twice",
		"promote @none -f @x":                              "no such file",
	} {
		if err := keysIn(t, dir, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !os.IsNotExist(err) {
		t.Errorf("a file was written: %v", err)
	}
}
