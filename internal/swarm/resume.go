package swarm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// restore decides which pieces on disk are certain and which must be read.
func (o *opened) restore(st *resume.State, h *resume.History, l resume.Layout, log *slog.Logger) {
	now, err := o.store.Stat()
	if err != nil {
		log.Debug("stat files", "err", err)
	}
	trusted, list := resume.Check(st, h, l, now)
	for i := range o.info.NumPieces() {
		if wire.Bits(trusted).Has(i) {
			o.certain = append(o.certain, uint32(i))
		}
	}
	for _, p := range list {
		o.doubtful = append(o.doubtful, uint32(p))
	}
}

// correct tells the log of writes what the check found, which then goes before what is
// written.
func (o *opened) correct(has func(piece uint32) bool) {
	if o.log != nil {
		o.log.Correct(o.state, o.history, has)
	}
}

// restoreBegun takes what an earlier run bought of pieces by units and had in the files,
// and returns the pieces of which there is some. It touches nothing of the swarm's own.
func (s *Swarm) restoreBegun(begun []disk.Begun) (kept []disk.Begun, err error) {
	for _, b := range begun {
		if s.store.Verified(b.Piece) || s.ctx.Err() != nil {
			continue
		}
		units, err := s.store.Restore(b)
		switch {
		case errors.Is(err, disk.ErrUnits), errors.Is(err, disk.ErrLater):
			s.cfg.Log.Debug("begun piece not used", "piece", b.Piece, "err", err)
		case err != nil:
			return nil, err
		case units > 0:
			kept = append(kept, b)
		}
	}
	return kept, nil
}

// goOnWith has the picker ask for what is missing of begun pieces.
func (s *Swarm) goOnWith(begun []disk.Begun) {
	for _, b := range begun {
		s.authors = s.store.Holds(s.authors[:0], b.Piece)
		for block, who := range s.authors {
			if who != 0 {
				s.picker.Keep(b.Piece, uint32(block), who)
			}
		}
	}
}

// laterWait is for how long the layer of a begun piece is waited for while there is nothing
// else to fetch.
const laterWait = time.Minute

// laterBegun are the pieces that an earlier process began to buy by units, while the hashes
// that judge what there is of them are to come from peers.
type laterBegun struct {
	pieces    []uint32 // held back from being asked for
	restoring bool     // those whose hashes came are being read
	idle      int      // seconds with sources and with nothing else to fetch from them
}

// holdLater keeps begun pieces from being fetched anew whose layers are to come.
func (s *Swarm) holdLater() {
	s.later.pieces = s.store.Later(s.later.pieces[:0])
	for _, p := range s.later.pieces {
		s.picker.Hold(p)
	}
	s.restoreLater()
}

// restoreLater goes on with those of them whose layers are here by now.
func (s *Swarm) restoreLater() {
	if s.later.restoring || len(s.later.pieces) == 0 {
		return
	}
	due := s.store.Due()
	if len(due) == 0 {
		return
	}
	s.later.restoring, s.later.idle = true, 0
	go func() { // ends when the pieces are read or the swarm is closed
		kept, err := s.restoreBegun(due)
		s.post(func() {
			s.later.restoring = false
			if err != nil {
				s.fail(fmt.Errorf("check begun pieces: %w", err))
				return
			}
			for _, b := range due {
				s.admitLater(b.Piece)
			}
			s.goOnWith(kept)
			s.restoreLater() // more may have come
			s.feedAll()
		})
	}()
}

func (s *Swarm) admitLater(piece uint32) {
	s.picker.Admit(piece)
	s.later.pieces = slices.DeleteFunc(s.later.pieces, func(p uint32) bool { return p == piece })
}

// tickLater fetches begun pieces anew when there is nothing else to do and nobody sends
// their layers.
func (s *Swarm) tickLater() {
	if len(s.later.pieces) == 0 || s.later.restoring || s.state != Downloading || !s.onlyLater() {
		return
	}
	if s.later.idle++; time.Duration(s.later.idle)*tickEvery < laterWait {
		return
	}
	s.cfg.Log.Warn("begun pieces are fetched anew: nobody sends the hashes that tell what is there", "pieces", len(s.later.pieces))
	s.store.GiveUp()
	for _, p := range s.later.pieces {
		s.picker.Admit(p)
	}
	s.later = laterBegun{}
	s.feedAll()
	s.feedWeb()
}

// onlyLater says whether begun pieces are all that is left to fetch; or what somebody waits
// for who has pieces fetched in their order; or all that can be had: nothing comes,
// though somebody would send one. What else is missing may never come then, or only
// to who has these: a seed may show one piece at a time.
func (s *Swarm) onlyLater() bool {
	if s.picker.Missing() <= len(s.later.pieces) || s.picker.Ordered() {
		return len(s.peers) > 0 || slices.ContainsFunc(s.web, func(w *webSeed) bool { return !w.lost })
	}
	if slices.ContainsFunc(s.web, func(w *webSeed) bool { return w.fetches > 0 }) {
		return false
	}
	idle := false
	for _, m := range s.peers {
		if m.conn.Outstanding() > 0 {
			return false
		}
		idle = idle || !m.choked && !m.snubbed && !m.trade.Broke() &&
			slices.ContainsFunc(s.later.pieces, func(p uint32) bool { return m.seed || m.bits.Has(int(p)) })
	}
	return idle
}

