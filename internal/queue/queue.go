// Package queue decides which torrents of a session run, and in what order
// they come: a passive policy without goroutine, clock or I/O.
//
// internal/session calls it: it keeps the [Order] under the lock of its table
// and carries out what [Plan] says.
package queue

// Limits are how many torrents run at once; 0 or less = all.
type Limits struct {
	Downloads, Seeds int
}

// Any says whether there is a limit at all. Without one, torrents do not depend
// on one another.
func (l Limits) Any() bool { return l.Downloads > 0 || l.Seeds > 0 }

// Entry is what the plan has to know of one torrent.
type Entry struct {
	May   bool // its user lets it run
	Apart bool // it counts for no limit: it is forced, or it failed
	Whole bool // it is complete, so a seed
}

// Plan says of each entry whether it runs: in their order as many as the limits
// permit, and all that stand apart. It appends to dst.
func Plan(dst []bool, l Limits, entries []Entry) []bool {
	downloads, seeds := l.Downloads, l.Seeds
	for _, e := range entries {
		run := e.May
		switch {
		case !e.May || e.Apart:
		case e.Whole && l.Seeds > 0:
			run = seeds > 0
			seeds--
		case !e.Whole && l.Downloads > 0:
			run = downloads > 0
			downloads--
		}
		dst = append(dst, run)
	}
	return dst
}
