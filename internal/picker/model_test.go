package picker

import (
	"slices"

	"pgregory.net/rapid"
)

// model is the naive picture of what a Picker must keep true.
type model struct {
	p     *Picker
	n     int
	peers []*modelPeer
	owner map[[2]uint32][]uint32 // outstanding
	done  map[[2]uint32]bool     // received
	from  map[uint32][]uint32    // contributors
	have  []bool
	prio  []uint8
}

type modelPeer struct {
	id   uint32
	bits []byte
	seed bool
	kind int // 0 plain, 1 whole, 2 fast, 3 snubbed
	gone bool
}

func (m *modelPeer) peer() Peer {
	return Peer{ID: m.id, Bits: m.bits, Seed: m.seed, Whole: m.kind == 1, Fast: m.kind == 2, Snubbed: m.kind == 3}
}

func (m *modelPeer) has(i uint32) bool { return m.seed || bit(m.bits, int(i)) }

func (m *model) join(t *rapid.T) {
	mp := &modelPeer{id: uint32(len(m.peers)), kind: rapid.IntRange(0, 3).Draw(t, "kind")}
	if mp.seed = rapid.IntRange(0, 4).Draw(t, "seed") == 0; mp.seed {
		m.p.AddSeed()
	} else {
		mp.bits = make([]byte, (m.n+7)/8)
		share := rapid.IntRange(1, 8).Draw(t, "share")
		for i := range m.n {
			if rapid.IntRange(0, share).Draw(t, "bit") == 0 {
				setBit(mp.bits, i)
			}
		}
		m.p.AddBitfield(mp.bits)
	}
	m.peers = append(m.peers, mp)
}

func (m *model) some(t *rapid.T) *modelPeer {
	var alive []*modelPeer
	for _, mp := range m.peers {
		if !mp.gone {
			alive = append(alive, mp)
		}
	}
	if len(alive) == 0 {
		t.Skip("nobody")
	}
	return alive[rapid.IntRange(0, len(alive)-1).Draw(t, "peer")]
}

func (m *model) leave(t *rapid.T) {
	mp := m.some(t)
	m.returned(mp)
	if mp.gone = true; mp.seed {
		m.p.RemoveSeed()
	} else {
		m.p.RemoveBitfield(mp.bits)
	}
}

func (m *model) returned(mp *modelPeer) {
	m.p.Return(mp.id)
	for k, ids := range m.owner {
		ids = slices.DeleteFunc(ids, func(id uint32) bool { return id == mp.id })
		if m.owner[k] = ids; len(ids) == 0 {
			delete(m.owner, k)
		}
	}
}

func (m *model) learn(t *rapid.T) {
	mp := m.some(t)
	i := uint32(rapid.IntRange(0, m.n-1).Draw(t, "piece"))
	if mp.seed {
		return
	}
	if mp.has(i) {
		clearBit(mp.bits, int(i))
		m.p.RemoveHave(i)
	} else {
		setBit(mp.bits, int(i))
		m.p.AddHave(i)
	}
}

// freeBlocks counts wanted blocks neither owed nor received that mp has.
func (m *model) freeBlocks(has func(uint32) bool) int {
	n := 0
	for i := range uint32(m.n) {
		if m.have[i] || m.prio[i] == 0 || !has(i) {
			continue
		}
		for b := range m.p.Blocks(i) {
			if k := [2]uint32{i, b}; len(m.owner[k]) == 0 && !m.done[k] {
				n++
			}
		}
	}
	return n
}

func (m *model) lease(t *rapid.T) {
	mp := m.some(t)
	m.leaseTo(t, mp, rapid.IntRange(1, 40).Draw(t, "blocks"))
}

