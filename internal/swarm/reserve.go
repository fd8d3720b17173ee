package swarm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
)

// Named limits of reserve prices and proofs.
const (
	// maxChunkReads is the number of chunks of a torrent read at once to make
	// or check proofs, maxChunkJobs the number of proofs that wait for that.
	maxChunkReads = 2
	maxChunkJobs  = 2 * MaxPeers
	// maxSentRuns is the number of runs of sent blocks that wait for the
	// swarm, which looks every second: 1 GiB in single blocks. What comes
	// beyond is not noted, and costs the challenge some precision only.
	maxSentRuns = 1 << 16
)

var errFalseProof = errors.New("peer sent a false proof of possession")

// reserving is what a swarm with a reserve price keeps (R7). The bitmap of
// uploaded chunks starts anew with each run of the node; the time from which
// the price grows is kept in the resume data.
type reserving struct {
	torrent *reserve.Torrent
	linear  *reserve.Linear // nil = the price does not depend on time
	begun   time.Time       // of an earlier run; zero = none
	proofs  int64           // counted when the state was last saved
	store   sentStore
}

// policy returns a torrent's own reserve policy, nil if it never asks more
// than 0.
func (k *Market) policy() reserve.Policy {
	if k.Growth.Slope > 0 {
		return &reserve.Linear{Growth: k.Growth}
	}
	if k.Reserve == reserve.Fixed(0) {
		return nil
	}
	return k.Reserve
}

// openReserve makes the torrent's reserve price once its layout is known.
func (s *Swarm) openReserve() {
	k := s.cfg.Market
	if k == nil || !k.Sell {
		return
	}
	policy := k.policy()
	if policy == nil {
		return
	}
	var secret [20]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand ends the process)
	chunks, err := reserve.NewPossession(s.cfg.InfoHash, secret, s.info.TotalLength, s.info.PieceLength)
	if err != nil {
		s.cfg.Log.Warn("no reserve price for this torrent", "err", err)
		return
	}
	r := &reserving{torrent: reserve.NewTorrent(policy, chunks), store: sentStore{Store: s.store}}
	r.linear, _ = policy.(*reserve.Linear)
	s.reserving = r
}

// startReserve tells the policy that the torrent is complete (R7.4): again, if
// its price grew in an earlier run of the node.
func (s *Swarm) startReserve(again bool) {
	r := s.reserving
	if r == nil {
		return
	}
	at := s.now
	if again && !r.begun.IsZero() && r.begun.Before(at) {
		at = r.begun
	}
	r.torrent.Complete(at)
	s.dirty = true
}

// serving is the store that connections read from.
func (s *Swarm) serving() peer.Store {
	if s.reserving != nil {
		return &s.reserving.store
	}
	return s.store
}

// reserve is what the torrent's paid slots cost at least now.
func (s *Swarm) reserve() amount.Price { return s.quote().Price }

func (s *Swarm) quote() reserve.Quote {
	if s.reserving == nil || s.state != Seeding {
		return reserve.Quote{}
	}
	return s.reserving.torrent.Quote(s.now)
}

// tellReserve announces the reserve price and the challenge (R7.7, R7.9); the
// session keeps the pace (A15).
func (s *Swarm) tellReserve(m *member) {
	if s.reserving == nil || s.state != Seeding || !s.cfg.Market.Sell {
		return
	}
	if _, told := m.trade.session.Asked(); !told {
		s.bookSent() // or the first question may be a stale one, for a while
	}
	q := s.quote()
	m.sendSpeed(m.trade.session.SetReserve(q.Price, q.Piece, q.Chunk, s.now))
}

// boundReserve is the reserve price that binds a peer's bid: the one it was
// told (A16), or the present one if that fell since.
func (s *Swarm) boundReserve(told amount.Price) amount.Price { return min(told, s.reserve()) }

// tickReserve books what was sent, and has proofs saved that came to count.
func (s *Swarm) tickReserve() {
	r := s.reserving
	if r == nil {
		return
	}
	s.bookSent()
	s.quote() // an answer in quarantine may count by now
	if n, _ := r.torrent.Proofs(); n != r.proofs {
		r.proofs, s.dirty = n, true
	}
}

// bookSent sets the bits of the chunks sent since it last ran (R7.14).
func (s *Swarm) bookSent() {
	r := s.reserving
	for _, run := range r.store.sent.take() {
		for c := run.begin / reserve.ChunkSize; c <= (run.end-1)/reserve.ChunkSize; c++ {
			r.torrent.Uploaded(run.piece, c)
		}
	}
}

// onProof checks a peer's answer to our challenge against our own copy of the
// chunk (R7.10, R7.11).
func (s *Swarm) onProof(m *member, p speed.Proof) {
	asked, ok := m.trade.session.Asked()
	if s.reserving == nil || !ok {
		return
	}
	s.withChunk(p.Piece, p.Chunk, func(data []byte) func() {
		valid := reserve.Valid(p.Hash, asked.Nonce, s.cfg.InfoHash, p.Piece, p.Chunk, data)
		return func() { s.judgeProof(m, p, valid) }
	})
}

func (s *Swarm) judgeProof(m *member, p speed.Proof, valid bool) {
	if !valid {
		s.cfg.Log.Info("false proof", "addr", m.addr, "piece", p.Piece, "chunk", p.Chunk)
		s.kick(m, errFalseProof)
		return
	}
	s.bookSent() // what we sent of late proves nothing
	counts := s.reserving.torrent.Proved(s.now, p.Piece, p.Chunk)
	s.cfg.Log.Debug("possession proved", "addr", m.addr, "piece", p.Piece, "chunk", p.Chunk, "counts", counts)
	if !counts {
		return
	}
	s.tickReserve()
	for _, o := range s.peers {
		if o.trade.session != nil {
			s.tellReserve(o)
		}
	}
	s.cfg.FreeSlot()
}

