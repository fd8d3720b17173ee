package resume

import (
	"slices"
	"time"

	"github.com/bttnet/btt/internal/disk"
)

// A write that was cut off changed its file's time between beforeWrite before
// the time of its record (file systems keep coarse times) and afterWrite after it
// (the disk may be slow).
const (
	beforeWrite = 100 * time.Millisecond
	afterWrite  = 10 * time.Second
)

// Layout is the geometry of the torrent a state is checked against.
type Layout struct {
	PieceLength int64
	Files       []disk.File
}

// check is the work of Check.
type check struct {
	state   *State
	history *History
	layout  Layout
	now     []disk.FileStat
	changed []bool // by piece: touches a file that somebody else changed
	absent  []bool // lacks bytes on disk
}

// Check compares a state, and the history of the writes since if there is one,
// with the files as they are now (disk.Store.Stat). It returns the bitfield of
// the pieces that may be trusted and, in order, the pieces to hash before they
// may be used. A nil state, or one of another geometry, trusts nothing.
//
//   - A file that is missing, short, or of another size or time than is known
//     spoils the trust in its pieces.
//   - A piece of which no byte can exist (a file is missing or ends before it)
//     is neither trusted nor listed.
//   - Where all writes are known, by Clean or the history, a piece that is not
//     trusted is listed only if it was being written or its file was changed.
func Check(s *State, h *History, l Layout, now []disk.FileStat) (trusted []byte, list []int) {
	var total int64
	for _, f := range l.Files {
		total += f.Length
	}
	pieces := int((total + l.PieceLength - 1) / l.PieceLength)
	trusted = make([]byte, (pieces+7)/8)
	if len(now) != len(l.Files) {
		return trusted, nil
	}
	if s != nil && (s.Pieces != pieces || len(s.Files) != len(l.Files)) {
		s = nil
	}
	if s == nil {
		h = nil
	}
	c := check{s, h, l, now, make([]bool, pieces), make([]bool, pieces)}
	c.compare()
	for q := range pieces {
		had, touched := c.had(q)
		switch {
		case c.absent[q]:
		case had && !c.changed[q]:
			trusted[q/8] |= 0x80 >> (q % 8)
		case c.changed[q] || touched || s == nil || !s.Clean && h == nil:
			list = append(list, q)
		}
	}
	return trusted, list
}

// Correct notes where a check of the files found otherwise than the state and the history
// say; has tells of the pieces that are there. It is to be called when the check is over and
// before anything is written: a file that was changed by somebody else looks as we left it
// from the first write on, and then those would be believed again if the process is killed
// before its first Save. It goes into the log before that write, so that nothing is forgotten
// of files that are only away for a time, on a disk that is not mounted.
func (l *Log) Correct(s *State, h *History, has func(piece uint32) bool) {
	if s == nil {
		return // nothing is believed without one
	}
	c := check{state: s, history: h}
	var wrong, whole []uint32
	for q := range s.Pieces {
		had, _ := c.had(q)
		switch is := has(uint32(q)); {
		case is && !had:
			whole = append(whole, uint32(q))
		case !is && had:
			wrong = append(wrong, uint32(q))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.corrected, l.whole = append(wrong, whole...), whole
}

// Lost notes that a piece that was whole is wrong now, for the reason of Correct.
func (l *Log) Lost(piece uint32) { l.End(l.Begin([]uint32{piece}), nil, nil) }

// had says whether a piece is known to be whole, and whether it was being
// written when that ended.
func (c *check) had(q int) (had, touched bool) {
	if c.state == nil {
		return false, false
	}
	had = c.state.Has(q)
	if c.history == nil {
		return had, false
	}
	whole, written := c.history.Pieces[uint32(q)]
	if written {
		had = whole
	}
	for _, b := range c.history.Begun {
		if slices.Contains(b.Pieces, uint32(q)) {
			return false, true
		}
	}
	return had, written && !whole
}

// compare marks the pieces of files that do not look as they should.
func (c *check) compare() {
	l := &c.layout
	var at int64
	for i, f := range l.Files {
		first, last := at/l.PieceLength, (at+f.Length-1)/l.PieceLength
		from := at
		at += f.Length
		if f.Length == 0 || f.Pad || c.ours(i, uint32(first), uint32(last)) {
			continue
		}
		for q := first; q <= last; q++ {
			end := min((q+1)*l.PieceLength, at) - from // of the piece's share of the file
			c.changed[q] = true
			c.absent[q] = c.absent[q] || !c.now[i].Exists || c.now[i].Size < end
		}
	}
}

// ours says whether a file, which holds the pieces from first to last, looks as
// we left it.
func (c *check) ours(i int, first, last uint32) bool {
	if c.state == nil || !c.now[i].Exists || c.now[i].Size < c.layout.Files[i].Length {
		return false
	}
	known := c.state.Files[i]
	if c.history != nil {
		if st, ok := c.history.Files[i]; ok && (!known.Exists || !st.ModTime.Before(known.ModTime)) {
			known = st
		}
	}
	if known.Exists && c.now[i].Size == known.Size && c.now[i].ModTime.Equal(known.ModTime) {
		return true
	}
	if c.history == nil {
		return false
	}
	for _, b := range c.history.Begun {
		t := c.now[i].ModTime
		in := slices.ContainsFunc(b.Pieces, func(p uint32) bool { return first <= p && p <= last })
		if in && !t.Before(b.At.Add(-beforeWrite)) && !t.After(b.At.Add(afterWrite)) && (!known.Exists || c.now[i].Size == known.Size) {
			return true
		}
	}
	return false
}