func (m *model) leaseTo(t *rapid.T, mp *modelPeer, blocks int) int {
	reachable := m.freeBlocks(func(i uint32) bool {
		return slices.ContainsFunc(m.peers, func(o *modelPeer) bool { return !o.gone && o.has(i) })
	})
	exclusive := map[uint32]int64{}
	for _, v := range m.p.slots {
		if v.piece >= 0 && v.exclusive != nobody {
			exclusive[uint32(v.piece)] = v.exclusive
		}
	}
	runs := m.p.Lease(nil, mp.peer(), blocks)
	got := 0
	duplicates := false
	for _, r := range runs {
		if r.Count == 0 || r.Block+r.Count > m.p.Blocks(r.Piece) {
			t.Fatalf("bad run %+v", r)
		}
		if !mp.has(r.Piece) || m.have[r.Piece] || m.prio[r.Piece] == 0 {
			t.Fatalf("run %+v of a piece not had by the peer or not wanted", r)
		}
		if by, ok := exclusive[r.Piece]; ok && by != int64(mp.id) {
			t.Fatalf("run %+v of a piece leased to %d alone", r, by)
		}
		for b := r.Block; b < r.Block+r.Count; b++ {
			k := [2]uint32{r.Piece, b}
			if m.done[k] || slices.Contains(m.owner[k], mp.id) {
				t.Fatalf("block %v leased again to peer %d", k, mp.id)
			}
			duplicates = duplicates || len(m.owner[k]) > 0
			m.owner[k] = append(m.owner[k], mp.id)
			if len(m.owner[k]) > MaxOwners {
				t.Fatalf("block %v has owners %v", k, m.owner[k])
			}
			got++
		}
	}
	if duplicates && (reachable > m.exclusiveFree() || mp.kind == 3) {
		t.Fatalf("end game with %d free reachable blocks", reachable)
	}
	if mp.kind != 1 && got > blocks {
		t.Fatalf("leased %d of %d blocks", got, blocks)
	}
	return got
}

// exclusiveFree counts free blocks inside exclusive leases.
func (m *model) exclusiveFree() int {
	n := 0
	for _, v := range m.p.slots {
		if v.piece >= 0 && v.exclusive != nobody {
			n += int(v.free)
		}
	}
	return n
}

func (m *model) deliver(t *rapid.T) {
	mp := m.some(t)
	limit := rapid.IntRange(1, 50).Draw(t, "limit")
	for _, k := range m.owned(mp.id) {
		if limit--; limit < 0 {
			return
		}
		m.deliverBlock(t, mp.id, k)
	}
}

func (m *model) owned(id uint32) (out [][2]uint32) {
	for k, ids := range m.owner {
		if slices.Contains(ids, id) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b [2]uint32) int { return slices.Compare(a[:], b[:]) })
	return out
}

func (m *model) deliverBlock(t *rapid.T, id uint32, k [2]uint32) {
	want := !m.done[k] && !m.have[k[0]]
	if first := m.p.Received(k[0], k[1], id); first != want {
		t.Fatalf("Received(%v) = %v, want %v", k, first, want)
	}
	rest := slices.DeleteFunc(m.owner[k], func(o uint32) bool { return o == id })
	if m.owner[k] = rest; len(rest) == 0 {
		delete(m.owner, k)
	}
	others := m.p.OthersWaiting(nil, k[0], k[1])
	slices.Sort(others)
	slices.Sort(rest)
	if !slices.Equal(others, rest) {
		t.Fatalf("OthersWaiting(%v) = %v, want %v", k, others, rest)
	}
	if !want {
		return
	}
	m.done[k] = true
	if !slices.Contains(m.from[k[0]], id) {
		m.from[k[0]] = append(m.from[k[0]], id)
	}
}

func (m *model) complete(i uint32) bool {
	for b := range m.p.Blocks(i) {
		if !m.done[[2]uint32{i, b}] {
			return false
		}
	}
	return true
}

func (m *model) forget(i uint32) {
	for b := range m.p.Blocks(i) {
		delete(m.owner, [2]uint32{i, b})
		delete(m.done, [2]uint32{i, b})
	}
	delete(m.from, i)
}

