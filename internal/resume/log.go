package resume

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/durable"
)

// Limits of a log.
const (
	// MaxLog bounds a log in bytes: beyond it nothing more is written down, and
	// the files count as changed by others until the next Save.
	MaxLog = 64 << 20
	// maxLogs is the number of generations read at a start. More there never are: a run
	// that finds so many, because none before it came to a Save, goes on with the last.
	maxLogs = 8
	maxBoot = 64

	logSuffix = ".log"
	logMagic  = "bttlog\x00\x01" // the last byte is the version

	recordBegin = 1
	recordEnd   = 2
	recordUnits = 3
	touchedLen  = 4 + 8 + 8
)

// Log writes down what is written to a torrent's files after its state was
// saved: a record before each write and one after it. The records are not
// flushed: they outlive the process, not the system. It implements disk.Journal;
// its methods are safe for concurrent use, the lock is held during a write of
// a few bytes.
type Log struct {
	folder *Folder
	hash   [20]byte
	boot   string
	now    func() time.Time

	mu   sync.Mutex
	gen  uint64
	file *os.File // nil = nothing was written down in this generation
	size int64
	old  bool                // an earlier run wrote to this generation
	lost bool                // it could not be written: useless until the next generation
	open map[uint64][]uint32 // pieces being written, by id
	next uint64
	buf  []byte
}

// Log returns the log whose first generation is gen: the one that LoadLog told.
func (f *Folder) Log(infohash [20]byte, gen uint64) *Log {
	_, err := os.Stat(f.logPath(infohash, gen))
	return &Log{folder: f, hash: infohash, boot: bootID(), now: time.Now, gen: gen, old: err == nil, open: make(map[uint64][]uint32),
		next: uint64(time.Now().UnixNano())} // other ids than those of an earlier run
}

func (f *Folder) logPath(infohash [20]byte, gen uint64) string {
	return filepath.Join(f.dir, hex.EncodeToString(infohash[:])+"."+strconv.FormatUint(gen, 10)+logSuffix)
}

// Begin implements [disk.Journal].
func (l *Log) Begin(pieces []uint32) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	l.open[l.next] = slices.Clone(pieces)
	l.writeBegin(l.next, pieces)
	return l.next
}

// End implements [disk.Journal].
func (l *Log) End(id uint64, files []disk.Touched, done []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, id)
	b := binary.BigEndian.AppendUint64(l.head(recordEnd), id)
	b = binary.BigEndian.AppendUint32(b, uint32(len(files)))
	for _, t := range files {
		b = binary.BigEndian.AppendUint32(b, uint32(t.File))
		b = binary.BigEndian.AppendUint64(b, uint64(t.Size))
		b = binary.BigEndian.AppendUint64(b, uint64(t.ModTime.UnixNano()))
	}
	for _, p := range done {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	l.write(b)
}

// Units implements [disk.Journal]. It is to be told again what holds after Rotate.
func (l *Log) Units(piece uint32, blocks int, sums []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := binary.BigEndian.AppendUint64(l.head(recordUnits), uint64(piece))
	b = binary.BigEndian.AppendUint32(b, uint32(blocks))
	l.write(append(b, sums...))
}

