package swarm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/internal/webseed"
	"github.com/bttnet/btt/wire"
)

// Limits of web seeds (BEP 19).
const (
	// maxWebSeeds is the number of a torrent's web seeds that are used.
	maxWebSeeds = 16
	// webFetches is how much is asked of a web seed at once.
	webFetches = 2
	// webRun is how many bytes one fetch asks for, at least a piece.
	webRun = 4 << 20
	// webAhead is how many seconds' worth a fetch asks for at the most.
	webAhead = 5

	webRetryMin = 10 * time.Second // doubled by each failure
	webRetryMax = 30 * time.Minute
)

var errWebSeedLied = errors.New("web seed sent data that fails its hash")

// webSeed is a web server that pieces are leased to as to a peer. It belongs
// to the swarm's goroutine; each fetch is a goroutine that ends with its
// answer or with the swarm.
type webSeed struct {
	id       uint32
	source   *webseed.Source
	fetches  int
	failures int
	again    time.Time // not to be asked before
	err      error     // why it is not asked, nil while it serves
	lost     bool      // never to be asked again

	got, rate, lastGot int64 // bytes, bytes per second
}

// openWebSeeds makes the torrent's web seeds known once its files are.
func (s *Swarm) openWebSeeds() {
	urls := slices.Clone(s.cfg.WebSeeds)
	if s.cfg.Torrent != nil {
		urls = append(slices.Clone(s.cfg.Torrent.WebSeeds), urls...)
	}
	if s.cfg.Web == nil || len(urls) == 0 {
		return
	}
	files := make([]webseed.File, len(s.info.Files))
	for i, f := range s.info.Files {
		files[i] = webseed.File{Path: f.Path, Length: f.Length, Pad: f.Pad}
		if !s.info.SingleFile {
			files[i].Path = append([]string{s.info.Name}, f.Path...)
		}
	}
	known := map[string]bool{}
	for _, u := range urls {
		if known[u] || len(s.web) == maxWebSeeds {
			continue
		}
		known[u] = true
		source, err := webseed.New(webseed.Config{URL: u, Files: files, Single: s.info.SingleFile, Client: s.cfg.Web, Agent: s.cfg.Client})
		if err != nil {
			s.cfg.Log.Warn("web seed is left out", "url", u, "err", err)
			continue
		}
		s.nextID++
		s.web = append(s.web, &webSeed{id: s.nextID, source: source})
	}
}

// feedWeb leases pieces to web seeds that can take more.
func (s *Swarm) feedWeb() {
	if s.state != Downloading || s.leaving {
		return
	}
	for _, w := range s.web {
		for !w.lost && w.fetches < webFetches && !s.now.Before(w.again) {
			if !s.fetch(w) {
				break
			}
		}
	}
}

// tickWeb runs once a second.
func (s *Swarm) tickWeb() {
	for _, w := range s.web {
		w.rate = (w.rate + w.got - w.lastGot) / 2
		w.lastGot = w.got
	}
	s.feedWeb()
}

// span is a run of blocks in one piece.
type span struct {
	piece  uint32
	blocks []webBlock
}

type webBlock struct{ begin, length uint32 }

// fetch leases a run of whole pieces to a web seed and starts to read them;
// false = there is nothing to lease.
func (s *Swarm) fetch(w *webSeed) bool {
	who := picker.Peer{ID: w.id, Seed: true, Whole: true, Fast: true}
	s.leases = s.leases[:0]
	run := min(webRun, webAhead*w.rate) // a slow server holds little back from others
	for got := int64(0); got == 0 || got < run; got += s.info.PieceLength {
		n := len(s.leases)
		if s.leases = s.picker.Lease(s.leases, who, 1); len(s.leases) == n {
			break
		}
	}
	if len(s.leases) == 0 {
		return false
	}
	spans := s.spans(s.leases)
	w.fetches++
	go s.readWeb(w, spans) // ends when the pieces are read, or with the swarm
	return true
}

// spans sorts leased blocks by piece.
func (s *Swarm) spans(leases []picker.Lease) []span {
	leases = slices.Clone(leases)
	slices.SortFunc(leases, func(a, b picker.Lease) int {
		return cmp.Or(cmp.Compare(a.Piece, b.Piece), cmp.Compare(a.Block, b.Block))
	})
	var list []span
	for _, l := range leases {
		if n := len(list); n == 0 || list[n-1].piece != l.Piece {
			list = append(list, span{piece: l.Piece})
		}
		last := &list[len(list)-1]
		for b := l.Block; b < l.Block+l.Count; b++ {
			last.blocks = append(last.blocks, webBlock{begin: b * wire.BlockSize, length: s.store.BlockLength(l.Piece, b*wire.BlockSize)})
		}
	}
	return list
}

