package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tilePath is the path of c2sp.org/tlog-tiles, which leaves out the height that tlog's own has.
func tilePath(dir string, tile tlog.Tile) string {
	return filepath.Join(dir, strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
}

func bundlePath(dir string, tile tlog.Tile) string {
	return filepath.Join(dir, strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1))
}

// folder reads tiles from a directory for tlog's authenticated reader.
type folder string

func (folder) Height() int                         { return height }
func (folder) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (dir folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	read := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := os.ReadFile(tilePath(string(dir), tile))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tilePath("", tile), len(data))
		}
		read[i] = data
	}
	return read, nil
}

// checkpoint is a tree in the format of c2sp.org/tlog-checkpoint.
func checkpoint(text string) (origin string, tree tlog.Tree, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return "", tree, errors.New("no checkpoint")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return "", tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return lines[0], tree, err
}

// checkLog opens the checkpoint of a directory, reads every entry, and proves each against the tiles and the tiles against
// the root; and that the tree of the old size is the beginning of this one.
func checkLog(asked request) (any, error) {
	signed, err := os.ReadFile(filepath.Join(asked.Dir, "checkpoint"))
	if err != nil {
		return nil, err
	}
	opened, err := openNote(string(signed), asked.Keys)
	if err != nil {
		return nil, err
	}
	origin, tree, err := checkpoint(opened.Text)
	if err != nil {
		return nil, err
	}
	reader := tlog.TileHashReader(tree, folder(asked.Dir))
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, errors.New("the tiles have another root")
	}
	for n := asked.Index; n < tree.N; n += 256 {
		if err := checkBundle(asked.Dir, reader, n, min(256, tree.N-n)); err != nil {
			return nil, err
		}
	}
	if asked.Old > 0 {
		proof, err := tlog.ProveTree(tree.N, asked.Old, reader)
		if err != nil {
			return nil, err
		}
		old, err := hashes([][]byte{asked.OldRoot})
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, asked.Old, old[0]); err != nil {
			return nil, err
		}
	}
	return map[string]any{"origin": origin, "size": tree.N, "root": root[:]}, nil
}

func checkBundle(dir string, reader tlog.HashReader, start, width int64) error {
	tile := tlog.Tile{H: height, L: 0, N: start / 256, W: int(width)}
	data, err := os.ReadFile(bundlePath(dir, tile))
	if err != nil {
		return err
	}
	indexes := make([]int64, width)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, start+int64(i))
	}
	leaves, err := reader.ReadHashes(indexes)
	if err != nil {
		return err
	}
	for i := range leaves {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("entry %d is not whole", start+int64(i))
		}
		length := int(binary.BigEndian.Uint16(data))
		if tlog.RecordHash(data[2:2+length]) != leaves[i] {
			return fmt.Errorf("entry %d is not what the tree says", start+int64(i))
		}
		data = data[2+length:]
	}
	if len(data) > 0 {
		return errors.New("bytes after the last entry")
	}
	return nil
}

// makeLog writes the entries as a log of its own, with tiles, bundles and a signed checkpoint.
func makeLog(asked request) (any, error) {
	tree, err := grow(asked.Entries)
	if err != nil {
		return nil, err
	}
	size := int64(len(asked.Entries))
	for _, tile := range tlog.NewTiles(height, 0, size) {
		data, err := tlog.ReadTileData(tile, tree)
		if err != nil {
			return nil, err
		}
		if err := write(tilePath(asked.Dir, tile), data); err != nil {
			return nil, err
		}
		if tile.L == 0 {
			start := tile.N * 256
			if err := write(bundlePath(asked.Dir, tile), bundle(asked.Entries[start:start+int64(tile.W)])); err != nil {
				return nil, err
			}
		}
	}
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(asked.Secret)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", asked.Name, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, err
	}
	return map[string]any{"root": root[:]}, write(filepath.Join(asked.Dir, "checkpoint"), signed)
}

func bundle(entries [][]byte) []byte {
	var data bytes.Buffer
	for _, entry := range entries {
		data.Write(binary.BigEndian.AppendUint16(nil, uint16(len(entry))))
		data.Write(entry)
	}
	return data.Bytes()
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
