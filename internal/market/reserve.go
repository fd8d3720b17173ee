package market

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/bttnet/btt/amount"
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
	maxChunkJobs  = 400
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
	// followed is when the growth was last taken from the prices of late.
	followed time.Time
	proofs   int64 // counted when the state was last saved
	dirty    bool  // there is something to save
	store    sentStore
}

// Reserve says what the paid slots of a torrent that we seed cost at least
// (R7.2, R7.19): Fixed, or with a Growth.Slope a price that begins at 0 and
// grows while nobody proves to have the torrent too (R7.3-R7.5). The zero value
// asks nothing.
type Reserve struct {
	Fixed  amount.Price
	Growth reserve.Growth
	// Follow puts the growth that follows from the prices which the node paid
	// and was paid of late in the place of Growth ([reserve.Observed]); Growth,
	// whose slope must be above 0, holds while there are none.
	Follow bool `json:",omitempty"`
}

// Valid says whether the prices are in their range.
func (r Reserve) Valid() bool {
	return r.Fixed.Valid() && r.Growth.Slope.Valid() && r.Growth.Cap.Valid() && r.Growth.Step.Valid()
}

// Ask is what a torrent asks that returns after a rest (R6.6): a price that
// grows begins anew.
func (r Reserve) Ask() amount.Price {
	if r.Growth.Slope > 0 {
		return 0
	}
	return r.Fixed
}

// policy returns a torrent's own policy, nil if it never asks more than 0.
func (r Reserve) policy() reserve.Policy {
	switch {
	case r.Growth.Slope > 0:
		return &reserve.Linear{Growth: r.Growth}
	case r.Fixed > 0:
		return reserve.Fixed(r.Fixed)
	}
	return nil
}

// openReserve makes the torrent's reserve price once its layout is known.
func (t *Torrent) openReserve() {
	if !t.node.Sell {
		return
	}
	policy := t.cfg.Reserve.policy()
	if policy == nil {
		return
	}
	var secret [20]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand ends the process)
	chunks, err := reserve.NewPossession(t.bound(), secret, t.layout.TotalLength, t.layout.PieceLength, t.layout.Pads...)
	if err != nil {
		t.cfg.Log.Warn("no reserve price for this torrent", "err", err)
		return
	}
	r := &reserving{torrent: reserve.NewTorrent(policy, chunks)}
	r.linear, _ = policy.(*reserve.Linear)
	t.reserving = r
	t.follow()
}

// Completed tells the reserve policy that the torrent is complete (R7.4): again,
// if its price grew in an earlier run of the node. It says whether there is
// something to save.
func (t *Torrent) Completed(again bool) bool {
	if t == nil || t.reserving == nil {
		return false
	}
	r := t.reserving
	at := t.swarm.Now()
	if again && !r.begun.IsZero() && r.begun.Before(at) {
		at = r.begun
	}
	t.follow()
	r.torrent.Complete(at)
	return true
}

// Serving is the store that connections read from, given the torrent's own:
// what is sent is no challenge for a time (R7.12).
func (t *Torrent) Serving(store peer.Store) peer.Store {
	if t == nil || t.reserving == nil {
		return store
	}
	if t.reserving.store.Store != store { // connections read it already
		t.reserving.store.Store = store
	}
	return &t.reserving.store
}

// reserve is what the torrent's paid slots cost at least now.
func (t *Torrent) reserve() amount.Price { return t.quote().Price }

func (t *Torrent) quote() reserve.Quote {
	if t.reserving == nil || t.swarm.Phase() != Seeding {
		return reserve.Quote{}
	}
	return t.reserving.torrent.Quote(t.swarm.Now())
}

// tellReserve announces the reserve price and the challenge (R7.7, R7.9); the
// session keeps the pace (A15).
func (t *Torrent) tellReserve(p *Trade) {
	if t.reserving == nil || t.swarm.Phase() != Seeding || !t.node.Sell || !p.named {
		return
	}
	if _, told := p.session.Asked(); !told {
		t.bookSent() // or the first question may be a stale one, for a while
	}
	q := t.quote()
	p.send(p.session.SetReserve(q.Price, q.Piece, q.Chunk, t.swarm.Now()))
}

// boundReserve is the reserve price that binds a peer's bid: the one it was
// told (A16), or the present one if that fell since.
func (t *Torrent) boundReserve(told amount.Price) amount.Price { return min(told, t.reserve()) }

// tickReserve books what was sent, and has proofs saved that came to count.
func (t *Torrent) tickReserve() {
	r := t.reserving
	if r == nil {
		return
	}
	t.bookSent()
	if t.swarm.Now().Sub(r.followed) >= followEvery {
		t.follow()
	}
	t.quote() // an answer in quarantine may count by now
	if n, _ := r.torrent.Proofs(); n != r.proofs {
		r.proofs, r.dirty = n, true
	}
}