func (m *model) finish(t *rapid.T, bad func() bool) {
	for i := range uint32(m.n) {
		if m.have[i] || !m.complete(i) {
			continue
		}
		got := m.p.Contributors(nil, i)
		want := slices.Clone(m.from[i])
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("Contributors(%d) = %v, want %v", i, got, want)
		}
		if bad() {
			m.p.Reset(i)
			again := m.p.Contributors(nil, i)
			slices.Sort(again)
			if !slices.Equal(again, want) {
				t.Fatalf("after Reset: Contributors(%d) = %v, want %v", i, again, want)
			}
		} else {
			m.p.SetHave(i)
			m.have[i] = true
		}
		m.forget(i)
	}
}

func (m *model) check(t *rapid.T) {
	p := m.p
	missing, left, low, above := 0, int64(0), 1<<30, 0
	avail := make([]int, m.n)
	for _, mp := range m.peers {
		for i := range m.n {
			if !mp.gone && !mp.seed && bit(mp.bits, i) {
				avail[i]++
			}
		}
	}
	for i := range m.n {
		if int(p.avail[i]) != avail[i] {
			t.Fatalf("availability of %d is %d, want %d", i, p.avail[i], avail[i])
		}
		if !m.have[i] && m.prio[i] > 0 {
			missing++
			left += p.pieceSize(i)
		}
		if p.Have(uint32(i)) != m.have[i] {
			t.Fatalf("Have(%d) = %v", i, !m.have[i])
		}
		low = min(low, avail[i])
	}
	for _, a := range avail {
		if a > low {
			above++
		}
	}
	if p.Missing() != missing || p.Left() != left {
		t.Fatalf("Missing, Left = %d, %d; want %d, %d", p.Missing(), p.Left(), missing, left)
	}
	if want := float64(p.seeds) + float64(low) + float64(above)/float64(m.n); p.Availability() != want {
		t.Fatalf("Availability() = %v, want %v", p.Availability(), want)
	}
	for _, mp := range m.peers {
		if want := len(m.owned(mp.id)); p.Outstanding(mp.id) != want {
			t.Fatalf("Outstanding(%d) = %d, want %d", mp.id, p.Outstanding(mp.id), want)
		}
		want := false
		for i := range m.n {
			want = want || mp.has(uint32(i)) && !m.have[i] && m.prio[i] > 0
		}
		if got := p.Interesting(mp.bits, mp.seed); got != want {
			t.Fatalf("Interesting = %v, want %v", got, want)
		}
	}
	checkOrder(t, p)
}

// checkOrder holds the invariants of the banded array.
func checkOrder(t *rapid.T, p *Picker) {
	active := 0
	for _, v := range p.slots {
		if v.piece >= 0 && v.requested() > 0 {
			active++
		}
	}
	if active != p.active {
		t.Fatalf("active = %d, want %d", p.active, active)
	}
	if p.order.dirty {
		return
	}
	at, seen := int32(0), 0
	for b := range maxBands {
		if p.start[b] < at || p.end[b] < p.start[b] {
			t.Fatalf("band %d overlaps: [%d,%d) after %d", b, p.start[b], p.end[b], at)
		}
		at = p.end[b]
		for k := p.start[b]; k < p.end[b]; k++ {
			i := int(p.at[k])
			if p.pos[i] != k || p.band(i) != b || !bit(p.free, i) || b < p.low {
				t.Fatalf("piece %d misplaced", i)
			}
			seen++
		}
	}
	want := 0
	for i := range p.pieces {
		if bit(p.free, i) {
			want++
		} else if p.pos[i] >= 0 {
			t.Fatalf("piece %d in the order but not free", i)
		}
	}
	if seen != want || p.live != want {
		t.Fatalf("order holds %d (live %d), want %d", seen, p.live, want)
	}
}
