package metainfo

import (
	"fmt"

	"github.com/bttnet/btt/bencode"
)

// setV2 writes the version 2 keys and gives the piece layers that go outside the info
// dictionary.
func setV2(d *bencode.Dict, l *Layout, layers [][]byte) (outer Layers, err error) {
	if len(layers) != len(l.Files) {
		return outer, fmt.Errorf("%w: layers of %d files, want %d", ErrPieceLayers, len(layers), len(l.Files))
	}
	files := make([]File, 0, len(l.Files))
	for i := range l.Files {
		f := l.Files[i]
		if f.Pad {
			continue
		}
		if want := numPieces(f.Length, l.PieceLength) * hashSize; len(layers[i]) != want {
			return outer, fmt.Errorf("%w: file %d has %d bytes of hashes, want %d", ErrPieceLayers, i, len(layers[i]), want)
		}
		if f.Length > 0 {
			root := LayerRoot(layers[i], l.PieceLength)
			f.PiecesRoot = &root
			if f.Length > l.PieceLength {
				outer.set(root, layers[i])
			}
		}
		files = append(files, f)
	}
	d.SetInt("meta version", 2)
	d.SetFunc("file tree", func(dst []byte) []byte { return appendTree(dst, files, 0) })
	return outer, nil
}

// appendTree appends the folder that holds files, which are sorted and whose paths agree
// in their first depth components.
func appendTree(dst []byte, files []File, depth int) []byte {
	dst = append(dst, 'd')
	for len(files) > 0 {
		name, n := files[0].Path[depth], 1
		for n < len(files) && files[n].Path[depth] == name {
			n++
		}
		dst = bencode.AppendString(dst, name)
		if len(files[0].Path) == depth+1 {
			dst = appendTreeFile(dst, &files[0])
		} else {
			dst = appendTree(dst, files[:n], depth+1)
		}
		files = files[n:]
	}
	return append(dst, 'e')
}

func appendTreeFile(dst []byte, f *File) []byte {
	dst = append(dst, "d0:d"...)
	if f.Attr != 0 {
		dst = bencode.AppendString(dst, "attr")
		dst = bencode.AppendString(dst, f.Attr.String())
	}
	dst = bencode.AppendString(dst, "length")
	dst = bencode.AppendInt(dst, f.Length)
	if f.PiecesRoot != nil {
		dst = bencode.AppendString(dst, "pieces root")
		dst = bencode.AppendString(dst, f.PiecesRoot[:])
	}
	return append(dst, "ee"...)
}
