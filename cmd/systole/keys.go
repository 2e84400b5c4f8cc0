package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"systole/wire"
)

// keysOptions are the flags of keys.
type keysOptions struct {
	file    string
	keyID   uint32
	add     string
	promote bool
	master  string
	id      string
	peers   []string
}

// newKeys returns the command that writes key files.
func newKeys() *cobra.Command {
	o := &keysOptions{}
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "write key files for --keys",
		Long: `keys writes key files, which only their owner may read. It does not overwrite a file.

Shared keys: all nodes have the same file. Any of them can send as any other.

Pairwise keys: each node has a file of its own and can send as itself only. The files are
made from the file of a master key. Keep that file where the others are made. A node that
has the master key can exchange heartbeats with all nodes.

To replace a key without losing a heartbeat, do each step on all nodes before the next:
  1. add a new key to the file (--add)
  2. send with the new key (promote)
  3. remove the lines of the old key from the file
For pairwise keys, change the file of the master in this way, and make the files of the
nodes from it after each step. To go from shared to pairwise keys, add a master key to the
shared file and make the files of the nodes from that.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command; try %s --help", cmd.CommandPath())
		},
	}
	cmd.AddCommand(o.newShared(), o.newMaster(), o.newPair(), o.newPromote())
	for _, c := range cmd.Commands() {
		c.Flags().StringVarP(&o.file, "file", "f", "", "`FILE` to write, which must not exist")
		if err := c.MarkFlagRequired("file"); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}

// newShared returns the command that makes a key for all nodes.
func (o *keysOptions) newShared() *cobra.Command {
	cmd := &cobra.Command{
		Use: "shared -f FILE", Short: "make a key that all nodes share",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.one(cmd, wire.SharedKeyRing) },
	}
	return o.forNewKey(cmd)
}

// newMaster returns the command that makes a master key.
func (o *keysOptions) newMaster() *cobra.Command {
	cmd := &cobra.Command{
		Use: "master -f FILE", Short: "make a master key, for systole keys pair",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.one(cmd, wire.MasterKeyRing) },
	}
	return o.forNewKey(cmd)
}

// forNewKey adds the flags of commands that make a key.
func (o *keysOptions) forNewKey(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Uint32Var(&o.keyID, "key-id", 1, "id of the key, from 1; with --add the default is the next free id")
	return o.forAdding(cmd)
}

// forAdding adds the flags of commands that can add to a file.
func (o *keysOptions) forAdding(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.Flags().StringVar(&o.add, "add", "", "`FILE` whose keys are written as well; its key to send with stays in use")
	cmd.Flags().BoolVar(&o.promote, "promote", false, "with --add, send with the new key at once; nodes without the new key refuse all heartbeats")
	return cmd
}

// newPair returns the command that makes one node's pairwise keys.
func (o *keysOptions) newPair() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pair --master FILE --id ID --peer ID,ID -f FILE", Short: "make the pairwise keys of one node",
		Long: `pair makes the key file of the node --id. For each master key in the file --master it
contains the key that the node shares with each --peer, under the same key id. Shared keys
in that file are copied. Node ids are decimal, or hexadecimal with 0x.`,
		RunE: func(*cobra.Command, []string) error { return o.pair() },
	}
	f := cmd.Flags()
	f.StringVar(&o.master, "master", "", "`FILE` with the master key")
	f.StringVar(&o.id, "id", "", "`ID` of the node")
	f.StringSliceVar(&o.peers, "peer", nil, "`IDS` of its peers, separated by commas; may be repeated")
	for _, name := range []string{"master", "id", "peer"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return o.forAdding(cmd)
}

// newPromote returns the command that makes the newest key the one to send with.
func (o *keysOptions) newPromote() *cobra.Command {
	return &cobra.Command{
		Use: "promote KEYS -f FILE", Short: "send with the newest key in a file, and accept the others",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := wire.LoadKeyRing(args[0])
			if err != nil {
				return err
			}
			return o.promoted(ring)
		},
	}
}

// one writes a new key of a kind.
func (o *keysOptions) one(cmd *cobra.Command, ring func(uint32, wire.Key) (*wire.KeyRing, error)) error {
	if o.add != "" && !cmd.Flags().Changed("key-id") {
		old, err := wire.LoadKeyRing(o.add)
		if err != nil {
			return fmt.Errorf("--add: %w", err)
		}
		o.keyID = slices.Max(old.IDs()) + 1
	}
	key, err := wire.NewKey()
	if err != nil {
		return err
	}
	r, err := ring(o.keyID, key)
	if err != nil {
		return fmt.Errorf("--key-id: %w", err)
	}
	return o.write(r)
}

// pair writes the pairwise keys of a node.
func (o *keysOptions) pair() error {
	ring, err := wire.LoadKeyRing(o.master)
	if err != nil {
		return fmt.Errorf("--master: %w", err)
	}
	id, err := wire.ParseID(o.id)
	if err != nil {
		return fmt.Errorf("--id %q: %w", o.id, err)
	}
	var peers []uint64
	for _, text := range o.peers {
		peer, err := wire.ParseID(text)
		if err != nil {
			return fmt.Errorf("--peer %q: %w", text, err)
		}
		peers = append(peers, peer)
	}
	node, err := ring.ForNode(id, peers)
	if err != nil {
		return err
	}
	return o.write(node)
}

// write writes the keys of --add and then those of r.
func (o *keysOptions) write(r *wire.KeyRing) error {
	if o.add == "" {
		if o.promote {
			return errors.New("--promote goes with --add; to promote a key of a file use systole keys promote")
		}
		return r.Save(o.file)
	}
	old, err := wire.LoadKeyRing(o.add)
	if err != nil {
		return fmt.Errorf("--add: %w", err)
	}
	sum, err := old.Add(r)
	if err != nil {
		return fmt.Errorf("--add: %w", err)
	}
	if o.promote {
		return o.promoted(sum)
	}
	return sum.Save(o.file)
}

// promoted writes r with its newest key as the one to send with.
func (o *keysOptions) promoted(r *wire.KeyRing) error {
	ids := r.IDs()
	r, err := r.Promote(ids[len(ids)-1])
	if err != nil {
		return err
	}
	return r.Save(o.file)
}
