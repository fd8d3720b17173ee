package catalog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/metainfo"
)

// What a torrent's files are called, after its info hash in hex.
const (
	recordSuffix  = ".json"
	torrentSuffix = ".torrent"
)

// Folder is the folder of the records and of the torrents' metadata. Its
// methods may be called concurrently, for one torrent one at a time.
type Folder struct{ dir string }

// Open returns the catalog in dir, which must be there; whoever opens it for
// writing holds the folder's lock.
func Open(dir string) *Folder { return &Folder{dir: dir} }

// Names returns what is kept by name: info hashes in hex, unless a stranger put
// files there.
func (f *Folder) Names() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), recordSuffix); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// Path is where the record of a name lies.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, name+recordSuffix) }

func (f *Folder) path(hash [20]byte, suffix string) string {
	return filepath.Join(f.dir, hex.EncodeToString(hash[:])+suffix)
}

// put replaces a file durably.
func (f *Folder) put(hash [20]byte, suffix string, b []byte) error {
	if err := durable.Write(f.dir, hex.EncodeToString(hash[:])+suffix, b); err != nil {
		return fmt.Errorf("save torrent: %w", err)
	}
	return nil
}

// Save replaces a torrent's record durably.
func (f *Folder) Save(hash [20]byte, r *Record) error {
	b, err := r.Encode()
	if err != nil {
		return fmt.Errorf("save torrent: %w", err)
	}
	return f.put(hash, recordSuffix, b)
}

// SaveTorrent replaces a torrent's metadata durably.
func (f *Folder) SaveTorrent(hash [20]byte, t *metainfo.Torrent) error {
	return f.put(hash, torrentSuffix, t.Encode())
}

// Load reads a torrent's record. The error wraps [ErrRecord] or [os.ErrNotExist],
// or is of the disk.
func (f *Folder) Load(hash [20]byte) (Record, error) {
	b, err := readBounded(f.path(hash, recordSuffix), maxRecord)
	if err != nil {
		return Record{}, err
	}
	return Decode(b)
}

// Torrent reads a torrent's metadata; nil without an error: there is none yet.
// The error wraps [ErrRecord], says what is wrong with the metadata, or is of
// the disk.
func (f *Folder) Torrent(hash [20]byte) (*metainfo.Torrent, error) {
	b, err := readBounded(f.path(hash, torrentSuffix), metainfo.MaxTorrentSize)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := metainfo.Parse(b)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Swarms(), metainfo.InfoHash(hash)) {
		return nil, fmt.Errorf("%w: metadata of another torrent", ErrRecord)
	}
	return t, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > most {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", path, ErrRecord, most)
	}
	b := make([]byte, st.Size())
	_, err = io.ReadFull(file, b)
	return b, err
}

// Forget deletes what is kept of a torrent.
func (f *Folder) Forget(hash [20]byte) error {
	var errs []error
	for _, suffix := range []string{recordSuffix, torrentSuffix} {
		if err := os.Remove(f.path(hash, suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, durable.SyncDir(f.dir))...)
}
