package btt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// FileCheck is what Verify found of one file.
type FileCheck struct {
	Path   string // below the folder, with "/"
	Length int64
	Good   int64 // bytes in pieces whose hash is right
	// Missing says that there is no such file; Size is that of the one there.
	Missing bool
	Size    int64
}

// Complete says that all of the file is right. A file that is longer than the
// torrent says is complete too: the rest belongs to nobody.
func (f *FileCheck) Complete() bool { return !f.Missing && f.Good == f.Length }

// Verify reads the files of a torrent below dir and compares them with its
// hashes. It changes nothing, and no node may be writing there. Progress, if
// set, is told the pieces read so far, from several goroutines. In place, files
// may have the torrent's own names where a download would have changed them.
// Pad files are left out of the answer. The error is of the disk, or ctx's.
func Verify(ctx context.Context, t *metainfo.Torrent, dir string, inPlace bool, progress func(pieces int)) ([]FileCheck, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	files := swarm.DiskFiles(t.Info, dir, inPlace)
	asked := make([]disk.File, len(files))
	for i, f := range files {
		asked[i] = f
		asked[i].Pad = f.Pad || f.Length == 0 // an empty file would be made
		if f.Root != nil {
			asked[i].Layer = t.PieceLayers.Get(f.Root)
		}
	}
	pool := disk.NewPool(disk.PoolConfig{Writers: 1})
	defer pool.Close()
	store, err := disk.Open(disk.Config{Dir: dir, Files: asked, PieceLength: t.Info.PieceLength, Hashes: t.Info.Pieces, Pool: pool})
	if err != nil {
		return nil, fmt.Errorf("verify %q: %w", t.Info.Name, err)
	}
	defer store.Close()
	good := make([]bool, t.Info.NumPieces())
	var read atomic.Int64
	err = store.Verify(ctx, 0, func(piece int, ok bool) {
		good[piece] = ok
		if n := read.Add(1); progress != nil {
			progress(int(n))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("verify %q: %w", t.Info.Name, err)
	}
	return judge(t.Info, dir, files, good)
}

// judge sums the pieces up by file.
func judge(in *metainfo.Info, dir string, files []disk.File, good []bool) ([]FileCheck, error) {
	list := make([]FileCheck, 0, len(files))
	at := int64(0)
	for _, f := range files {
		c := FileCheck{Path: f.Path, Length: f.Length}
		end := at + f.Length
		for p := at / in.PieceLength; p*in.PieceLength < end; p++ {
			if good[p] {
				c.Good += min((p+1)*in.PieceLength, end) - max(p*in.PieceLength, at)
			}
		}
		at = end
		if f.Pad {
			continue
		}
		switch st, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f.Path))); {
		case err == nil:
			c.Size = st.Size()
		case errors.Is(err, os.ErrNotExist):
			c.Missing = true
		default:
			return nil, fmt.Errorf("verify %q: %w", in.Name, err)
		}
		list = append(list, c)
	}
	return list, nil
}
