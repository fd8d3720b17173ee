package metainfo

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/bttnet/btt/bencode"
)

// Info is a checked info dictionary. Raw, Pieces, PiecesRoot and the paths of files are
// views of the parsed bytes, which must not change afterwards.
type Info struct {
	Name        string
	PieceLength int64 // bytes
	// Pieces are the version 1 hashes, 20 bytes for each piece; nil in version 2 alone.
	Pieces []byte
	// Files in the order of the piece space, pad files included.
	Files []File
	// SingleFile says that there is no folder around the one file.
	SingleFile bool
	// Private torrents use no source of peers but their trackers (BEP 27).
	Private bool
	// Source is a tag some private trackers put in to make the hash their own.
	Source string
	// MetaVersion is 1, or 2 for version 2 and hybrids.
	MetaVersion int
	// TotalLength is the bytes of the piece space: all files, pad files included.
	TotalLength int64
	// Raw is the encoded dictionary; hashing it gives the info hash.
	Raw []byte
}

// HasV1 reports whether version 1 hashes are there.
func (in *Info) HasV1() bool { return len(in.Pieces) > 0 }

// HasV2 reports whether version 2 hashes are there.
func (in *Info) HasV2() bool { return in.MetaVersion == 2 }

// NumPieces is the number of pieces.
func (in *Info) NumPieces() int { return numPieces(in.TotalLength, in.PieceLength) }

// PieceSize is the bytes of piece i: PieceLength but for the last one; 0 if there is no piece i.
func (in *Info) PieceSize(i int) int64 {
	if i < 0 || i >= in.NumPieces() {
		return 0
	}
	return min(in.PieceLength, in.TotalLength-int64(i)*in.PieceLength)
}

// PieceHash is the version 1 hash of piece i and true, or false if there is none.
func (in *Info) PieceHash(i int) ([20]byte, bool) {
	if i < 0 || i >= len(in.Pieces)/20 {
		return [20]byte{}, false
	}
	return [20]byte(in.Pieces[i*20:]), true
}

// ContentLength is the bytes of all files without the pad files: what people call the
// torrent's size.
func (in *Info) ContentLength() int64 {
	var n int64
	for i := range in.Files {
		if !in.Files[i].Pad {
			n += in.Files[i].Length
		}
	}
	return n
}

// Span is a run of bytes of the piece space, from From to before To.
type Span struct{ From, To int64 }

// Pads are the runs of padding (BEP 47, or implied by version 2) in order; they
// neither touch nor overlap.
func (in *Info) Pads() []Span {
	var spans []Span
	var at int64
	for i := range in.Files {
		f := &in.Files[i]
		from := at
		at += f.Length
		if !f.Pad || f.Length == 0 {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].To == from {
			spans[n-1].To = at
			continue
		}
		spans = append(spans, Span{from, at})
	}
	return spans
}

// InfoHash is the hash peers and trackers know the torrent by: SHA-1, or truncated
// SHA-256 for version 2 alone.
func (in *Info) InfoHash() InfoHash {
	if in.HasV1() {
		return HashInfo(in.Raw)
	}
	return HashInfoV2(in.Raw).Truncated()
}

func numPieces(total, pieceLength int64) int {
	if pieceLength <= 0 {
		return 0
	}
	return int((total + pieceLength - 1) / pieceLength)
}

// ParseInfo reads an info dictionary as peers send it (BEP 9). It keeps raw.
func ParseInfo(raw []byte) (*Info, error) {
	if len(raw) > MaxTorrentSize {
		return nil, fmt.Errorf("parse info: %w", ErrSize)
	}
	doc := getDoc()
	defer putDoc(doc)
	if err := doc.Parse(raw, parseOptions); err != nil {
		return nil, fmt.Errorf("parse info: %w", err)
	}
	in := new(Info)
	if err := in.parse(doc.Root()); err != nil {
		return nil, fmt.Errorf("parse info: %w", err)
	}
	return in, nil
}

// Torrents of the wild are not always canonical; the info hash is taken of the bytes as
// they are, so nothing is lost by reading them leniently.
var parseOptions = bencode.Options{
	Lenient:  true,
	MaxSize:  MaxTorrentSize,
	MaxDepth: maxDepth,
	MaxItems: maxItems,
}

// docs saves the tokens from one torrent to the next: a session loads thousands at start.
var docs = sync.Pool{New: func() any { return new(bencode.Doc) }}

// maxPooledTokens is the largest document that is kept, 8 MiB of tokens.
const maxPooledTokens = 1 << 19

func getDoc() *bencode.Doc { return docs.Get().(*bencode.Doc) }

func putDoc(doc *bencode.Doc) {
	doc.Reset(maxPooledTokens)
	docs.Put(doc)
}

// infoFields are the values of an info dictionary before they are checked.
type infoFields struct {
	name, nameUTF8, pieceLength, pieces, files, length, private,
	source, metaVersion, fileTree, attr, symlink bencode.Value
}

// set keeps the first of equal keys, as bencode's Get does.
func set(field *bencode.Value, v bencode.Value) {
	if !field.Exists() {
		*field = v
	}
}