// bookSent sets the bits of the chunks sent since it last ran (R7.14).
func (t *Torrent) bookSent() {
	r := t.reserving
	for _, run := range r.store.sent.take() {
		for c := run.begin / reserve.ChunkSize; c <= (run.end-1)/reserve.ChunkSize; c++ {
			r.torrent.Uploaded(run.piece, c)
		}
	}
}

// onProof checks a peer's answer to our challenge against our own copy of the
// chunk (R7.10, R7.11).
func (t *Torrent) onProof(p *Trade, got speed.Proof) {
	asked, ok := p.session.Asked()
	if t.reserving == nil || !ok {
		return
	}
	hash := t.bound()
	t.withChunk(got.Piece, got.Chunk, func(data []byte) func() {
		valid := reserve.Valid(got.Hash, asked.Nonce, hash, got.Piece, got.Chunk, data)
		return func() { t.judgeProof(p, got, valid) }
	})
}

func (t *Torrent) judgeProof(p *Trade, got speed.Proof, valid bool) {
	log := t.cfg.Log.With("addr", p.peer.Addr(), "piece", got.Piece, "chunk", got.Chunk)
	if !valid {
		log.Info("false proof")
		p.peer.Kick(errFalseProof)
		return
	}
	t.bookSent() // what we sent of late proves nothing
	counts := t.reserving.torrent.Proved(t.swarm.Now(), got.Piece, got.Chunk)
	log.Debug("possession proved", "counts", counts)
	if !counts {
		return
	}
	t.tickReserve()
	for _, o := range t.trades {
		t.tellReserve(o)
	}
	t.swarm.FreeSlot()
}

// prove answers the peer's present challenge, once, when we have the chunk and
// did not get it from that peer: then another source exists and its price
// should fall (R7.10, A12).
func (t *Torrent) prove(p *Trade) {
	if p.session == nil || t.layout.Pieces == 0 {
		return
	}
	r, ok := p.session.Challenge()
	r.Price = 0 // no part of the question
	if !ok || p.answered == r || !t.swarm.Has(r.Piece) || p.fetched.Has(int(r.Piece)) || t.asks(r.Nonce) {
		return
	}
	bound := t.bound()
	sent := t.withChunk(r.Piece, r.Chunk, func(data []byte) func() {
		hash := reserve.Hash(r.Nonce, bound, r.Piece, r.Chunk, data)
		return func() {
			if t.trades[p.peer.ID()] != p {
				return
			}
			// An error says that another challenge came meanwhile.
			if f, err := p.session.Prove(r.Piece, r.Chunk, hash); err == nil {
				p.send(f)
			}
		}
	})
	if sent {
		p.answered = r
	}
}

// asks says whether a nonce is one of our own: a peer without the chunk hands
// our question back to us under another name, to send us our own answer.
func (t *Torrent) asks(nonce [speed.NonceLen]byte) bool {
	for _, p := range t.trades {
		if r, ok := p.session.Asked(); ok && r.Nonce == nonce {
			return true
		}
	}
	return false
}

// noteFetched remembers that a block of a piece came from the peer.
func (t *Torrent) noteFetched(p *Trade, piece uint32) {
	if p.session == nil {
		return
	}
	if p.fetched == nil {
		p.fetched = wire.NewBits(t.layout.Pieces)
	}
	p.fetched.Set(int(piece))
}

// extraVersion begins the market's part of the resume data: since when, in
// Unix seconds, the reserve price grows.
const extraVersion = 1

// Changed says, once, that Save returns something new.
func (t *Torrent) Changed() bool {
	if t == nil || t.reserving == nil || !t.reserving.dirty {
		return false
	}
	t.reserving.dirty = false
	return true
}

// Save returns what is to be kept with the torrent's resume data; nil = nothing.
func (t *Torrent) Save() []byte {
	if t == nil || t.reserving == nil || t.reserving.linear == nil || t.reserving.linear.Start().IsZero() {
		return nil
	}
	return binary.BigEndian.AppendUint64([]byte{extraVersion}, uint64(t.reserving.linear.Start().Unix()))
}

// Load takes what Save returned in an earlier run; what it cannot read is as
// nothing.
func (t *Torrent) Load(extra []byte) {
	if t == nil || t.reserving == nil || len(extra) != 9 || extra[0] != extraVersion {
		return
	}
	t.reserving.begun = time.Unix(int64(binary.BigEndian.Uint64(extra[1:])), 0)
}
