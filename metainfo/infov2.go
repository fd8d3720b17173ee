package metainfo

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/bttnet/btt/bencode"
)

// parseV2 reads the version 2 part and, in a hybrid, checks that both parts say the same.
func (in *Info) parseV2(f *infoFields) error {
	if in.PieceLength < MinCreatedPieceLength || bits.OnesCount64(uint64(in.PieceLength)) != 1 {
		return fmt.Errorf("%w: %d: version 2 wants a power of two of at least 16 KiB", ErrPieceLength, in.PieceLength)
	}
	tree := treeReader{pieceLength: in.PieceLength}
	if f.pieces.Exists() {
		if err := in.parseV1(f); err != nil {
			return err
		}
		tree.v1 = in
	} else {
		room := f.fileTree.Items()/itemsPerTreeFile + 1
		tree.files = make([]File, 0, 2*room)    // half of them pad files
		tree.names.grow(f.fileTree.Items() / 2) // typical, no bound
	}
	if err := tree.folder(f.fileTree, make([]string, 0, 16)); err != nil {
		return err
	}
	if tree.count == 0 {
		return fmt.Errorf("%w: it is missing or empty", ErrFileTree)
	}
	single := tree.count == 1 && len(tree.first) == 1 && tree.first[0] == in.Name
	if tree.v1 != nil {
		if in.SingleFile && !single {
			return fmt.Errorf("%w: only version 1 has a single file", ErrHybrid)
		}
		return tree.endOfV1()
	}
	in.SingleFile = single
	in.Files = tree.files
	if err := in.sum(); err != nil {
		return err
	}
	if in.TotalLength == 0 {
		return ErrEmpty
	}
	return in.padTail()
}

// padTail fills the last piece: peers count the pieces of version 2 alone as if
// each file were followed by padding, the last one too.
func (in *Info) padTail() error {
	over := in.TotalLength % in.PieceLength
	if over == 0 {
		return nil
	}
	var names arena
	n := in.PieceLength - over
	in.Files = append(in.Files, File{Path: names.padPath(n), Length: n, Pad: true, Attr: AttrPad})
	return in.sum()
}

// padFiles puts pad files between files so that each starts with a piece. The second
// result is for each entry its index in files, -1 for pad files.
func padFiles(files []File, pieceLength int64) (padded []File, source []int) {
	padded = make([]File, 0, 2*len(files))
	source = make([]int, 0, 2*len(files))
	var names arena
	names.grow(2 * len(files))
	var over int64 // bytes of the last piece so far
	for i, f := range files {
		if over > 0 && f.Length > 0 {
			n := pieceLength - over
			padded = append(padded, File{Path: names.padPath(n), Length: n, Pad: true, Attr: AttrPad})
			source = append(source, -1)
			over = 0
		}
		padded = append(padded, f)
		source = append(source, i)
		if f.Length > 0 {
			over = f.Length % pieceLength
		}
	}
	return padded, source
}

// padPath is the usual path of a pad file of n bytes (BEP 47).
func (a *arena) padPath(n int64) []string {
	start := len(a.parts)
	a.parts = append(a.parts, ".pad", a.number(n))
	return a.parts[start:len(a.parts):len(a.parts)]
}

// itemsPerTreeFile are the tokens of a file of a tree: name, entry, empty name, properties
// and two keys with their values.
const itemsPerTreeFile = 8

// treeReader flattens a file tree: into files, between which it puts the padding that
// version 2 implies, or in a hybrid onto the files that version 1 lists.
type treeReader struct {
	pieceLength int64
	count       int      // files read
	first       []string // path of the first
	files       []File
	names       arena
	parts       int   // components of all paths
	over        int64 // bytes of the last piece so far

	v1   *Info // hybrids
	next int   // of its files
	at   int64 // where that one starts
}

