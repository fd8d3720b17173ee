package swarm

import (
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// begin runs first on the swarm's goroutine.
func (s *Swarm) begin() {
	s.identify(*s.id.Load())
	if s.cfg.Torrent != nil {
		s.start(s.cfg.Torrent)
		return // announced once it is known what we have
	}
	s.startAnnouncing()
	s.startDHT()
}

// start begins a torrent whose info is known. In version 2 alone a file whose
// piece layer is missing waits for it.
func (s *Swarm) start(t *metainfo.Torrent) {
	own := *t // layers may be added
	own.PieceLayers = t.PieceLayers.Clone()
	s.torrent, s.layers = &own, newLayerFetch(&own)
	s.askLayers()
	if s.cfg.Torrent == nil {
		s.notify(GotMetadata, nil)
	}
	s.adopt(t.Info)
}

// adopt opens the files of a torrent and finds out which pieces are there, beside
// the swarm's goroutine; install goes on.
func (s *Swarm) adopt(info *metainfo.Info) {
	s.torrent.Info = info
	if info.Private {
		s.stopDHT()
		s.unlearnPEX()
	}
	s.state, s.opening = Checking, true
	t := *s.torrent
	t.PieceLayers = t.PieceLayers.Clone()
	go func() { s.opened <- s.open(&t) }() // ends when the files are open; run or shutdown takes it
}

// opened is a torrent whose files are open.
type opened struct {
	info              *metainfo.Info
	files             []disk.File
	store             *disk.Store
	log               *resume.Log // nil = no state is kept
	state             *resume.State
	history           *resume.History // nil = of no use
	certain, doubtful []uint32
	begun             []disk.Begun // by units, if what is known of them is right
	err               error
}

// open does what waits for the disk. It touches nothing of the swarm's own.
func (s *Swarm) open(t *metainfo.Torrent) (o opened) {
	o.info = t.Info
	if s.cfg.Gate != nil {
		select {
		case s.cfg.Gate <- struct{}{}:
			defer func() { <-s.cfg.Gate }()
		case <-s.ctx.Done():
			o.err = ErrClosed
			return o
		}
	}
	files := s.diskFiles(t)
	o.files = files
	var journal disk.Journal
	if s.cfg.Resume != nil {
		var gen uint64
		if o.state = s.load(t.Info); o.state != nil {
			gen = o.state.Log
		}
		o.history, o.begun, gen = s.cfg.Resume.LoadLog(s.cfg.InfoHash, gen)
		o.log = s.cfg.Resume.Log(s.cfg.InfoHash, gen)
		journal = o.log
	}
	o.store, o.err = disk.Open(disk.Config{Dir: s.cfg.Dir, Files: files, PieceLength: t.Info.PieceLength, Hashes: t.Info.Pieces,
		Pool: s.cfg.Pool, Unit: s.cfg.Market.Unit(), Preallocate: s.cfg.Preallocate, Notify: s.diskEvent, Journal: journal})
	if o.err != nil {
		o.err = fmt.Errorf("open files of %q: %w", t.Info.Name, o.err)
		return o
	}
	known := o.state
	if s.cfg.Recheck {
		known = nil
	}
	o.restore(known, o.history, resume.Layout{PieceLength: t.Info.PieceLength, Files: files}, s.cfg.Log)
	if len(o.doubtful)+len(o.begun) == 0 {
		o.correct(func(p uint32) bool { _, is := slices.BinarySearch(o.certain, p); return is })
	}
	return o
}

// install takes a torrent whose files are open.
func (s *Swarm) install(o opened) {
	s.opening = false
	if o.err != nil {
		s.fail(o.err)
		return
	}
	info := o.info
	s.info, s.files, s.store, s.log = info, o.files, o.store, o.log
	s.picker = picker.New(picker.Config{PieceLength: info.PieceLength, TotalLength: info.TotalLength,
		Pads: pads(info), Seed: s.entropy()})
	s.pieces = peer.NewPieces(info.NumPieces())
	if err := s.choose(); err != nil {
		s.fail(fmt.Errorf("choose files of %q: %w", info.Name, err))
		return
	}
	s.market.SetLayout(market.Layout{Name: info.Name, TotalLength: info.TotalLength, PieceLength: info.PieceLength,
		Pieces: info.NumPieces(), Pads: info.Pads(), Trimmed: info.HasV2() && !info.HasV1(), InfoHash: s.id.Load().v1})
	if st := o.state; st != nil {
		s.totals = Totals{Downloaded: st.Downloaded, Uploaded: st.Uploaded}
		s.market.Load(st.Extra)
		if st.Clean && len(o.doubtful) == 0 && !s.cfg.Recheck {
			s.kept = &Totals{Downloaded: st.Downloaded, Uploaded: st.Uploaded}
		}
	}
	s.lateLayers()
	s.holdBack()
	s.openWebSeeds()
	s.cfg.Log.Info("files are open", "torrent", info.Name, "certain", len(o.certain), "to_check", len(o.doubtful))
	if s.layers != nil && !info.HasV1() && len(o.doubtful)+len(o.begun) > 0 {
		s.state, s.unchecked = FetchingMetadata, &o // what is there can be checked when all layers are
		return
	}
	s.check(&o)
}

func pads(info *metainfo.Info) []picker.Span {
	var spans []picker.Span
	for _, p := range info.Pads() {
		spans = append(spans, picker.Span(p))
	}
	return spans
}

func (s *Swarm) diskEvent(e disk.Event) {
	select {
	case s.disk <- e:
	case <-s.ctx.Done():
	}
}

// check verifies in the background what is on disk and not known to be good.
func (s *Swarm) check(o *opened) {
	doubtful, begun := o.doubtful, o.begun
	s.state = Checking
	for _, p := range o.certain {
		s.pieces.Set(p)
		s.picker.SetHave(p)
		s.store.SetVerified(p, true)
	}
	for _, b := range begun { // one that is whole by now is no longer begun
		if int64(b.Piece) < int64(s.info.NumPieces()) && !s.pieces.Has(b.Piece) && !slices.Contains(doubtful, b.Piece) {
			doubtful = append(doubtful, b.Piece)
		}
	}
	if len(doubtful)+len(begun) == 0 {
		s.checked(nil)
		return
	}
	go func() { // ends when the pieces are read or the swarm is closed
		err := s.verify(doubtful)
		if err == nil {
			o.correct(s.pieces.Has)
			begun, err = s.restoreBegun(begun)
		}
		s.post(func() {
			for _, p := range doubtful {
				if s.pieces.Has(p) {
					s.picker.SetHave(p)
					s.dirty = true
				}
			}
			s.goOnWith(begun)
			s.holdLater()
			s.checked(err)
		})
	}()
}

// verify reads pieces from the files and sets those that are good.
func (s *Swarm) verify(pieces []uint32) error {
	return s.store.VerifyPieces(s.ctx, checkWorkers, pieces, func(piece int, ok bool) {
		if ok {
			s.pieces.Set(uint32(piece))
		}
	})
}

const checkWorkers = 2

// checked runs when it is known what is on disk.
func (s *Swarm) checked(err error) {
	if err != nil {
		s.fail(fmt.Errorf("check files: %w", err))
		return
	}
	s.state, s.began = Downloading, s.now
	s.notify(Checked, nil)
	if s.picker.Missing() > 0 {
		s.notify(Reopened, nil)
		if s.kept == nil {
			s.save() // what is written from now on is told apart from it
		}
	}
	if s.picker.Missing() == 0 {
		s.state = Seeding
		s.tellUploadOnly() // to peers of a magnet link
		s.market.Completed(true)
		if s.kept == nil {
			s.save()
		} else if len(s.peers) == 0 {
			s.store.Rest()
		}
		s.notify(Completed, nil)
		s.makeLayers()
	}
	s.startAnnouncing()
	s.startDHT()
	for _, m := range s.peers { // of a magnet link
		s.meet(m)
	}
	s.feedWeb()
	s.connect()
}

// meet tells a peer that was there before the metadata about our pieces, and
// reads what it said about its own.
func (s *Swarm) meet(m *member) {
	m.bits = wire.NewBits(s.info.NumPieces())
	m.conn.SetStore(s.market.Serving(s.store), s.pieces, s.info.PieceLength, s.info.TotalLength)
	for i := range s.info.NumPieces() {
		if s.pieces.Has(uint32(i)) {
			m.conn.Have(uint32(i))
		}
	}
	seed, raw, haves := m.seed, m.rawBits, m.haves
	m.seed, m.rawBits, m.haves = false, nil, nil
	if seed {
		s.onHave(m, &peer.Event{Kind: peer.HaveAll})
	} else if raw != nil {
		s.onHave(m, &peer.Event{Kind: peer.Bitfield, Data: raw})
	}
	for _, p := range haves {
		s.onHave(m, &peer.Event{Kind: peer.Have, Piece: p})
	}
	for _, p := range m.lost {
		s.onDontHave(m, p)
	}
	m.lost = nil
}

// complete runs when the last wanted piece is on disk.
func (s *Swarm) complete() {
	if s.state == Seeding {
		return
	}
	s.state = Seeding
	s.market.Completed(false)
	s.save()
	if s.whole() {
		for _, h := range s.announcing() {
			h.Completed()
		}
	}
	for _, m := range s.peers {
		if m.wanted {
			m.wanted = false
			m.conn.Send(wire.AppendEmpty(nil, wire.NotInterested))
		}
		s.market.Tell(m.trade)
	}
	s.tellUploadOnly()
	s.cfg.FreeSlot()
	s.notify(Completed, nil)
	s.makeLayers()
}

// tick runs once a second.
func (s *Swarm) tick() {
	best := int64(0)
	for _, m := range s.peers {
		s.tickPeer(m)
		if !m.choked {
			best = max(best, m.rateBusy)
		}
	}
	s.tickBooking()
	s.bestDown = best
	s.market.Tick()
	s.fetchMetadata()
	s.askLayers()
	s.tickCases()
	s.tickUnits()
	s.tickLater()
	s.unstick()
	s.tickWeb()
	s.tickPEX()
	s.connect()
	s.dirty = s.market.Changed() || s.dirty
	if s.dirty && s.now.Sub(s.saved) >= saveEvery && s.store != nil {
		s.save()
	}
}

// unstick gives pieces free whose blocks all came but which the store dropped:
// a late block of an attempt that failed its hash may have been booked for the
// next one.
func (s *Swarm) unstick() {
	if s.picker == nil || s.state != Downloading || s.now.Sub(s.unstuck) < unstickEvery {
		return
	}
	s.unstuck = s.now
	for _, p := range s.picker.InProgress() {
		if s.picker.Progress(uint32(p)) == s.picker.Blocks(uint32(p)) && !s.store.Verified(uint32(p)) {
			s.again(uint32(p))
			s.feedAll()
		}
	}
}

func (s *Swarm) tickPeer(m *member) {
	got, sent := m.conn.Received.Load(), m.conn.Sent.Load()
	m.rateDown = (m.rateDown + got - m.lastReceived) / 2
	if got > m.lastReceived || m.conn.Outstanding() > 0 {
		m.rateBusy = (m.rateBusy + got - m.lastReceived) / 2
	}
	s.tickIdle(m, sent)
	m.rateUp = (m.rateUp + sent - m.lastSent) / 2
	m.lastReceived, m.lastSent = got, sent
	m.conn.SetDepth(int(3 * m.rateDown / wire.BlockSize))
	switch {
	case m.conn.WriteStuck(s.now) > writeStuckMax:
		s.kick(m, peer.ErrSlow)
		return
	case s.useless(m):
		s.kick(m, errUseless)
		return
	case !m.wanted && !m.interest && !m.trade.Busy() && s.now.Sub(m.joined) > idleAfter && s.state != FetchingMetadata:
		s.kick(m, errIdle)
		return
	case s.silence(m) > silentMax:
		s.kick(m, errSilent)
		return
	case s.now.Sub(m.sentAt) > keepAlive:
		m.sentAt = s.now
		m.conn.Send(wire.AppendKeepAlive(nil))
	}
	s.tickSnub(m)
	s.feed(m)
}

// silence is for how long the peer has sent nothing, not even a keep-alive,
// though we were ready to read.
func (s *Swarm) silence(m *member) time.Duration {
	if mark, waiting := m.conn.Reads(); mark != m.reads || !waiting {
		m.reads, m.heardAt = mark, s.now
	}
	return s.now.Sub(m.heardAt)
}

// useless says whether neither side has wanted anything of the other for long
// enough that the last payment is over.
func (s *Swarm) useless(m *member) bool {
	if s.state != Seeding || !m.seed && !m.ext.UploadOnly || m.trade.Busy() {
		m.done = time.Time{}
		return false
	}
	if m.done.IsZero() {
		m.done = s.now
	}
	return s.now.Sub(m.done) > retireAfter
}

func (s *Swarm) entropy() uint64 {
	var x uint64
	for _, b := range s.cfg.PeerID[12:] {
		x = x<<8 | uint64(b)
	}
	return x ^ uint64(s.cfg.Index)<<32 ^ uint64(time.Now().UnixNano())
}
