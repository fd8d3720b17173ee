package picker

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 150).Draw(t, "pieces")
		per := int64(rapid.IntRange(1, 6).Draw(t, "blocks"))
		tail := int64(rapid.IntRange(0, int(per*BlockSize)-1).Draw(t, "tail"))
		m := &model{n: n, owner: map[[2]uint32][]uint32{}, done: map[[2]uint32]bool{}, from: map[uint32][]uint32{}}
		m.p = New(Config{PieceLength: per * BlockSize, TotalLength: int64(n)*per*BlockSize - tail, Seed: 1})
		m.have = make([]bool, n)
		m.prio = slices.Repeat([]uint8{DefaultPriority}, n)
		m.p.SetSequential(rapid.Bool().Draw(t, "sequential"))
		t.Repeat(map[string]func(*rapid.T){
			"join":    m.join,
			"leave":   m.leave,
			"learn":   m.learn,
			"lease":   m.lease,
			"deliver": m.deliver,
			"choke":   func(t *rapid.T) { m.returned(m.some(t)) },
			"reject": func(t *rapid.T) {
				mp := m.some(t)
				if own := m.owned(mp.id); len(own) > 0 {
					k := own[rapid.IntRange(0, len(own)-1).Draw(t, "block")]
					m.p.ReturnBlock(k[0], k[1], mp.id)
					m.owner[k] = slices.DeleteFunc(m.owner[k], func(id uint32) bool { return id == mp.id })
					if len(m.owner[k]) == 0 {
						delete(m.owner, k)
					}
				}
			},
			"finish": func(t *rapid.T) {
				m.finish(t, func() bool { return rapid.IntRange(0, 3).Draw(t, "bad") == 0 })
			},
			"priority": func(t *rapid.T) {
				i, q := rapid.IntRange(0, n-1).Draw(t, "piece"), uint8(rapid.IntRange(0, 7).Draw(t, "prio"))
				m.p.SetPriority(uint32(i), q)
				m.prio[i] = q
			},
			"window": func(t *rapid.T) {
				m.p.SetWindow(uint32(rapid.IntRange(0, n).Draw(t, "from")), rapid.IntRange(0, 9).Draw(t, "count"))
			},
			"": m.check,
		})
		m.drain(t)
	})
}

// drain shows that every wanted block is leased in the end.
func (m *model) drain(t *rapid.T) {
	seed := &modelPeer{id: uint32(len(m.peers)), seed: true}
	m.p.AddSeed()
	for _, mp := range m.peers {
		if !mp.gone {
			m.returned(mp)
		}
	}
	m.peers = append(m.peers, seed)
	m.finish(t, func() bool { return false })
	for range 10 * m.n {
		if m.leaseTo(t, seed, 100) == 0 {
			break
		}
		for _, k := range m.owned(seed.id) {
			m.deliverBlock(t, seed.id, k)
		}
		m.finish(t, func() bool { return false })
	}
	if m.p.Missing() != 0 {
		t.Fatalf("%d pieces never leased", m.p.Missing())
	}
	m.check(t)
}

// TestHold: a held piece is wanted and not started, however it would be chosen; one in
// progress goes on.
func TestHold(t *testing.T) {
	for _, how := range []string{"rarest", "sequential", "window"} {
		p := New(Config{PieceLength: BlockSize, TotalLength: 8 * BlockSize, Seed: 1})
		p.AddSeed()
		switch how {
		case "sequential":
			p.SetSequential(true)
		case "window":
			p.SetWindow(0, 8)
		}
		peer := Peer{ID: 1, Seed: true}
		for i := range uint32(8) {
			if i != 3 {
				p.Hold(i)
				p.Hold(i)
			}
		}
		p.Hold(99)
		p.Admit(99)
		p.SetPriority(2, 0)
		p.SetPriority(2, 6) // stays held
		if got := p.Lease(nil, peer, 100); len(got) != 1 || got[0].Piece != 3 {
			t.Fatalf("%s: leases %v", how, got)
		}
		if got := p.LeaseOf(nil, peer, []uint32{0, 1, 2}, 100); len(got) != 0 {
			t.Errorf("%s: hinted at: leases %v", how, got)
		}
		if p.Received(4, 0, 1) {
			t.Errorf("%s: a block of a held piece that nobody asked for counts", how)
		}
		if p.Missing() != 8 || p.Left() != 8*BlockSize || !p.Interesting(nil, true) {
			t.Errorf("%s: %d missing, %d bytes left", how, p.Missing(), p.Left())
		}
		p.Hold(3)
		if first := p.Received(3, 0, 1); !first {
			t.Errorf("%s: the block of a piece in progress does not count", how)
		}
		p.SetHave(3)
		if got := p.Lease(nil, Peer{ID: 2, Seed: true}, 100); len(got) != 0 {
			t.Fatalf("%s: leases %v", how, got)
		}
		for i := range uint32(8) {
			p.Admit(i)
		}
		if got := p.Lease(nil, peer, 100); len(got) != 7 {
			t.Errorf("%s: leases %v when all are admitted", how, got)
		}
	}
}