// prove answers the peer's present challenge, once, when we have the chunk and
// did not get it from that peer: then another source exists and its price
// should fall (R7.10, A12).
func (s *Swarm) prove(m *member) {
	t := &m.trade
	if t.session == nil || s.info == nil {
		return
	}
	r, ok := t.session.Challenge()
	r.Price = 0 // no part of the question
	if !ok || t.answered == r || !s.pieces.Has(r.Piece) || t.fetched.Has(int(r.Piece)) || s.asks(r.Nonce) {
		return
	}
	sent := s.withChunk(r.Piece, r.Chunk, func(data []byte) func() {
		hash := reserve.Hash(r.Nonce, s.cfg.InfoHash, r.Piece, r.Chunk, data)
		return func() {
			if s.peers[m.conn.ID] != m {
				return
			}
			// An error says that another challenge came meanwhile.
			if f, err := t.session.Prove(r.Piece, r.Chunk, hash); err == nil {
				m.sendSpeed(f)
			}
		}
	})
	if sent {
		t.answered = r
	}
}

// asks says whether a nonce is one of our own: a peer without the chunk hands
// our question back to us under another name, to send us our own answer.
func (s *Swarm) asks(nonce [speed.NonceLen]byte) bool {
	for _, m := range s.peers {
		if m.trade.session == nil {
			continue
		}
		if r, ok := m.trade.session.Asked(); ok && r.Nonce == nonce {
			return true
		}
	}
	return false
}

// noteFetched remembers that a block of a piece came from the peer.
func (s *Swarm) noteFetched(t *trade, piece uint32) {
	if t.session == nil {
		return
	}
	if t.fetched == nil {
		t.fetched = wire.NewBits(s.info.NumPieces())
	}
	t.fetched.Set(int(piece))
}

// chunkJob is a chunk to be read and what to do with it: work runs beside the
// swarm's goroutine, and what it returns on it.
type chunkJob struct {
	piece, begin, length uint32
	work                 func(data []byte) func()
}

// withChunk reads a chunk that we have, now or soon. It is false if there is
// no such chunk or too many wait.
func (s *Swarm) withChunk(piece, chunk uint32, work func(data []byte) func()) bool {
	begin := int64(chunk) * reserve.ChunkSize
	size := min(s.info.PieceLength, s.info.TotalLength-int64(piece)*s.info.PieceLength)
	if begin >= size || len(s.chunkJobs) >= maxChunkJobs {
		return false
	}
	s.chunkJobs = append(s.chunkJobs, chunkJob{piece, uint32(begin), uint32(min(reserve.ChunkSize, size-begin)), work})
	s.readChunks()
	return true
}

// readChunks starts waiting reads.
func (s *Swarm) readChunks() {
	for len(s.chunkJobs) > 0 && s.chunkReads < maxChunkReads {
		job := s.chunkJobs[0]
		s.chunkJobs = s.chunkJobs[1:]
		s.chunkReads++
		store := s.store
		go func() { // ends with the read, or when the swarm is closed
			data := make([]byte, job.length)
			err := store.Read(data, job.piece, job.begin)
			var done func()
			if err == nil {
				done = job.work(data)
			}
			s.post(func() {
				s.chunkReads--
				s.readChunks()
				if err != nil {
					s.cfg.Log.Warn("read chunk for a proof", "piece", job.piece, "err", err)
					return
				}
				done()
			})
		}()
	}
}

// sentStore is the store with a note of what is read for peers.
type sentStore struct {
	*disk.Store
	sent sentRuns
}

// Read implements [peer.Store].
func (s *sentStore) Read(buf []byte, piece, begin uint32) error {
	s.sent.note(piece, begin, begin+uint32(len(buf)))
	return s.Store.Read(buf, piece, begin)
}

// sentRuns gathers what all connections send until the swarm takes it. Two
// slices change places, so that nothing is allocated in the long run.
type sentRuns struct {
	mu    sync.Mutex // leaf lock
	runs  []sentRun
	taken []sentRun
}

type sentRun struct{ piece, begin, end uint32 }

func (q *sentRuns) note(piece, begin, end uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.runs); n > 0 && q.runs[n-1].piece == piece && q.runs[n-1].end == begin {
		q.runs[n-1].end = end
		return
	}
	if len(q.runs) < maxSentRuns {
		q.runs = append(q.runs, sentRun{piece, begin, end})
	}
}

// take returns what came since the last call; it is valid until the next.
func (q *sentRuns) take() []sentRun {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.runs, q.taken = q.taken[:0], q.runs
	return q.taken
}

// extraVersion begins the swarm's own part of the resume data: since when, in
// Unix seconds, the reserve price grows.
const extraVersion = 1

func (s *Swarm) saveReserve() []byte {
	if s.reserving == nil || s.reserving.linear == nil || s.reserving.linear.Start().IsZero() {
		return nil
	}
	return binary.BigEndian.AppendUint64([]byte{extraVersion}, uint64(s.reserving.linear.Start().Unix()))
}

func (s *Swarm) loadReserve(extra []byte) {
	if s.reserving == nil || len(extra) != 9 || extra[0] != extraVersion {
		return
	}
	s.reserving.begun = time.Unix(int64(binary.BigEndian.Uint64(extra[1:])), 0)
}