func readInfoFields(root bencode.Value) (f infoFields) {
	for key, v := range root.Dict() {
		switch string(key) {
		case "name":
			set(&f.name, v)
		case "name.utf-8":
			set(&f.nameUTF8, v)
		case "piece length":
			set(&f.pieceLength, v)
		case "pieces":
			set(&f.pieces, v)
		case "files":
			set(&f.files, v)
		case "length":
			set(&f.length, v)
		case "private":
			set(&f.private, v)
		case "source":
			set(&f.source, v)
		case "meta version":
			set(&f.metaVersion, v)
		case "file tree":
			set(&f.fileTree, v)
		case "attr":
			set(&f.attr, v)
		case "symlink path":
			set(&f.symlink, v)
		}
	}
	return f
}

// parse fills the info from its dictionary and checks it whole.
func (in *Info) parse(root bencode.Value) error {
	if root.Kind() != bencode.Dictionary {
		return fmt.Errorf("%w: the key info holds %v, not a dictionary", ErrInfo, root.Kind())
	}
	f := readInfoFields(root)
	in.Raw = root.Raw()
	in.MetaVersion = 1
	if version, ok := f.metaVersion.Int(); ok || f.metaVersion.Exists() {
		if version != 1 && version != 2 {
			return fmt.Errorf("%w: %.20q, versions 1 and 2 are known", ErrVersion, f.metaVersion.Raw())
		}
		in.MetaVersion = int(version)
	}
	if err := in.parseCommon(&f); err != nil {
		return err
	}
	if in.MetaVersion == 2 {
		return in.parseV2(&f)
	}
	return in.parseV1(&f)
}

func (in *Info) parseCommon(f *infoFields) error {
	name := f.nameUTF8
	if name.Len() == 0 || name.Kind() != bencode.String {
		name = f.name
	}
	if name.Kind() != bencode.String || name.Len() == 0 || name.Len() > MaxNameLength {
		return fmt.Errorf("%w: it must be a string of 1 to %d bytes", ErrName, MaxNameLength)
	}
	in.Name = name.Text()
	pieceLength, ok := f.pieceLength.Int()
	if !ok || pieceLength < MinPieceLength || pieceLength > MaxPieceLength {
		return fmt.Errorf("%w: %.30q, want %d to %d bytes", ErrPieceLength, f.pieceLength.Raw(), MinPieceLength, MaxPieceLength)
	}
	in.PieceLength = pieceLength
	private, _ := f.private.Int()
	in.Private = private == 1
	in.Source = text(f.source)
	return nil
}

// parseV1 reads the version 1 part: the file list and its piece hashes.
func (in *Info) parseV1(f *infoFields) error {
	if err := in.parseFilesV1(f); err != nil {
		return err
	}
	if err := in.sum(); err != nil {
		return err
	}
	if in.TotalLength == 0 {
		return ErrEmpty
	}
	pieces := f.pieces.Bytes()
	if want := in.NumPieces(); len(pieces) != want*20 {
		return fmt.Errorf("%w: %d bytes of hashes for %d pieces", ErrPieces, len(pieces), want)
	}
	in.Pieces = pieces
	return nil
}

// sum adds up the piece space and checks its limits.
func (in *Info) sum() error {
	var total int64
	for i := range in.Files {
		total += in.Files[i].Length // both are at most MaxTotalLength: no overflow
		if total > MaxTotalLength {
			return fmt.Errorf("%w: all files together exceed %d bytes", ErrFileLength, int64(MaxTotalLength))
		}
	}
	if n := numPieces(total, in.PieceLength); n > MaxPieces {
		return fmt.Errorf("%w: %d pieces, at most %d", ErrTooMany, n, MaxPieces)
	}
	in.TotalLength = total
	return nil
}

func (in *Info) parseFilesV1(f *infoFields) error {
	switch {
	case f.files.Exists() && f.length.Exists():
		return fmt.Errorf("%w: it has both files and length", ErrFiles)
	case f.length.Exists():
		n, err := fileLength(f.length)
		if err != nil {
			return err
		}
		file := File{Path: []string{in.Name}, Length: n, Attr: parseAttr(f.attr.Bytes()) &^ (AttrPad | AttrSymlink)}
		in.Files, in.SingleFile = []File{file}, true
		return nil
	case f.files.Kind() != bencode.List:
		return fmt.Errorf("%w: it has neither files nor length", ErrFiles)
	}
	n := f.files.Len()
	if n == 0 {
		return fmt.Errorf("%w: the list is empty", ErrFiles)
	}
	if n > MaxFiles {
		return fmt.Errorf("%w: %d files, at most %d", ErrTooMany, n, MaxFiles)
	}
	in.Files = make([]File, n)
	var names arena
	names.grow(f.files.Items() - 5*n) // what is left after the fixed parts of each file's dictionary
	i := 0
	for v := range f.files.List() {
		if err := in.Files[i].parseV1(v, &names); err != nil {
			return fmt.Errorf("file %d: %w", i, err)
		}
		i++
	}
	return nil
}

// text is a string shown to people, cut to MaxTextLength.
func text(v bencode.Value) string {
	b := v.Bytes()
	s := strings.ToValidUTF8(string(b[:min(len(b), MaxTextLength)]), "\uFFFD")
	n := min(len(s), MaxTextLength) // replacing may have made it longer
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
