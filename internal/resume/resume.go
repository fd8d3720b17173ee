// Package resume keeps what a torrent needs to go on after a restart: which
// pieces are durable, what its files looked like then, and its totals.
//
// internal/session calls it when a torrent stops and now and then while it
// runs. There are no goroutines but those inside LoadAll, which end with it.
// Sessions that share a folder share its torrents out by Folder.Hold.
//
// One small checksummed file a torrent, replaced by write, flush, rename and
// flush of the folder: a crash leaves the old state or the new one. The rule
// that keeps the bitfield true is the caller's order of steps:
//
//  1. Log.Rotate, then Log.Units of what disk.Store.Begun returns,
//  2. copy the set of pieces that are verified and in their files
//     (disk.Store.Written),
//  3. disk.Store.Sync; on error stop here and keep the old state,
//  4. disk.Store.Stat, then Folder.Save with the copy of step 2,
//  5. Log.Drop.
//
// Beside it lies a log of the writes since, which is not flushed: a record
// before each write and one after it, with the times that the files then have.
// It also has the hashes of units of pieces that are bought by parts (RFC 44).
// At the restart Check decides which pieces are trusted:
//
//   - A file that looks as its last known write left it was written to by nobody
//     else. After the process was killed the log tells every write, so of such
//     a file only the pieces in progress are hashed again.
//   - A file whose time fits a write that began and of which no end is known
//     counts as ours too, but for the pieces of that write.
//   - Any other file whose size or time differs was changed by somebody else, and
//     is hashed as a whole.
//   - What a check finds otherwise is noted before anything is written (Log.Correct).
//   - After a restart of the system the log is of no use, for what it speaks of
//     may not have reached the disk: files written to since the Save are hashed
//     as a whole.
package resume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/bttnet/btt/internal/disk"
)

const (
	// MaxStateSize bounds a state file in bytes.
	MaxStateSize = 128 << 20
	// MaxDirLength bounds the folder's name, MaxExtra the caller's bytes.
	MaxDirLength = 1 << 15
	MaxExtra     = 1 << 20

	magic   = "bttres\x00\x02" // the last byte is the version
	perFile = 17
)

var (
	// ErrNotFound is returned for a torrent without a state.
	ErrNotFound = errors.New("no resume state")
	// ErrCorrupt is returned for a state that is torn or altered: the torrent
	// must be checked as a whole.
	ErrCorrupt = errors.New("resume state is damaged")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// State is what is kept of one torrent.
type State struct {
	// InfoHash names the torrent (v1, or the truncated v2 hash).
	InfoHash [20]byte
	// Dir is the folder its files are in.
	Dir string
	// Pieces is the number of pieces, Bitfield has a bit for each (BEP 3
	// order): set only for pieces that were durable when it was saved.
	Pieces   int
	Bitfield []byte
	// Files are the sizes and times of the files right after the Sync.
	Files []disk.FileStat
	// Clean says that nothing was written after Files was taken: the torrent
	// is stopped, and pieces outside Bitfield need no check.
	Clean bool
	// Log is the generation of the log of what is written from now on
	// (Log.Rotate).
	Log uint64
	// Uploaded and Downloaded are totals in bytes.
	Uploaded, Downloaded int64
	// Extra is the caller's own, at most MaxExtra bytes.
	Extra []byte
}

// Has reports whether a piece is in the bitfield.
func (s *State) Has(piece int) bool {
	return piece < s.Pieces && s.Bitfield[piece/8]&(0x80>>(piece%8)) != 0
}

// Encode appends the state's file form to dst.
func (s *State) Encode(dst []byte) ([]byte, error) {
	switch {
	case len(s.Bitfield) != (s.Pieces+7)/8:
		return dst, fmt.Errorf("encode resume state: bitfield of %d bytes for %d pieces", len(s.Bitfield), s.Pieces)
	case len(s.Dir) > MaxDirLength || len(s.Extra) > MaxExtra || len(s.Files) > disk.MaxFiles:
		return dst, errors.New("encode resume state: a field is too long")
	}
	from := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, s.InfoHash[:]...)
	flags := byte(0)
	if s.Clean {
		flags = 1
	}
	dst = append(dst, flags)
	for _, n := range []uint64{
		uint64(s.Uploaded), uint64(s.Downloaded), uint64(s.Pieces),
		uint64(len(s.Files)), uint64(len(s.Dir)), uint64(len(s.Extra)), s.Log,
	} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	dst = append(dst, s.Bitfield...)
	for _, f := range s.Files {
		present := byte(0)
		stamp := int64(0)
		if f.Exists {
			present = 1
			if !f.ModTime.IsZero() {
				stamp = f.ModTime.UnixNano()
			}
		}
		dst = append(dst, present)
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.Size))
		dst = binary.BigEndian.AppendUint64(dst, uint64(stamp))
	}
	dst = append(dst, s.Dir...)
	dst = append(dst, s.Extra...)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
	if len(dst)-from > MaxStateSize {
		return dst[:from], errors.New("encode resume state: longer than the limit")
	}
	return dst, nil
}

// Decode reads a state file. Any deviation is ErrCorrupt.
func Decode(b []byte) (*State, error) {
	const head = len(magic) + 20 + 1 + 7*8
	if len(b) < head+4 || len(b) > MaxStateSize || string(b[:len(magic)]) != magic {
		return nil, ErrCorrupt
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, ErrCorrupt
	}
	s := &State{}
	copy(s.InfoHash[:], body[len(magic):])
	flags := body[len(magic)+20]
	s.Clean = flags == 1
	var n [7]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(body[len(magic)+21+8*i:])
	}
	rest := body[head:]
	if flags > 1 || n[2] > MaxStateSize*8 || n[3] > disk.MaxFiles || n[4] > MaxDirLength || n[5] > MaxExtra ||
		int64(n[0]) < 0 || int64(n[1]) < 0 || uint64(len(rest)) != (n[2]+7)/8+n[3]*perFile+n[4]+n[5] {
		return nil, ErrCorrupt
	}
	s.Uploaded, s.Downloaded, s.Pieces, s.Log = int64(n[0]), int64(n[1]), int(n[2]), n[6]
	bits := (s.Pieces + 7) / 8
	s.Bitfield, rest = append([]byte(nil), rest[:bits]...), rest[bits:]
	s.Files = make([]disk.FileStat, n[3])
	for i := range s.Files {
		f := &s.Files[i]
		stamp := int64(binary.BigEndian.Uint64(rest[9:]))
		f.Size = int64(binary.BigEndian.Uint64(rest[1:]))
		if rest[0] > 1 || f.Size < 0 || rest[0] == 0 && (f.Size|stamp) != 0 {
			return nil, ErrCorrupt
		}
		if f.Exists = rest[0] == 1; f.Exists && stamp != 0 {
			f.ModTime = time.Unix(0, stamp)
		}
		rest = rest[perFile:]
	}
	s.Dir = string(rest[:n[4]])
	if n[5] > 0 {
		s.Extra = append([]byte(nil), rest[n[4]:]...)
	}
	return s, nil
}