// readWeb reads leased pieces, neighbours in one request, and tells the owner
// of each; on an error the rest is given back. It runs in its own goroutine.
func (s *Swarm) readWeb(w *webSeed, list []span) {
	var err error
	for len(list) > 0 && err == nil {
		n := 1
		for n < len(list) && list[n].piece == list[n-1].piece+1 {
			n++
		}
		var done int
		done, err = s.readRun(w, list[:n])
		list = list[done:]
	}
	s.post(func() { s.onWebEnd(w, list, err) })
}

// readRun reads neighbouring pieces from one reader and says how many of them
// are done.
func (s *Swarm) readRun(w *webSeed, run []span) (done int, err error) {
	first, last := run[0], run[len(run)-1]
	tail := last.blocks[len(last.blocks)-1]
	at := s.offset(first.piece, first.blocks[0].begin)
	r := w.source.Open(s.ctx, at, s.offset(last.piece, tail.begin+tail.length)-at)
	defer r.Close()
	buf := make([]byte, wire.BlockSize)
	for i := range run {
		p := &run[i]
		result := disk.Stored
		for _, b := range p.blocks {
			// Padding between blocks is read as zeros and dropped.
			if gap := s.offset(p.piece, b.begin) - at; gap > 0 {
				if _, err := io.CopyN(io.Discard, r, gap); err != nil {
					return i, err
				}
			}
			if err := s.readBlock(r, buf[:b.length]); err != nil {
				return i, err
			}
			at = s.offset(p.piece, b.begin+b.length)
			res, err := s.store.BlockFrom(w.id, p.piece, b.begin, buf[:b.length])
			if err != nil {
				return i, err
			}
			if res == disk.Verified || res == disk.Failed {
				result = res
			}
		}
		s.post(func() { s.onWebPiece(w, p, result) })
		if result == disk.Failed {
			return i + 1, errWebSeedLied
		}
	}
	return len(run), nil
}

func (s *Swarm) offset(piece, begin uint32) int64 {
	return int64(piece)*s.info.PieceLength + int64(begin)
}

// readBlock fills b at the rate that the limits allow.
func (s *Swarm) readBlock(r io.Reader, b []byte) error {
	for _, l := range s.cfg.Down {
		if err := l.Wait(s.ctx, len(b)); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(r, b)
	return err
}

// onWebPiece books a piece that a web seed sent.
func (s *Swarm) onWebPiece(w *webSeed, p *span, result disk.Result) {
	for _, b := range p.blocks {
		s.received(w.id, p.piece, b.begin/wire.BlockSize)
		w.got += int64(b.length)
		s.totals.Downloaded += int64(b.length)
	}
	switch result {
	case disk.Verified:
		w.failures, w.err = 0, nil
		s.onVerified(p.piece)
	case disk.Failed:
		s.again(p.piece)
	}
}

// onWebEnd takes back what a fetch did not bring, and asks for more.
func (s *Swarm) onWebEnd(w *webSeed, rest []span, err error) {
	w.fetches--
	for i := range rest {
		s.restart(rest[i].piece)
	}
	switch {
	case err == nil:
	case s.ctx.Err() != nil || errors.Is(err, disk.ErrClosed):
		return
	case errors.Is(err, disk.ErrInconsistent):
		s.fail(err)
		return
	default:
		s.restWeb(w, err)
	}
	s.feedWeb()
	s.feedAll()
}

// restWeb leaves a web seed alone for a while, or for good.
func (s *Swarm) restWeb(w *webSeed, err error) {
	if w.lost {
		return
	}
	w.err = fmt.Errorf("read from web seed %s: %w", w.source, err)
	w.lost = errors.Is(err, errWebSeedLied) || errors.Is(err, webseed.ErrURL) || errors.Is(err, webseed.ErrGone) ||
		errors.Is(err, webseed.ErrRange) || errors.Is(err, webseed.ErrAnswer)
	wait := min(webRetryMin<<min(w.failures, 16), webRetryMax)
	var busy *webseed.Busy
	if errors.As(err, &busy) && busy.After > 0 {
		wait = min(max(wait, busy.After), webRetryMax)
	}
	w.failures++
	w.again = s.now.Add(wait)
	s.cfg.Log.Warn("web seed failed", "url", w.source.String(), "err", err, "for good", w.lost)
}

// WebSeedStatus is a snapshot of one web seed.
type WebSeedStatus struct {
	URL      string
	Received int64 // bytes
	Down     int64 // bytes per second
	Err      error // why it is not asked now; nil = it serves
}

func (s *Swarm) webStatus() []WebSeedStatus {
	list := make([]WebSeedStatus, 0, len(s.web))
	for _, w := range s.web {
		list = append(list, WebSeedStatus{URL: w.source.String(), Received: w.got, Down: w.rate, Err: w.err})
	}
	return list
}