// folder reads one level of the tree. Recursion is bounded by the bencode depth limit.
func (t *treeReader) folder(v bencode.Value, path []string) error {
	if v.Kind() != bencode.Dictionary {
		return fmt.Errorf("%w: %s is a %v", ErrFileTree, quotePath(path), v.Kind())
	}
	if len(path) >= MaxPathDepth {
		return fmt.Errorf("%w: deeper than %d", ErrFileTree, MaxPathDepth)
	}
	var last []byte
	for key, child := range v.Dict() {
		// The order of the keys is the order of the files: here it must be canonical.
		if len(key) == 0 || len(key) > MaxNameLength || (last != nil && bytes.Compare(last, key) >= 0) {
			return fmt.Errorf("%w: %s: names must be sorted, unique and not empty", ErrFileTree, quotePath(path))
		}
		last = key
		childPath := append(path, view(key))
		props, ok := fileProperties(child)
		if !ok {
			if child.Len() == 0 {
				return fmt.Errorf("%w: folder %s is empty", ErrFileTree, quotePath(childPath))
			}
			if err := t.folder(child, childPath); err != nil {
				return err
			}
			continue
		}
		if child.Items() != props.Items()+2 { // itself, the empty name and what that holds
			return fmt.Errorf("%w: %s is a file and a folder", ErrFileTree, quotePath(childPath))
		}
		if err := t.file(props, childPath); err != nil {
			return fmt.Errorf("file %s: %w", quotePath(childPath), err)
		}
	}
	return nil
}

// quotePath shows a stranger's path in an error, its end if it is long.
func quotePath(path []string) string {
	const longest = 120
	s := strings.Join(path, "/")
	return strconv.Quote(s[max(len(s)-longest, 0):])
}

// fileProperties are what the empty name holds in the entry of a file; false for folders.
func fileProperties(v bencode.Value) (bencode.Value, bool) {
	for key, props := range v.Dict() {
		return props, len(key) == 0 // sorts first; elsewhere it is refused as a name
	}
	return bencode.Value{}, false
}

// file reads a file's properties.
func (t *treeReader) file(props bencode.Value, path []string) error {
	if props.Kind() != bencode.Dictionary {
		return fmt.Errorf("%w: properties are a %v", ErrFileTree, props.Kind())
	}
	if t.count >= MaxFiles || t.parts+len(path) > MaxPathComponents {
		return fmt.Errorf("%w: more than %d files or %d path components", ErrTooMany, MaxFiles, MaxPathComponents)
	}
	t.parts += len(path)
	if t.count++; t.count == 1 {
		t.first = slices.Clone(path)
	}
	f, err := t.properties(props)
	if err != nil {
		return err
	}
	if t.v1 != nil {
		return t.join(&f, path)
	}
	if t.over > 0 && f.Length > 0 {
		n := t.pieceLength - t.over
		t.files = append(t.files, File{Path: t.names.padPath(n), Length: n, Pad: true, Attr: AttrPad})
	}
	if f.Length > 0 {
		t.over = f.Length % t.pieceLength
	}
	start := len(t.names.parts)
	t.names.parts = append(t.names.parts, path...)
	f.Path = t.names.parts[start:len(t.names.parts):len(t.names.parts)]
	t.files = append(t.files, f)
	return nil
}

// properties are a file without its path.
func (t *treeReader) properties(props bencode.Value) (f File, err error) {
	var length, attr, root, symlink bencode.Value
	for key, v := range props.Dict() {
		switch string(key) {
		case "length":
			set(&length, v)
		case "attr":
			set(&attr, v)
		case "pieces root":
			set(&root, v)
		case "symlink path":
			set(&symlink, v)
		}
	}
	f.Attr = parseAttr(attr.Bytes()) &^ AttrPad // version 2 aligns without pad files
	if f.Attr&AttrSymlink != 0 {
		f.Symlink, err = t.names.path(symlink)
		return f, err
	}
	if f.Length, err = fileLength(length); err != nil || f.Length == 0 {
		return f, err
	}
	b := root.Bytes()
	if len(b) != hashSize {
		return f, fmt.Errorf("%w: pieces root has %d bytes", ErrFileTree, len(b))
	}
	f.PiecesRoot = (*[32]byte)(b)
	return f, nil
}

