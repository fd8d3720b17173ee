package reserve

import (
	"time"

	"github.com/bttnet/btt/amount"
)

// Quarantine is the least time between two proofs that lower the price: a
// buyer's friend cannot hold it at zero at will, and a real second source
// keeps it low all the same.
const Quarantine = 10 * time.Minute

// Quote is what is announced to every peer when it changes (R7.7-R7.9).
type Quote struct {
	Price        amount.Price // µBTT per GiB
	Piece, Chunk uint32       // the challenge
}

// Torrent is the reserve state of one torrent: a policy, the bitmap and the
// present challenge. See [NewTorrent].
type Torrent struct {
	linear       *Linear // nil if the policy does not care for proofs
	policy       Policy
	possession   *Possession
	piece, chunk uint32
	provedAt     time.Time // the last proof that counted
	pending      bool      // one came within Quarantine of it
	proofs       int64
}

// NewTorrent returns the state of a torrent. policy is Fixed or *Linear, or any
// other Policy, on which proofs then have no effect.
func NewTorrent(policy Policy, possession *Possession) *Torrent {
	t := &Torrent{policy: policy, possession: possession}
	t.linear, _ = policy.(*Linear)
	t.piece, t.chunk = possession.Challenge()
	return t
}

// Complete tells when this node became complete (R7.4).
func (t *Torrent) Complete(at time.Time) {
	if t.linear != nil {
		t.linear.Complete(at)
	}
}

// Quote returns the present price and challenge.
func (t *Torrent) Quote(now time.Time) Quote {
	t.settle(now)
	return Quote{Price: t.policy.Price(now), Piece: t.piece, Chunk: t.chunk}
}

// Uploaded notes a chunk this node sent. If it was the challenge, another one
// takes its place: what we uploaded proves nothing (R7.12).
func (t *Torrent) Uploaded(piece, chunk uint32) {
	t.possession.Uploaded(piece, chunk)
	if piece == t.piece && chunk == t.chunk {
		t.piece, t.chunk = t.possession.Challenge()
	}
}

// Proved takes a valid answer (Valid) to a challenge and reports whether it
// lowered the price (R7.11). It counts once per challenge and brings a new one.
// An answer within Quarantine of the last that counted is kept and counts at
// its end, for its sender will not send it again.
func (t *Torrent) Proved(now time.Time, piece, chunk uint32) bool {
	t.settle(now)
	if piece != t.piece || chunk != t.chunk {
		return false
	}
	if !t.provedAt.IsZero() && now.Before(t.provedAt.Add(Quarantine)) {
		t.pending = true
		return false
	}
	t.count(now)
	return true
}

// settle counts a kept answer once its quarantine is over.
func (t *Torrent) settle(now time.Time) {
	if end := t.provedAt.Add(Quarantine); t.pending && !now.Before(end) {
		t.count(end)
	}
}

func (t *Torrent) count(at time.Time) {
	t.provedAt, t.pending = at, false
	t.proofs++
	if t.linear != nil {
		t.linear.Proved(at)
	}
	t.possession.Uploaded(t.piece, t.chunk) // not asked again soon: its answer is known
	t.piece, t.chunk = t.possession.Challenge()
}

// Proofs returns how many proofs counted and when the last did; the age of the
// last one is the torrent's scarcity signal.
func (t *Torrent) Proofs() (n int64, last time.Time) { return t.proofs, t.provedAt }