func (s *Swarm) load(info *metainfo.Info) *resume.State {
	st, err := s.cfg.Resume.Load(s.cfg.InfoHash)
	if errors.Is(err, resume.ErrNotFound) {
		return nil
	}
	if err != nil {
		s.cfg.Log.Warn("resume data not used: everything is checked", "err", err)
		return nil
	}
	if st.Dir != s.cfg.Dir || st.Pieces != info.NumPieces() {
		return nil
	}
	return st
}

// diskFiles are those of the torrent on disk, with the layers that are known.
func (s *Swarm) diskFiles(t *metainfo.Torrent) []disk.File {
	list := DiskFiles(t.Info, s.cfg.Dir, s.cfg.InPlace)
	for i := range list {
		if root := list[i].Root; root != nil {
			list[i].Layer = t.PieceLayers.Get(root)
		}
	}
	return list
}

// DiskFiles are the files of a torrent below dir, in its order. In place, those
// that are there under the torrent's own names have these.
func DiskFiles(info *metainfo.Info, dir string, inPlace bool) []disk.File {
	files := info.DiskFiles()
	list := make([]disk.File, len(files))
	for i, f := range files {
		list[i] = disk.File{Path: f.Path, Length: f.Length, Pad: f.Pad, Root: info.Files[i].PiecesRoot}
		if !inPlace {
			continue
		}
		if own := ownPath(info, dir, i); own != "" {
			list[i].Path = own
		}
	}
	return list
}

// ownPath is the path of a file that is shared in place under a name that a
// download would have changed; "" = there is none such.
func ownPath(info *metainfo.Info, dir string, i int) string {
	parts := info.Files[i].Path
	if !info.SingleFile {
		parts = append([]string{info.Name}, parts...)
	}
	for _, p := range parts {
		if p == "" || strings.ContainsAny(p, `/\`) {
			return ""
		}
	}
	path := filepath.Join(parts...)
	if !filepath.IsLocal(path) {
		return ""
	}
	if st, err := os.Lstat(filepath.Join(dir, path)); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	return filepath.ToSlash(path)
}

// snapshot copies what a saved state needs of the swarm; persist adds the rest.
func (s *Swarm) snapshot(clean bool) *resume.State {
	t := s.liveTotals()
	return &resume.State{InfoHash: s.cfg.InfoHash, Dir: s.cfg.Dir, Pieces: s.info.NumPieces(), Clean: clean,
		Uploaded: t.Uploaded, Downloaded: t.Downloaded, Extra: s.market.Save()}
}

// surveyed says whether it is known what is on disk. A state that was saved before would
// say that what is not checked yet is not there, and it would be fetched and paid again.
func (s *Swarm) surveyed() bool {
	return s.store != nil && s.state != Checking && s.unchecked == nil
}

// save writes the torrent's state in the background: first the data is made
// durable, then the state that says so.
func (s *Swarm) save() {
	if s.cfg.Resume == nil || s.saving || !s.surveyed() {
		return
	}
	s.saving, s.dirty, s.saved = true, false, s.now
	st := s.snapshot(s.state == Seeding)
	s.savers.Go(func() { // ends when the disk has it
		err := s.persist(st)
		s.post(func() {
			s.saving = false
			if s.kept = nil; st.Clean && !s.dirty {
				s.kept = &Totals{Downloaded: st.Downloaded, Uploaded: st.Uploaded}
				if len(s.peers) == 0 {
					s.store.Rest()
				}
			}
			if err != nil {
				s.fail(fmt.Errorf("save state of the torrent: %w", err))
			}
		})
	})
}

// persist keeps to the order that package resume asks for. It touches nothing of
// the swarm's own.
func (s *Swarm) persist(st *resume.State) error {
	st.Log = s.log.Rotate()
	for _, b := range s.store.Begun() {
		s.log.Units(b.Piece, b.Blocks, b.Sums)
	}
	st.Bitfield = s.store.Written(nil)
	if err := s.store.Sync(); err != nil {
		return err
	}
	var err error
	if st.Files, err = s.store.Stat(); err != nil {
		return err
	}
	if err := s.cfg.Resume.Save(st); err != nil {
		return err
	}
	if st.Clean {
		s.saveUnits()
	}
	return s.log.Drop(st.Log)
}

// shutdown runs last on the swarm's goroutine.
func (s *Swarm) shutdown() {
	s.final = s.status()
	close(s.quiet)
	s.cfg.Slots.leave(len(s.peers))
	for _, m := range s.peers {
		m.conn.Close(ErrClosed)
	}
	s.market.Close()
	s.judges.Wait()
	s.savers.Wait() // what is saved last is the last word
	if s.opening {  // the disk may be slow
		if o := <-s.opened; o.err == nil {
			s.store, s.log = o.store, o.log
		}
	}
	if s.store != nil {
		if s.cfg.Resume != nil && s.surveyed() && s.failure == nil && s.changed() {
			if err := s.lastSave(); err != nil {
				s.cfg.Log.Warn("save state", "err", err)
			}
		}
		if err := s.store.Close(); err != nil {
			s.cfg.Log.Warn("close files", "err", err)
		}
	}
	if s.log != nil {
		if err := s.log.Close(); err != nil {
			s.cfg.Log.Warn("close log of writes", "err", err)
		}
	}
	s.stopDHT()
	s.stopAnnouncing()
}

// changed says whether there is something to save at the end.
func (s *Swarm) changed() bool {
	return s.kept == nil || s.dirty || s.saving || *s.kept != s.liveTotals() || s.store.UnitsChanged()
}

// lastSave writes the state after the last write, so that a restart need not
// check anything.
func (s *Swarm) lastSave() error {
	s.store.Flush()
	return s.persist(s.snapshot(true))
}