// join checks a file against the next one of version 1, which gets its root.
func (t *treeReader) join(f *File, path []string) error {
	i := t.skipPads()
	if i == len(t.v1.Files) {
		return fmt.Errorf("%w: version 2 has more files than version 1", ErrHybrid)
	}
	to := &t.v1.Files[i]
	if f.Length != to.Length || !slices.Equal(path, to.Path) {
		return fmt.Errorf("%w: at file %d of version 1", ErrHybrid, i)
	}
	if f.Length > 0 && t.at%t.pieceLength != 0 {
		return fmt.Errorf("%w: file %d does not start with a piece", ErrHybrid, i)
	}
	to.PiecesRoot = f.PiecesRoot
	t.at += to.Length
	t.next++
	return nil
}

// skipPads goes to the next file of version 1 that is none for padding.
func (t *treeReader) skipPads() int {
	for t.next < len(t.v1.Files) && t.v1.Files[t.next].Pad {
		t.at += t.v1.Files[t.next].Length
		t.next++
	}
	return t.next
}

// endOfV1 checks that no file of version 1 is left.
func (t *treeReader) endOfV1() error {
	if i := t.skipPads(); i < len(t.v1.Files) {
		return fmt.Errorf("%w: version 2 lacks file %d of version 1", ErrHybrid, i)
	}
	return nil
}

func (in *Info) needsLayer(f *File) bool { return f.PiecesRoot != nil && f.Length > in.PieceLength }

func (in *Info) layerSize(f *File) int { return numPieces(f.Length, in.PieceLength) * hashSize }

// MissingLayers are the indices of the files whose piece layer is unknown. A torrent
// parsed from a file misses none; one made from a magnet link asks its peers for them.
func (t *Torrent) MissingLayers() []int {
	var missing []int
	for i := range t.Info.Files {
		f := &t.Info.Files[i]
		if t.Info.needsLayer(f) && t.PieceLayers.Get(f.PiecesRoot) == nil {
			missing = append(missing, i)
		}
	}
	return missing
}

// SetPieceLayer takes the piece layer of a file and keeps it. It fails with
// ErrPieceLayers when the layer does not lead to the file's root, or the file has none.
// The torrent's owner alone may call it.
func (t *Torrent) SetPieceLayer(file int, layer []byte) error {
	if file < 0 || file >= len(t.Info.Files) || !t.Info.needsLayer(&t.Info.Files[file]) {
		return fmt.Errorf("set piece layer: %w: file %d takes none", ErrPieceLayers, file)
	}
	f := &t.Info.Files[file]
	if err := checkLayer(*f.PiecesRoot, layer, t.Info.layerSize(f), t.Info.PieceLength, new([]byte)); err != nil {
		return fmt.Errorf("set piece layer: %w", err)
	}
	t.PieceLayers.set(*f.PiecesRoot, layer)
	return nil
}

// PieceV2 is what verifies a piece by version 2 hashes.
type PieceV2 struct {
	Hash  [32]byte // compare with PieceRoot
	File  int      // index in Info.Files; a piece holds data of one file alone; -1: only padding
	Bytes int64    // data in the piece; what follows up to its size is padding
	Known bool     // false while the file's layer is missing
}

// PiecesV2 are the version 2 hashes of all pieces; nil in version 1.
func (t *Torrent) PiecesV2() []PieceV2 {
	if !t.Info.HasV2() {
		return nil
	}
	pieces := make([]PieceV2, t.Info.NumPieces())
	for i := range pieces {
		pieces[i].File = -1
	}
	pieceLength := t.Info.PieceLength
	var offset int64
	for i := range t.Info.Files {
		f := &t.Info.Files[i]
		first := int(offset / pieceLength)
		offset += f.Length
		if f.PiecesRoot == nil {
			continue
		}
		layer := f.PiecesRoot[:]
		if t.Info.needsLayer(f) {
			layer = t.PieceLayers.Get(f.PiecesRoot)
		}
		for n := range numPieces(f.Length, pieceLength) {
			p := &pieces[first+n]
			p.File = i
			p.Bytes = min(pieceLength, f.Length-int64(n)*pieceLength)
			if layer != nil {
				p.Hash, p.Known = [32]byte(layer[n*hashSize:]), true
			}
		}
	}
	return pieces
}
