package market

import (
	"cmp"
	"math/bits"

	"github.com/bttnet/btt/speed"
)

const (
	// DefaultQuantum is the part of a piece in bytes by which a provider sells where
	// hashes of version 2 tell it apart (R12.5, A22), in pieces that are longer: the
	// risk is the provider's, and a payment costs what it costs, whatever it pays.
	DefaultQuantum = 1 << 20
	// DefaultPays is the least part by which a requester pays where it is asked to.
	DefaultPays = 256 << 10
)

// CheckQuantum says whether a size in bytes may be [Node.Quantum].
func CheckQuantum(size int64) bool {
	return size <= 0 || size >= speed.MinUnit && size <= speed.MaxUnit && bits.OnesCount64(uint64(size)) == 1
}

// quantum is what a provider risks at most where pieces are verified whole: one
// piece (R12.5, A22).
func (t *Torrent) quantum() int64 { return min(t.layout.PieceLength, t.layout.TotalLength) }

// Unit is the least part of a piece in bytes that a seller is paid for itself in
// torrents that have longer ones; 0 = it sells none.
func (n *Node) Unit() int64 {
	if n == nil || !n.Sell {
		return 0
	}
	return max(cmp.Or(n.Quantum, DefaultQuantum), 0)
}

// unit is the part of a piece in bytes by which we are paid; 0 = whole pieces only.
func (t *Torrent) unit() int64 { return t.part(cmp.Or(t.node.Quantum, DefaultQuantum)) }

// pays is the least part of a piece in bytes that we pay for itself; 0 = whole pieces
// only.
func (t *Torrent) pays() int64 { return t.part(cmp.Or(t.node.Quantum, DefaultPays)) }

func (t *Torrent) part(size int64) int64 {
	if !t.splits(size) || !t.swarm.Units() {
		return 0
	}
	return size
}

// splits says whether pieces have parts of a size in bytes.
func (t *Torrent) splits(size int64) bool { return size >= 0 && size < t.quantum() }

// unitsDue says whether what a first bid is to say of units may be known in a moment only.
func (t *Torrent) unitsDue(p *Trade) bool {
	return p.session.Snapshot().OurBid == 0 && t.splits(cmp.Or(t.node.Quantum, DefaultPays)) && t.swarm.UnitsDue()
}

// sellUnit decides at a peer's first slot by what part of a piece it is to pay,
// tells it, and sets the window so.
func (t *Torrent) sellUnit(p *Trade) (window int64) {
	if p.sellsBy > 0 {
		return p.sellsBy
	}
	ours, theirs := t.unit(), int64(p.session.Snapshot().PaysUnits)
	if unit := max(ours, theirs); ours > 0 && theirs > 0 && unit < t.quantum() {
		p.sellsBy = unit
		p.send(p.session.SetUnits(true, uint32(unit)))
		p.link.SetQuantum(unit)
	} else {
		p.sellsBy = t.quantum()
	}
	return p.sellsBy
}

// boughtUnit is the part of a piece by which a seller said that it is paid.
func (t *Torrent) boughtUnit(p *Trade) int64 {
	unit := int64(p.session.Snapshot().SellsUnits)
	if ours := t.pays(); ours == 0 || unit < ours || unit >= t.quantum() {
		return 0 // not what we said that we can do: its window is its own affair
	}
	return unit
}
