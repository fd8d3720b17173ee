package mover

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/internal/disk"
)

// one moves one file. A file that is in the new folder alone has moved before;
// one that is in both was copied whole, for copies get their name last.
func (m *Move) one(ctx context.Context, root *os.Root, path string) error {
	from, to := filepath.Join(m.From, path), filepath.Join(m.To, path)
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved before, or never fetched
	}
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if there, err := root.Lstat(path); err == nil {
		if there.Size() != st.Size() {
			return ErrOccupied
		}
		m.copied = append(m.copied, path)
		return nil
	}
	if dir := filepath.Dir(path); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	m.Step()
	err = m.rename(from, to)
	if err == nil {
		m.renamed = append(m.renamed, path)
		return nil
	}
	if !otherDevice(err) {
		return err
	}
	if err := m.copy(ctx, root, from, path, st); err != nil {
		return err
	}
	m.copied = append(m.copied, path)
	return nil
}

// copy makes a durable copy; its name appears when it is whole.
func (m *Move) copy(ctx context.Context, root *os.Root, from, path string, st fs.FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := root.OpenFile(path+copySuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, &cancelled{ctx, src})
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err == nil {
		err = root.Chtimes(path+copySuffix, st.ModTime(), st.ModTime())
	}
	if err == nil {
		m.Step()
		err = root.Rename(path+copySuffix, path)
	}
	if err != nil {
		_ = root.Remove(path + copySuffix) // the error that counts is told
	}
	return err
}

// cancelled is a reader that ends with ctx.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p[:min(len(p), 1<<20)])
}

// Delete deletes a torrent's files below dir, never through a link that
// leads outside, and the folders that this leaves empty.
func Delete(ctx context.Context, dir string, files []disk.File) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	for _, f := range files {
		path := filepath.FromSlash(f.Path)
		if f.Pad || !filepath.IsLocal(path) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
			if st, err := root.Lstat(d); err != nil || !st.IsDir() || root.Remove(d) != nil {
				break // a link, or not empty
			}
		}
	}
	return errors.Join(errs...)
}

// prune removes the folders of a path that are empty.
func prune(dir, path string) {
	for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
		at := filepath.Join(dir, d)
		if st, err := os.Lstat(at); err != nil || !st.IsDir() || os.Remove(at) != nil {
			return // a link, or not empty
		}
	}
}
