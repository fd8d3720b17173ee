// Package create makes a torrent of a file or folder: it walks the files,
// hashes them with internal/disk and writes the .torrent file (BEP 3, BEP 52).
//
// cmd/btt calls it. It starts no goroutine of its own; internal/disk's hash
// workers end with the call.
package create

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/metainfo"
)

// ErrEmpty says that there is nothing to make a torrent of.
var ErrEmpty = errors.New("nothing to share: no regular file with content")

// workers hash in parallel.
const workers = 2

// Options of a torrent.
type Options struct {
	Trackers    [][]string       // tiers of announce URLs
	PieceLength int64            // bytes; 0 = chosen by the total size
	Version     metainfo.Version // V1, V2 or Hybrid
	Align       bool             // every file begins with a piece (BEP 47), in V1 too
	WebSeeds    []string         // BEP 19
	Source      string           // makes the info hash a private tracker's own
	Private     bool
	Comment     string
	// Progress, unless nil, is told how many of how many bytes are hashed, padding
	// included; from several goroutines.
	Progress func(done, total int64)
}

// File makes a torrent of path and writes it to out, whole or not at all.
func File(ctx context.Context, path, out string, o Options) (*metainfo.Torrent, error) {
	t, err := Torrent(ctx, path, o)
	if err != nil {
		return nil, err
	}
	if err := write(out, t.Encode()); err != nil {
		return nil, fmt.Errorf("write torrent %s: %w", out, err)
	}
	return t, nil
}

// write replaces a file as a whole. The error does not name it.
func write(out string, b []byte) error {
	if st, err := os.Stat(out); err == nil && !st.Mode().IsRegular() {
		return errors.New("that is no file")
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".torrent-*")
	if err != nil {
		return cause(err)
	}
	defer os.Remove(tmp.Name()) // fails once it was renamed
	if _, err = tmp.Write(b); err == nil {
		err = tmp.Chmod(0o644)
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), out)
	}
	return cause(err)
}

// cause takes the name of the temporary file out of an error.
func cause(err error) error {
	var p *os.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// Torrent makes a torrent of path.
func Torrent(ctx context.Context, path string, o Options) (*metainfo.Torrent, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	b := metainfo.Builder{Name: filepath.Base(path), PieceLength: o.PieceLength, Version: o.Version, Align: o.Align, Private: o.Private, WebSeeds: o.WebSeeds, Source: o.Source,
		AnnounceList: o.Trackers, Comment: o.Comment, CreatedBy: "btt", CreationDate: time.Now()}
	dir, err := list(&b, path)
	if err != nil {
		return nil, err
	}
	layout, err := b.Layout()
	if err != nil {
		return nil, fmt.Errorf("make torrent of %s: %w", path, err)
	}
	files := make([]disk.File, len(layout.Files))
	var total int64
	for i, f := range layout.Files {
		total += f.Length
		files[i] = disk.File{Path: strings.Join(f.Path, "/"), Length: f.Length, Pad: f.Pad}
	}
	hashes, err := disk.HashFiles(ctx, dir, files, layout.PieceLength, workers, o.Version != metainfo.V2, o.Version != metainfo.V1, o.each(layout.PieceLength, total))
	if err != nil {
		return nil, fmt.Errorf("make torrent of %s: %w", path, err)
	}
	t, err := b.Build(metainfo.Hashes{Pieces: hashes.Pieces, Layers: hashes.Layers})
	if err != nil {
		return nil, fmt.Errorf("make torrent of %s: %w", path, err)
	}
	return t, nil
}

// each returns what is to be called for every piece that is hashed.
func (o *Options) each(pieceLength, total int64) func() {
	if o.Progress == nil {
		return nil
	}
	var pieces atomic.Int64
	return func() { o.Progress(min(pieces.Add(1)*pieceLength, total), total) }
}

// list fills in the files below path and returns the folder their paths are
// relative to. Links and special files are left out.
func list(b *metainfo.Builder, path string) (dir string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if !st.IsDir() {
		if st.Size() == 0 || !st.Mode().IsRegular() {
			return "", fmt.Errorf("make torrent of %s: %w", path, ErrEmpty)
		}
		b.SingleFile = true
		b.Files = []metainfo.BuildFile{{Path: []string{b.Name}, Length: st.Size()}}
		return filepath.Dir(path), nil
	}
	var total int64
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		total += st.Size()
		b.Files = append(b.Files, metainfo.BuildFile{Path: strings.Split(filepath.ToSlash(rel), "/"), Length: st.Size()})
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if total == 0 {
		return "", fmt.Errorf("make torrent of %s: %w", path, ErrEmpty)
	}
	return path, nil
}