func (l *Log) writeBegin(id uint64, pieces []uint32) {
	b := binary.BigEndian.AppendUint64(l.head(recordBegin), id)
	b = binary.BigEndian.AppendUint64(b, uint64(l.now().UnixNano()))
	for _, p := range pieces {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	l.write(b)
}

// head begins a record: its length, which write fills in, and its kind.
func (l *Log) head(kind byte) []byte { return append(l.buf[:0], 0, 0, 0, 0, kind) }

// write appends a record with one system call.
func (l *Log) write(b []byte) {
	l.buf = b
	if l.lost || l.boot == "" {
		return
	}
	if l.file == nil && !l.goOn() && l.create() != nil {
		l.lost = true
		return
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	l.buf = b
	if l.size += int64(len(b)); l.size > MaxLog {
		l.lost = true
		return
	}
	if _, err := l.file.Write(b); err != nil {
		l.lost = true
	}
}

// goOn opens the generation's file if an earlier run left one that can be read, behind its
// last whole record.
func (l *Log) goOn() bool {
	if !l.old {
		return false
	}
	path := l.folder.logPath(l.hash, l.gen)
	b, err := readAtMost(path, MaxLog+maxBoot+1024)
	_, at := cutHead(b, l.hash)
	if err != nil || at == 0 {
		return false
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	l.size = int64(at + records(b[at:], func([]byte) {}))
	if _, err = f.Seek(l.size, io.SeekStart); err == nil {
		err = f.Truncate(l.size)
	}
	if err != nil {
		_ = f.Close()
		return false
	}
	l.file = f
	return true
}

// create makes the generation's file with its head. It gets its name when the head
// is in it: one without a head says nothing, and then everything would be hashed.
func (l *Log) create() error {
	path := l.folder.logPath(l.hash, l.gen)
	f, err := durable.Temporary(path)
	if err != nil {
		return fmt.Errorf("create log of writes: %w", err)
	}
	head := append([]byte(logMagic), l.hash[:]...)
	head = append(head, byte(len(l.boot)))
	if _, err = f.Write(append(head, l.boot...)); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		f.Close()
		return fmt.Errorf("write log of writes: %w", err)
	}
	l.file, l.size = f, int64(len(head)+len(l.boot))
	return nil
}

// Rotate begins a new generation, in which the writes under way are written down
// anew, and returns its number for the state. Then come the Units of the pieces that
// are begun (disk.Store.Begun), the set of the pieces to save, the Sync and the Save, and at last Drop.
func (l *Log) Rotate() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil && !l.lost && !l.old {
		return l.gen // nothing was written since
	}
	if l.file != nil {
		_ = l.file.Close() // what was not written shows when it is read
	}
	l.file, l.lost, l.old, l.size = nil, false, false, 0
	l.gen++
	for id, pieces := range l.open {
		l.writeBegin(id, pieces)
	}
	return l.gen
}

// Drop removes the generations before one that is in a saved state.
func (l *Log) Drop(gen uint64) error {
	var errs []error
	for g := gen - min(gen, 2*maxLogs); g < gen; g++ {
		if err := os.Remove(l.folder.logPath(l.hash, g)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close releases the log's file, which stays.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// History is what the logs say of the time after a state was saved.
type History struct {
	// Files are those written to, as their last write left them.
	Files map[int]disk.FileStat
	// Pieces that were written to: true = verified and whole, false = in progress.
	Pieces map[uint32]bool
	// Begun are the writes of which no end is known.
	Begun []Begun

	units map[uint32]disk.Begun
}

// Begun is a write that began and perhaps did not end.
type Begun struct {
	At     time.Time
	Pieces []uint32
}

// maxBegun bounds the pieces of which hashes of units are returned.
const maxBegun = 256

// LoadLog returns what was written down since the state with generation gen, the hashes of
// units of pieces that were begun and are not known to be whole, and
// the generation for a new log. The history is nil when it is of no use: it
// cannot be read, or the system was restarted, so that what was written may be
// lost. One without entries says that nothing was written. The hashes are of use all the
// same: whoever takes them (disk.Store.Restore) sees whether they and the data are right.
func (f *Folder) LoadLog(infohash [20]byte, gen uint64) (h *History, begun []disk.Begun, next uint64) {
	h, next = newHistory(), gen
	open := map[uint64]Begun{}
	boot, ok := bootID(), true
	for g := gen; g < gen+maxLogs; g++ {
		b, err := readAtMost(f.logPath(infohash, g), MaxLog+maxBoot+1024)
		if errors.Is(err, fs.ErrNotExist) {
			break // a later one would be of no use without it
		}
		next = g + 1
		ok = err == nil && h.read(b, infohash, boot, open) && ok
	}
	next = min(next, gen+maxLogs-1)
	for _, b := range h.units {
		if len(begun) < maxBegun {
			begun = append(begun, b)
		}
	}
	if !ok || boot == "" {
		return nil, begun, next
	}
	for _, b := range open {
		h.Begun = append(h.Begun, b)
	}
	return h, begun, next
}

func newHistory() *History {
	return &History{Files: map[int]disk.FileStat{}, Pieces: map[uint32]bool{}, units: map[uint32]disk.Begun{}}
}

func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read log of writes: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("read log of writes: %w", err)
	}
	return b, nil
}

// read takes the records of one generation in; false = it is of another run of
// the system, or of another torrent. A record that is cut off or damaged ends it.
func (h *History) read(b []byte, infohash [20]byte, boot string, open map[uint64]Begun) bool {
	of, at := cutHead(b, infohash)
	if at == 0 {
		return false
	}
	records(b[at:], func(r []byte) { h.record(r, open) })
	return of == boot
}

// cutHead returns the run of the system that a log is of, and the length of its head; 0 =
// it has none, or is of another torrent.
func cutHead(b []byte, infohash [20]byte) (boot string, n int) {
	rest, ok := bytes.CutPrefix(b, append([]byte(logMagic), infohash[:]...))
	if !ok || len(rest) < 1 || len(rest) < 1+int(rest[0]) {
		return "", 0
	}
	boot = string(rest[1 : 1+rest[0]])
	return boot, len(b) - len(rest) + 1 + len(boot)
}

// records calls each for the whole and undamaged records up to the first that is not, and
// returns how many bytes they are.
func records(b []byte, each func(r []byte)) (size int) {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b))
		if n < 4+1+8 || n > len(b)-4 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
			break
		}
		each(b[4:n])
		b, size = b[n+4:], size+n+4
	}
	return size
}

// record takes one record in; what makes no sense is passed over.
func (h *History) record(b []byte, open map[uint64]Begun) {
	id := binary.BigEndian.Uint64(b[1:])
	body := b[9:]
	switch {
	case b[0] == recordBegin && len(body) >= 8:
		at := time.Unix(0, int64(binary.BigEndian.Uint64(body)))
		pieces := words(body[8:])
		for _, p := range pieces {
			h.Pieces[p] = false
		}
		open[id] = Begun{at, pieces}
	case b[0] == recordEnd && len(body) >= 4:
		n := int(binary.BigEndian.Uint32(body))
		if body = body[4:]; n > len(body)/touchedLen {
			return
		}
		delete(open, id)
		for ; n > 0; n-- {
			h.touch(int(binary.BigEndian.Uint32(body)), disk.FileStat{Exists: true, Size: int64(binary.BigEndian.Uint64(body[4:])),
				ModTime: time.Unix(0, int64(binary.BigEndian.Uint64(body[12:])))})
			body = body[touchedLen:]
		}
		for _, p := range words(body) {
			h.Pieces[p] = true
			delete(h.units, p)
		}
	case b[0] == recordUnits && id <= math.MaxUint32 && len(body) >= 4:
		h.units[uint32(id)] = disk.Begun{Piece: uint32(id), Blocks: int(binary.BigEndian.Uint32(body)), Sums: bytes.Clone(body[4:])}
	}
}

// touch keeps the latest look of a file: writers end in any order.
func (h *History) touch(i int, st disk.FileStat) {
	if old, ok := h.Files[i]; !ok || !st.ModTime.Before(old.ModTime) {
		h.Files[i] = st
	}
}

func words(b []byte) []uint32 {
	out := make([]uint32, 0, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, binary.BigEndian.Uint32(b))
	}
	return out
}
