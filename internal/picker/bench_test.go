package picker

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// swarm fills a picker of n pieces with peers that have a share of the pieces.
func swarm(n, blocks, peers int, share float64) (*Picker, []Peer) {
	p := New(Config{PieceLength: int64(blocks) * BlockSize, TotalLength: int64(n) * int64(blocks) * BlockSize, Seed: 5})
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]Peer, peers)
	for i := range list {
		list[i] = Peer{ID: uint32(i + 1), Bits: make([]byte, (n+7)/8)}
		for k := range n {
			if rng.Float64() < share {
				setBit(list[i].Bits, k)
			}
		}
		p.AddBitfield(list[i].Bits)
	}
	return p, list
}

// BenchmarkSwarm downloads with 200 peers in turn: lease 32 blocks, receive
// them, verify pieces, and hear one HAVE for every 16 blocks. One op is a block.
func BenchmarkSwarm(b *testing.B) {
	for _, c := range []struct {
		blocks int
		share  float64
		fast   bool
	}{{1, 0.5, false}, {16, 0.5, false}, {64, 0.5, false}, {64, 0.5, true}, {64, 0.01, false}, {64, 0.001, false}} {
		b.Run(fmt.Sprintf("blocks=%d/share=%v/fast=%v", c.blocks, c.share, c.fast), func(b *testing.B) {
			const n, peers = 100_000, 200
			p, list := swarm(n, c.blocks, peers, c.share)
			rng := rand.New(rand.NewPCG(3, 4))
			owed := make([][]Lease, peers)
			for i := range list {
				list[i].Fast = c.fast
				owed[i] = make([]Lease, 0, 64)
			}
			had := make([]uint32, 0, n)
			p.Lease(nil, list[0], 1)
			b.ReportAllocs()
			b.ResetTimer()
			for done, turn := 0, 0; done < b.N; turn++ {
				peer := &list[turn%peers]
				runs := owed[turn%peers]
				for _, r := range runs {
					for k := r.Block; k < r.Block+r.Count; k++ {
						p.Received(r.Piece, k, peer.ID)
						if done++; done%16 == 0 {
							p.learn(rng, list)
						}
					}
					if p.Progress(r.Piece) == p.Blocks(r.Piece) {
						p.SetHave(r.Piece)
						if had = append(had, r.Piece); len(had) > n/2 { // start over
							for _, i := range had {
								p.Lost(i)
							}
							had = had[:0]
						}
					}
				}
				owed[turn%peers] = p.Lease(runs[:0], *peer, 32)
				if turn > peers && len(runs) == 0 {
					done++
				}
			}
		})
	}
}

// learn lets a random peer announce or drop a random piece.
func (p *Picker) learn(rng *rand.Rand, list []Peer) {
	peer, i := &list[rng.IntN(len(list))], rng.IntN(p.pieces)
	if bit(peer.Bits, i) {
		clearBit(peer.Bits, i)
		p.RemoveHave(uint32(i))
	} else {
		setBit(peer.Bits, i)
		p.AddHave(uint32(i))
	}
}

// BenchmarkJoin is a peer with half the pieces joining, one lease, leaving.
func BenchmarkJoin(b *testing.B) {
	p, list := swarm(100_000, 64, 20, 0.5)
	b.ReportAllocs()
	var dst []Lease
	for b.Loop() {
		p.AddBitfield(list[0].Bits)
		dst = p.Lease(dst[:0], list[0], 32)
		p.Return(list[0].ID)
		p.RemoveBitfield(list[0].Bits)
	}
}

func BenchmarkInteresting(b *testing.B) {
	p, list := swarm(100_000, 64, 1, 0.5)
	for i := range p.pieces {
		if bit(list[0].Bits, i) {
			p.SetHave(uint32(i))
		}
	}
	for b.Loop() {
		if p.Interesting(list[0].Bits, false) {
			b.Fatal("interesting")
		}
	}
}
