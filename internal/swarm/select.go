package swarm

import (
	"errors"
	"fmt"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// FileStatus is a snapshot of one file of a torrent.
type FileStatus struct {
	Path     string // below the download folder, with "/"
	Length   int64
	Done     int64 // bytes in verified pieces
	Pad      bool  // zeros between files: never written, never shown
	Priority uint8 // 0 = not wanted
}

// choose sets the priorities that the torrent starts with.
func (s *Swarm) choose() error {
	prios := s.cfg.Priorities
	if s.cfg.Choose != nil {
		var err error
		if prios, err = s.cfg.Choose(s.info); err != nil {
			return err
		}
	}
	s.picker.SetSequential(s.cfg.Sequential)
	return s.prioritise(prios)
}

// prioritise gives the files their priorities; a shorter list leaves the rest
// at the default.
func (s *Swarm) prioritise(prios []uint8) error {
	files := s.info.Files
	if len(prios) > len(files) {
		return fmt.Errorf("%d priorities for %d files", len(prios), len(files))
	}
	s.wanted = s.info.ContentLength()
	if len(prios) == 0 && s.cfg.Priorities == nil {
		return nil
	}
	s.cfg.Priorities = make([]uint8, len(files))
	lengths := make([]int64, len(files))
	for i, f := range files {
		lengths[i] = f.Length
		switch {
		case f.Pad: // wanted with the file before it
		case i < len(prios):
			s.cfg.Priorities[i] = min(prios[i], picker.MaxPriority)
		default:
			s.cfg.Priorities[i] = picker.DefaultPriority
		}
	}
	s.wanted = 0
	for i, p := range picker.FilePriorities(s.info.PieceLength, lengths, s.cfg.Priorities) {
		s.picker.SetPriority(uint32(i), p)
		if p > 0 {
			s.wanted += s.picker.Content(uint32(i))
		}
	}
	return nil
}

// SetPriorities changes what is fetched, and how soon: a priority for each file,
// 0 (not wanted) to 7; a shorter list leaves the rest at the default, 4. Before
// the metadata is known they are kept for then.
func (s *Swarm) SetPriorities(prios []uint8) error {
	var failure error
	err := s.do(func() {
		if s.picker == nil {
			s.cfg.Priorities, s.cfg.Choose = prios, nil
			return
		}
		if failure = s.prioritise(prios); failure == nil {
			if s.layers != nil {
				s.layers.rank(s.cfg.Priorities)
			}
			s.reselect()
		}
	})
	if err != nil {
		return err
	}
	return failure
}

// reselect goes on after the wanted pieces changed.
func (s *Swarm) reselect() {
	switch {
	case s.state == Downloading && s.picker.Missing() == 0:
		s.finish()
	case s.state == Seeding && s.picker.Missing() > 0:
		s.state = Downloading
		s.tellUploadOnly()
		s.notify(Reopened, nil)
	}
	for _, m := range s.peers {
		s.updateInterest(m)
		s.market.Tell(m.trade)
	}
	s.connect()
	s.feedAll()
}

// SetSequential switches between rarest first and the order of the pieces.
func (s *Swarm) SetSequential(on bool) {
	_ = s.do(func() {
		if s.cfg.Sequential = on; s.picker != nil {
			s.picker.SetSequential(on)
		}
	})
}

// ReadAhead asks for length bytes of a file from offset on before everything
// else, in their order, for somebody who reads there: picker.MaxWindow pieces at
// most. A length of 0 ends it. The error says that the place does not exist, or
// is not known yet.
func (s *Swarm) ReadAhead(file int, offset, length int64) error {
	failure := error(nil)
	err := s.do(func() {
		if s.picker == nil {
			failure = errors.New("read ahead: the torrent's files are not known yet")
			return
		}
		if file < 0 || file >= len(s.info.Files) || offset < 0 || length < 0 || offset > s.info.Files[file].Length {
			failure = fmt.Errorf("read ahead: the torrent has no byte %d of file %d", offset, file)
			return
		}
		end := offset + min(length, s.info.Files[file].Length-offset)
		if end == offset {
			s.picker.SetWindow(0, 0)
			return
		}
		for _, f := range s.info.Files[:file] {
			offset, end = offset+f.Length, end+f.Length
		}
		first := offset / s.info.PieceLength
		s.picker.SetWindow(uint32(first), int((end-1)/s.info.PieceLength-first+1))
		s.feedAll()
	})
	if err != nil {
		return err
	}
	return failure
}

// Files returns the torrent's files in its order, nil before the metadata is
// known.
func (s *Swarm) Files() []FileStatus {
	var list []FileStatus
	_ = s.do(func() {
		if s.picker != nil {
			list = s.fileStatus()
		}
	})
	return list
}

func (s *Swarm) fileStatus() []FileStatus {
	list := fileList(s.files, s.cfg.Priorities)
	at, length := int64(0), s.info.PieceLength
	for i := range list {
		f := &list[i]
		end := at + f.Length
		for p := at / length; p*length < end; p++ {
			if s.pieces.Has(uint32(p)) {
				f.Done += min((p+1)*length, end) - max(p*length, at)
			}
		}
		at = end
	}
	return list
}

// FileList is the list of files of a torrent that does not run: with the
// priorities, and all there or nothing.
func FileList(info *metainfo.Info, prios []uint8, whole bool) []FileStatus {
	list := fileList(DiskFiles(info, "", false), prios)
	for i := range list {
		if whole {
			list[i].Done = list[i].Length
		}
	}
	return list
}

func fileList(files []disk.File, prios []uint8) []FileStatus {
	list := make([]FileStatus, len(files))
	for i, f := range files {
		list[i] = FileStatus{Path: f.Path, Length: f.Length, Pad: f.Pad, Priority: picker.DefaultPriority}
		if i < len(prios) {
			list[i].Priority = prios[i]
		}
	}
	return list
}

// whole says whether we have all of the torrent, wanted or not.
func (s *Swarm) whole() bool { return s.pieces.Count() == s.info.NumPieces() }

// partialSeed says whether we want nothing more, though we do not have all (BEP 21).
func (s *Swarm) partialSeed() bool { return s.state == Seeding && !s.whole() }

// absent is the bytes of the torrent that we do not have.
func (s *Swarm) absent() int64 {
	missing := int64(0)
	for i := range uint32(s.info.NumPieces()) {
		if !s.pieces.Has(i) {
			missing += s.picker.Content(i)
		}
	}
	return missing
}

// bitfield is what we have, as peers say it (BEP 3).
func (s *Swarm) bitfield() wire.Bits {
	bits := wire.NewBits(s.info.NumPieces())
	for i := range s.info.NumPieces() {
		if s.pieces.Has(uint32(i)) {
			bits.Set(i)
		}
	}
	return bits
}
