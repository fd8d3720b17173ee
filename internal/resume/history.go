package resume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/bttnet/btt/internal/disk"
)

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
