package main

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// memory keeps a tree's stored hashes as tlog numbers them.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		hashes[i] = m[index]
	}
	return hashes, nil
}

func grow(entries [][]byte) (memory, error) {
	var tree memory
	for n, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(n), entry, tree)
		if err != nil {
			return nil, err
		}
		tree = append(tree, hashes...)
	}
	return tree, nil
}

// prove makes the root and both proofs over the entries.
func prove(asked request) (any, error) {
	tree, err := grow(asked.Entries)
	if err != nil {
		return nil, err
	}
	size := int64(len(asked.Entries))
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"root": root[:]}
	if size > 0 {
		record, err := tlog.ProveRecord(size, asked.Index, tree)
		if err != nil {
			return nil, err
		}
		answer["inclusion"] = list(record)
	}
	if asked.Old > 0 {
		consistency, err := tlog.ProveTree(size, asked.Old, tree)
		if err != nil {
			return nil, err
		}
		oldRoot, err := tlog.TreeHash(asked.Old, tree)
		if err != nil {
			return nil, err
		}
		answer["consistency"], answer["oldRoot"] = list(consistency), oldRoot[:]
	}
	return answer, nil
}

func checkInclusion(asked request) (any, error) {
	proof, err := hashes(asked.Proof)
	if err != nil {
		return nil, err
	}
	root, leaf, err := pair(asked.Root, asked.Leaf)
	if err != nil {
		return nil, err
	}
	return okay, tlog.CheckRecord(proof, asked.Size, root, asked.Index, leaf)
}

func checkConsistency(asked request) (any, error) {
	proof, err := hashes(asked.Proof)
	if err != nil {
		return nil, err
	}
	root, oldRoot, err := pair(asked.Root, asked.OldRoot)
	if err != nil {
		return nil, err
	}
	return okay, tlog.CheckTree(proof, asked.Size, root, asked.Old, oldRoot)
}

var okay = map[string]bool{"ok": true}

func list(hashes []tlog.Hash) [][]byte {
	bytes := make([][]byte, len(hashes))
	for i := range hashes {
		bytes[i] = hashes[i][:]
	}
	return bytes
}

func hashes(list [][]byte) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(list))
	for i, bytes := range list {
		if copy(all[i][:], bytes) != tlog.HashSize || len(bytes) != tlog.HashSize {
			return nil, errors.New("no hash")
		}
	}
	return all, nil
}

func pair(one, other []byte) (tlog.Hash, tlog.Hash, error) {
	both, err := hashes([][]byte{one, other})
	if err != nil {
		return tlog.Hash{}, tlog.Hash{}, err
	}
	return both[0], both[1], nil
}
