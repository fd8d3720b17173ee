package resume

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
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
	// maxLogs is the number of generations read at a start. A run that finds so many, because
	// none before it came to a Save, goes on with the last; one more there is only until its
	// own Save, and holds nothing till then that the last does not.
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
	end  bool                // no later one is read before a Save
	lost bool                // it could not be written: useless until the next generation
	open map[uint64][]uint32 // pieces being written, by id
	next uint64
	buf  []byte

	corrected, whole []uint32 // to be written down before the next write, if there is one before a Save

	last     *os.File // such a generation, which is told what the next one is until that counts
	lastSize int64
}

// Log returns the log whose first generation is gen: the one that LoadLog told.
func (f *Folder) Log(infohash [20]byte, gen uint64) *Log {
	is := func(gen uint64) bool {
		_, err := os.Stat(f.logPath(infohash, gen))
		return err == nil
	}
	return &Log{folder: f, hash: infohash, boot: bootID(), now: time.Now, gen: gen, old: is(gen), end: gen >= maxLogs-1 && is(gen-(maxLogs-1)), open: make(map[uint64][]uint32),
		next: uint64(time.Now().UnixNano())} // other ids than those of an earlier run
}

func (f *Folder) logPath(infohash [20]byte, gen uint64) string {
	return filepath.Join(f.dir, hex.EncodeToString(infohash[:])+"."+strconv.FormatUint(gen, 10)+logSuffix)
}

// Begin implements [disk.Journal].
func (l *Log) Begin(pieces []uint32) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.corrected) > 0 {
		l.next++
		l.writeBegin(l.next, l.corrected)
		l.writeEnd(l.next, nil, l.whole)
		l.corrected, l.whole = nil, nil
	}
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
	l.writeEnd(id, files, done)
}

func (l *Log) writeEnd(id uint64, files []disk.Touched, done []uint32) {
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
		l.lose()
		return
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	l.buf = b
	if l.size += int64(len(b)); l.size > MaxLog {
		l.lose()
		return
	}
	if _, err := l.file.Write(b); err != nil {
		l.lose()
		return
	}
	if l.last == nil {
		return
	}
	if l.lastSize += int64(len(b)); l.lastSize > MaxLog {
		_ = l.closeLast()
	} else if _, err := l.last.Write(b); err != nil {
		_ = l.closeLast()
	}
}

func (l *Log) lose() {
	l.lost = true
	_ = l.closeLast()
}

func (l *Log) closeLast() (err error) {
	if l.last != nil {
		err = l.last.Close()
		l.last = nil
	}
	return err
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
	if l.end && !l.lost && (l.file != nil || l.goOn()) {
		l.last, l.lastSize, l.file = l.file, l.size, nil
	}
	if l.file != nil {
		_ = l.file.Close() // what was not written shows when it is read
	}
	l.file, l.lost, l.old, l.end, l.size = nil, false, false, false, 0
	l.gen++
	_ = os.Remove(l.folder.logPath(l.hash, l.gen)) // of a run that ended before its Save
	for id, pieces := range l.open {
		l.writeBegin(id, pieces)
	}
	return l.gen
}

// Drop removes the generations before one that is in a saved state.
func (l *Log) Drop(gen uint64) error {
	l.mu.Lock()
	errs := []error{l.closeLast()}
	l.corrected, l.whole = nil, nil // the state says it
	l.mu.Unlock()
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
	err := l.closeLast()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	return err
}
