package metainfo

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/bttnet/btt/bencode"
)

// Attr are the attributes of a file (BEP 47).
type Attr uint8

// The attributes.
const (
	AttrPad        Attr = 1 << iota // zeros that align the next file; never written
	AttrExecutable                  // to be made executable
	AttrHidden                      // to be hidden
	AttrSymlink                     // a symbolic link to File.Symlink
)

// File is one file of a torrent.
type File struct {
	// Path as the torrent has it, never empty, unsafe to use on disk: see Info.DiskFiles.
	// In a single-file torrent it is the torrent's name; else it is relative to the
	// folder of that name.
	Path []string
	// Length in bytes; 0 for symbolic links.
	Length int64
	// Pad says that the file is made of zeros for alignment and must not be written.
	Pad  bool
	Attr Attr
	// PiecesRoot is the root of the file's hash tree; nil in version 1, for pad files
	// and for empty files.
	PiecesRoot *[32]byte
	// Symlink is the target of a symbolic link, relative to the torrent's root. This
	// client does not create links.
	Symlink []string
}

// parseV1 reads one entry of the version 1 file list.
func (file *File) parseV1(v bencode.Value, names *arena) error {
	var length, path, pathUTF8, attr, symlink bencode.Value
	for key, v := range v.Dict() {
		switch string(key) {
		case "length":
			set(&length, v)
		case "path":
			set(&path, v)
		case "path.utf-8":
			set(&pathUTF8, v)
		case "attr":
			set(&attr, v)
		case "symlink path":
			set(&symlink, v)
		}
	}
	if pathUTF8.Kind() == bencode.List {
		path = pathUTF8
	}
	var err error
	if file.Path, err = names.path(path); err != nil {
		return err
	}
	file.Attr = parseAttr(attr.Bytes())
	if file.Attr&AttrSymlink != 0 {
		// A link has no content of its own, whatever length says (BEP 47).
		file.Symlink, err = names.path(symlink)
		return err
	}
	if file.Length, err = fileLength(length); err != nil {
		return err
	}
	// BitComet padded files under this name before BEP 47.
	if strings.HasPrefix(file.Path[len(file.Path)-1], "_____padding_file_") {
		file.Attr |= AttrPad
	}
	file.Pad = file.Attr&AttrPad != 0
	return nil
}

func fileLength(v bencode.Value) (int64, error) {
	n, ok := v.Int()
	if !ok || n < 0 || n > MaxTotalLength {
		return 0, fmt.Errorf("%w: %.30q", ErrFileLength, v.Raw())
	}
	return n, nil
}

func parseAttr(b []byte) (a Attr) {
	for _, c := range b {
		switch c {
		case 'p':
			a |= AttrPad
		case 'x':
			a |= AttrExecutable
		case 'h':
			a |= AttrHidden
		case 'l':
			a |= AttrSymlink
		}
	}
	return a
}

// String is the form attributes have in a torrent, "" for none.
func (a Attr) String() string {
	var b [4]byte
	s := b[:0]
	for i, c := range []byte("pxhl") {
		if a&(1<<i) != 0 {
			s = append(s, c)
		}
	}
	return string(s)
}

// arena holds the path components of all files in one allocation: a big torrent has
// more components than anything else.
type arena struct {
	parts  []string
	digits []byte
}

func (a *arena) grow(parts int) { a.parts = make([]string, 0, max(parts, 0)) }

// view is b as a string, without a copy: b is part of the input, which is kept anyway
// for Info.Raw and must not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// number is n in decimal digits.
func (a *arena) number(n int64) string {
	const most, many = 20, 16 << 10
	if cap(a.digits)-len(a.digits) < most {
		a.digits = make([]byte, 0, min(max(8*(cap(a.parts)-len(a.parts)), most), many)) // the old ones stay in use
	}
	start := len(a.digits)
	a.digits = strconv.AppendInt(a.digits, n, 10)
	return view(a.digits[start:])
}

// path reads a list of components.
func (a *arena) path(v bencode.Value) ([]string, error) {
	start := len(a.parts)
	for part := range v.List() {
		b := part.Bytes()
		if b == nil {
			return nil, fmt.Errorf("%w: component %d is a %v", ErrPath, len(a.parts)-start, part.Kind())
		}
		if len(b) > MaxNameLength || len(a.parts)-start >= MaxPathDepth {
			return nil, fmt.Errorf("%w: more than %d components or %d bytes in one", ErrPath, MaxPathDepth, MaxNameLength)
		}
		a.parts = append(a.parts, view(b))
	}
	if len(a.parts) == start {
		return nil, fmt.Errorf("%w: it is missing or empty", ErrPath)
	}
	return a.parts[start:len(a.parts):len(a.parts)], nil
}
