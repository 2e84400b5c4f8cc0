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
	output  string
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
		Long: `keys writes key files, which only their owner may read. It never writes over a file.

Nodes with a shared key all have the same file, and any of them can speak as any other.
With pairwise keys each node has a file of its own and can speak as itself alone; the
master, from which they are made, stays where they are made, or with a node that is to
speak with all.

A key is replaced in three steps, each on all nodes before the next, and no heartbeat is
lost: add a new key with --add; send with it, by promote; take the old one's lines out of
the file. Of pairwise keys do this to the master's file, and make the nodes' files from it
after each step. From a shared key to pairwise ones, add a master to the shared file and
make the nodes' files from that.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command; try %s --help", cmd.CommandPath())
		},
	}
	cmd.AddCommand(o.newShared(), o.newMaster(), o.newPair(), o.newPromote())
	for _, c := range cmd.Commands() {
		c.Flags().StringVarP(&o.output, "output", "o", "", "FILE to write, which must not exist")
		if err := c.MarkFlagRequired("output"); err != nil {
			panic(err) // the flag is there
		}
	}
	return cmd
}

// newShared returns the command that makes a key for all nodes.
func (o *keysOptions) newShared() *cobra.Command {
	cmd := &cobra.Command{
		Use: "shared -o FILE", Short: "make a key that all nodes share",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.one(cmd, wire.SharedKeyRing) },
	}
	return o.forNewKey(cmd)
}

// newMaster returns the command that makes a master key.
func (o *keysOptions) newMaster() *cobra.Command {
	cmd := &cobra.Command{
		Use: "master -o FILE", Short: "make a master key, from which pairwise keys are made",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.one(cmd, wire.MasterKeyRing) },
	}
	return o.forNewKey(cmd)
}

// forNewKey gives cmd the flags of a key that is new.
func (o *keysOptions) forNewKey(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Uint32Var(&o.keyID, "key-id", 1, "id of the key, from 1; with --add the next free one")
	return o.forAdding(cmd)
}

// forAdding gives cmd the flags of what adds to another file.
func (o *keysOptions) forAdding(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.Flags().StringVar(&o.add, "add", "", "FILE whose keys are written too, and whose key is still the one to send with")
	cmd.Flags().BoolVar(&o.promote, "promote", false, "with --add, send with the new key at once: nodes that lack it hear nothing")
	return cmd
}

// newPair returns the command that makes one node's pairwise keys.
func (o *keysOptions) newPair() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pair --master FILE --id ID --peer ID,ID -o FILE", Short: "make the pairwise keys of one node",
		Long: `pair makes the key file of the node with the id --id: for each master key of --master the
keys that it shares with each --peer, under the same key id. Shared keys of --master are
written as they are. Ids are decimal, or hexadecimal with 0x.`,
		RunE: func(*cobra.Command, []string) error { return o.pair() },
	}
	f := cmd.Flags()
	f.StringVar(&o.master, "master", "", "FILE with the master key")
	f.StringVar(&o.id, "id", "", "id of the node")
	f.StringSliceVar(&o.peers, "peer", nil, "ids of its peers, may be repeated")
	for _, name := range []string{"master", "id", "peer"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is there
		}
	}
	return o.forAdding(cmd)
}

// newPromote returns the command that has the newest key sent with.
func (o *keysOptions) newPromote() *cobra.Command {
	return &cobra.Command{
		Use: "promote KEYS -o FILE", Short: "send with the newest key of a file, and accept the others",
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

// one writes a file with one new key.
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

// pair writes the file of one node.
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

// write writes a ring of new keys, after those of --add.
func (o *keysOptions) write(r *wire.KeyRing) error {
	if o.add == "" {
		if o.promote {
			return errors.New("--promote goes with --add; the newest key of a file is promoted by systole keys promote")
		}
		return r.Save(o.output)
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
	return sum.Save(o.output)
}

// promoted writes a ring that sends with its newest key.
func (o *keysOptions) promoted(r *wire.KeyRing) error {
	ids := r.IDs()
	r, err := r.Promote(ids[len(ids)-1])
	if err != nil {
		return err
	}
	return r.Save(o.output)
}
