package resume

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/bttnet/btt/internal/durable"
)

const (
	suffix = ".resume"
	// unitsSuffix is that of hashes of units.
	unitsSuffix = ".units"
	// MaxUnitsSize bounds a file of them in bytes.
	MaxUnitsSize = 64 << 20
	// loadWorkers and saveWorkers bound the goroutines of LoadAll and Save.
	loadWorkers = 8
	saveWorkers = 8
)

// Folder is the directory the states of a session lie in; other sessions, of other
// processes too, may have it as well, and share the torrents out among them by
// [Folder.Hold]. Its methods may be called concurrently, but only one at a time for
// one torrent.
type Folder struct {
	dir    string
	mu     sync.Mutex      // leaf lock over claims
	claims *durable.Claims // nil until the first is made
}

// Open makes the directory if needed and removes what an earlier crash left, but
// nothing that another process is writing.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open resume folder: %w", err)
	}
	if err := durable.Sweep(dir); err != nil {
		return nil, fmt.Errorf("clean resume folder: %w", err)
	}
	return &Folder{dir: dir}, nil
}

// ErrHeld says that another session keeps the state of a torrent.
var ErrHeld = errors.New("another session keeps the torrent's state")

// Hold claims what is kept of a torrent, its state, log and hashes of units, until
// Release or Close: two that wrote it would each be told of files of the other's. The
// error wraps ErrHeld while another Folder has it, in this process or another.
func (f *Folder) Hold(infohash [20]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.claims == nil {
		c, err := durable.OpenClaims(f.dir)
		if err != nil {
			return fmt.Errorf("hold resume state: %w", err)
		}
		f.claims = c
	}
	err := f.claims.Take(hex.EncodeToString(infohash[:]))
	if errors.Is(err, durable.ErrLocked) {
		err = ErrHeld
	}
	if err != nil {
		return fmt.Errorf("hold resume state: %w", err)
	}
	return nil
}

// Release gives back what Hold claimed.
func (f *Folder) Release(infohash [20]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.claims == nil {
		return nil
	}
	return f.claims.Release(hex.EncodeToString(infohash[:]))
}

// Close gives back all that Hold claimed.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.claims == nil {
		return nil
	}
	err := f.claims.Close()
	f.claims = nil
	return err
}

func (f *Folder) path(infohash [20]byte) string {
	return filepath.Join(f.dir, hex.EncodeToString(infohash[:])+suffix)
}

// Save replaces the states of torrents, durably: when it returns nil they
// survive a power cut. On an error each torrent has its old state or the new
// one. Many states cost one flush of the folder.
func (f *Folder) Save(states ...*State) error {
	var group sync.WaitGroup
	errs := make([]error, len(states))
	gate := make(chan struct{}, saveWorkers)
	for i, s := range states {
		gate <- struct{}{}
		group.Go(func() { // ends with its file
			errs[i] = f.replace(s)
			<-gate
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("save resume state: %w", err)
	}
	return f.flush()
}

func (f *Folder) replace(s *State) error {
	b, err := s.Encode(nil)
	if err != nil {
		return err
	}
	return durable.Replace(f.path(s.InfoHash), b, true)
}

// flush makes renames and removals durable.
func (f *Folder) flush() error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be flushed there
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("flush resume folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flush resume folder: %w", err)
	}
	return nil
}

// Load returns a torrent's state, ErrNotFound or ErrCorrupt.
func (f *Folder) Load(infohash [20]byte) (*State, error) {
	s, err := load(f.path(infohash))
	if err == nil && s.InfoHash != infohash {
		return nil, fmt.Errorf("load resume state: another torrent's: %w", ErrCorrupt)
	}
	return s, err
}

// read returns a whole file of at most limit bytes, ErrNotFound or ErrCorrupt.
func read(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %w", path, ErrCorrupt)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(file, b)
	return b, err
}

func load(path string) (*State, error) {
	b, err := read(path, MaxStateSize)
	if errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("load resume state: %w", err)
	}
	s, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("load resume state %s: %w", path, err)
	}
	return s, nil
}

func (f *Folder) unitsPath(infohash [20]byte) string {
	return strings.TrimSuffix(f.path(infohash), suffix) + unitsSuffix
}

// SaveUnits keeps hashes of a torrent's units (package unitsums), at most MaxUnitsSize
// bytes of them. They are not made durable: whoever uses them checks them.
func (f *Folder) SaveUnits(infohash [20]byte, saved []byte) error {
	if len(saved) > MaxUnitsSize {
		return fmt.Errorf("save hashes of units: %d bytes, at most %d are kept", len(saved), MaxUnitsSize)
	}
	if err := durable.Replace(f.unitsPath(infohash), saved, false); err != nil {
		return fmt.Errorf("save hashes of units: %w", err)
	}
	return nil
}

// LoadUnits returns what SaveUnits kept; ErrNotFound if there is nothing.
func (f *Folder) LoadUnits(infohash [20]byte) ([]byte, error) {
	b, err := read(f.unitsPath(infohash), MaxUnitsSize)
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("load hashes of units: %w", err)
	}
	return b, err
}

// LoadAll calls each with every state, or with the error of a file that cannot
// be read (state nil). The calls come one at a time, in no order.
func (f *Folder) LoadAll(each func(s *State, err error)) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("load resume folder: %w", err)
	}
	names := make(chan string)
	var mu sync.Mutex
	var group sync.WaitGroup
	for range loadWorkers {
		group.Go(func() { // ends when names is closed, before LoadAll returns
			for name := range names {
				s, err := load(filepath.Join(f.dir, name))
				mu.Lock()
				each(s, err)
				mu.Unlock()
			}
		})
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && e.Type().IsRegular() {
			names <- e.Name()
		}
	}
	close(names)
	group.Wait()
	return nil
}

// Delete forgets a torrent. A missing state is no error.
func (f *Folder) Delete(infohash [20]byte) error {
	if err := os.Remove(f.path(infohash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete resume state: %w", err)
	}
	if err := os.Remove(f.unitsPath(infohash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete hashes of units: %w", err)
	}
	list, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("delete resume state: %w", err)
	}
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), hex.EncodeToString(infohash[:])+".") || !strings.HasSuffix(e.Name(), logSuffix) {
			continue
		}
		if err := os.Remove(filepath.Join(f.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete log of writes: %w", err)
		}
	}
	return f.flush()
}
