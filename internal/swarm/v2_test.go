package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// TestBadBlock: of two peers that sent a piece of version 2 together, exactly the
// one that sent the bad block is banned, by the hashes of the blocks; who makes
// these up is banned as well.
func TestBadBlock(t *testing.T) {
	for name, liar := range map[string]bool{"hashes from the honest": false, "false hashes first": true} {
		for _, version := range []metainfo.Version{metainfo.V2, metainfo.Hybrid} {
			t.Run(fmt.Sprintf("%s/%v", name, version), func(t *testing.T) {
				bubbleV2(t, 2<<20+5, 2<<20, version, func(t *testing.T, w *world) {
					s := w.node(nil, t.TempDir(), nil)
					good := w.play(s, &script{hash: w.leaves})
					sent := 0
					bad := w.play(s, &script{block: func(_ wire.Message, data []byte) {
						if sent++; sent == 3 || sent == 7 {
							data[7] ^= 1
						}
					}, hash: func(r wire.HashRange) []byte { return wire.AppendHashRange(nil, wire.HashReject, &r) }})
					third := &script{none: true, hash: func(r wire.HashRange) []byte { return w.leaves(r) }}
					if liar {
						third.hash = func(r wire.HashRange) []byte {
							return wire.AppendHashes(nil, &r, make([]byte, r.Length*wire.HashLen), nil)
						}
					}
					if good.seen(false) == 0 || bad.seen(false) == 0 {
						t.Fatalf("%d and %d requests", good.seen(false), bad.seen(false))
					}
					w.play(s, third)
					bad.release(false)
					good.release(true)
					after(2 * time.Second)
					_ = s.do(func() {
						if good.seen(true)+bad.seen(true)+third.seen(true) == 0 {
							t.Error("nobody was asked for hashes")
						}
						if banned(s, w.address(2)) || !banned(s, w.address(3)) || banned(s, w.address(4)) != liar {
							t.Errorf("banned are %v, want the peer with the bad blocks, and who lied about hashes (asked: %d %d %d)", s.bans.addrs, good.seen(true), bad.seen(true), third.seen(true))
						}
						if len(s.cases) != 0 {
							t.Errorf("%d cases are open", len(s.cases))
						}
					})
					if good.gone() || !bad.gone() {
						t.Errorf("connection of the honest ended %v, of the other %v", good.gone(), bad.gone())
					}
					after(time.Minute)
					if st := s.Status(); st.State != Seeding {
						t.Errorf("not complete: %v, %d left", st.State, st.Left)
					}
				})
			})
		}
	}
}

// TestServeHashes: a seed answers for layers and for blocks with proofs that lead
// to the root, rejects what is no part of a tree, and bounds its work.
func TestServeHashes(t *testing.T) {
	bubbleV2(t, 1<<20+5, 32<<10, metainfo.V2, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		p := w.play(s, &script{none: true})
		root := *w.torrent.Info.Files[0].PiecesRoot
		ask := func(r wire.HashRange) (wire.HashRange, []byte, []byte) {
			t.Helper()
			p.mu.Lock()
			n := len(p.answers)
			p.mu.Unlock()
			p.write(wire.AppendHashRange(nil, wire.HashRequest, &r))
			after(time.Second)
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.answers) != n+1 {
				t.Fatalf("%+v: %d answers", r, len(p.answers)-n)
			}
			got, hashes, uncles, err := wire.ParseHashRange(p.answers[n].ID, p.answers[n].Payload)
			if err != nil || got != r {
				t.Fatalf("%+v: answered %+v, %v", r, got, err)
			}
			return got, hashes, uncles
		}
		// 65 blocks of 33 pieces: the tree has 7 levels above its leaves.
		for _, r := range []wire.HashRange{
			{Base: 0, Index: 0, Length: 2, Proofs: 6}, {Base: 0, Index: 64, Length: 2, Proofs: 6},
			{Base: 1, Index: 0, Length: 64, Proofs: 5}, {Base: 1, Index: 32, Length: 2, Proofs: 5}, {Base: 2, Index: 4, Length: 4, Proofs: 4},
		} {
			r.Root = root
			got, hashes, uncles := ask(r)
			if len(hashes) == 0 {
				t.Errorf("%+v was rejected", r)
				continue
			}
			proof := metainfo.Proof{Index: int(got.Index), Hashes: hashes, Uncles: uncles}
			if err := proof.Verify(root); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
		for name, r := range map[string]wire.HashRange{
			"another root":     {Base: 0, Length: 2},
			"too many layers":  {Root: root, Length: 2, Proofs: 7},
			"beyond the end":   {Root: root, Index: 128, Length: 2},
			"padding alone":    {Root: root, Index: 66, Length: 2},
			"across pieces":    {Root: root, Length: 4},
			"no such layer":    {Root: root, Base: 7, Length: 2},
			"length 1":         {Root: root, Length: 1},
			"index in between": {Root: root, Index: 1, Length: 2},
		} {
			if _, hashes, _ := ask(r); hashes != nil {
				t.Errorf("%s was answered", name)
			}
		}
		p.mu.Lock()
		before := len(p.answers)
		p.mu.Unlock()
		const flood = 3 * maxHashJobs
		r := wire.HashRange{Root: root, Base: 1, Length: 64, Proofs: 5}
		p.write(bytes.Repeat(wire.AppendHashRange(nil, wire.HashRequest, &r), flood))
		after(time.Minute)
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := len(p.answers) - before; n != flood {
			t.Errorf("%d requests got %d answers", flood, n)
		}
	})
}

// TestLeafBudget: who asks for block hashes again and again is refused for a
// while.
func TestLeafBudget(t *testing.T) {
	bubbleV2(t, 1<<20, 512<<10, metainfo.Hybrid, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		p := w.play(s, &script{none: true})
		r := wire.HashRange{Root: *w.torrent.Info.Files[0].PiecesRoot, Length: 32, Proofs: 5}
		served := 0
		const rounds = 2 * leafBurst / (512 << 10)
		for i := range rounds {
			p.write(wire.AppendHashRange(nil, wire.HashRequest, &r))
			p.mu.Lock()
			if len(p.answers) != i+1 {
				t.Fatalf("%d answers to %d requests", len(p.answers), i+1)
			}
			if p.answers[i].ID == wire.Hashes {
				served++
			}
			p.mu.Unlock()
		}
		if served != leafBurst/(512<<10) {
			t.Errorf("%d of %d requests were served", served, rounds)
		}
		for i, minutes := range []int{1, 20} {
			for range minutes {
				after(time.Minute)
				p.write(wire.AppendKeepAlive(nil))
			}
			p.write(wire.AppendHashRange(nil, wire.HashRequest, &r))
			after(time.Second)
			p.mu.Lock()
			if p.answers[rounds+i].ID != wire.Hashes {
				t.Errorf("refused %d minutes later", minutes)
			}
			p.mu.Unlock()
		}
	})
}

// TestHostileHashes: hashes that nobody asked for end the connection.
func TestHostileHashes(t *testing.T) {
	bubbleV2(t, 1<<20, 32<<10, metainfo.V2, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		r := wire.HashRange{Root: *w.torrent.Info.Files[0].PiecesRoot, Length: 2}
		for name, msg := range map[string][]byte{
			"hashes":         wire.AppendHashes(nil, &r, make([]byte, 64), nil),
			"reject":         wire.AppendHashRange(nil, wire.HashReject, &r),
			"short request":  {0, 0, 0, 2, byte(wire.HashRequest), 1},
			"length of 2^32": append([]byte{255, 255, 255, 255, byte(wire.Hashes)}, make([]byte, 100)...),
		} {
			p := w.play(s, &script{none: true})
			p.write(msg)
			after(time.Second)
			p.mu.Lock()
			if !p.ended {
				t.Errorf("%s: the connection lives on", name)
			}
			p.mu.Unlock()
		}
	})
}

// TestFalseLayers: who answers a magnet link's hash requests with what does not
// lead to the root is banned, and an honest peer completes them.
func TestFalseLayers(t *testing.T) {
	bubbleV2(t, 1<<20, 16<<10, metainfo.V2, func(t *testing.T, w *world) {
		dir := t.TempDir()
		s := w.bare(dir)
		liar := w.play(s, &script{hash: func(r wire.HashRange) []byte {
			return wire.AppendHashes(nil, &r, make([]byte, r.Length*wire.HashLen), make([]byte, r.Uncles()*wire.HashLen))
		}})
		if st := s.Status(); st.State != Downloading || !liar.gone() || liar.seen(false) != 0 {
			t.Fatalf("state %v, the liar is gone: %v", st.State, liar.gone())
		}
		honest := &script{hash: w.leaves} // pieces of one block: the layer is the leaves
		honest.free = true
		w.play(s, honest)
		after(time.Minute)
		if st := s.Status(); st.State != Seeding {
			t.Errorf("state %v, %v", st.State, st.Err)
		}
		_ = s.do(func() {
			if len(s.bans.addrs) != 1 {
				t.Errorf("banned are %v", s.bans.addrs)
			}
		})
		if got, err := os.ReadFile(filepath.Join(dir, "film")); err != nil || !bytes.Equal(got, w.data) {
			t.Errorf("content differs: %v", err)
		}
	})
}

// bare starts a swarm that knows the info dictionary and no layers.
func (w *world) bare(dir string) *Swarm { return w.bareKept(dir, nil) }

// bareKept is bare with a folder of resume data, bareWith one with other settings too.
func (w *world) bareKept(dir string, folder *resume.Folder) *Swarm {
	return w.bareWith(dir, folder, nil)
}

func (w *world) bareWith(dir string, folder *resume.Folder, f func(*Config)) *Swarm {
	bare := *w.torrent
	bare.PieceLayers = metainfo.Layers{}
	w.nodes++
	cfg := Config{Index: uint32(w.nodes), InfoHash: w.torrent.InfoHash, Torrent: &bare, Dir: dir, Resume: folder, Pool: w.pool, FreeSlot: func() {}, Log: slog.New(slog.DiscardHandler)}
	if f != nil {
		f(&cfg)
	}
	s := New(cfg)
	w.swarms = append(w.swarms, s)
	synctest.Wait()
	return s
}

// TestOwnLayers: who got a hybrid by its version 1 hash from peers that tell no
// hashes of version 2 makes them of the data, and gives them to others.
func TestOwnLayers(t *testing.T) {
	bubbleV2(t, 1<<20+5, 32<<10, metainfo.Hybrid, func(t *testing.T, w *world) {
		s := w.bare(t.TempDir())
		source := &script{free: true}
		w.play(s, source)
		after(time.Minute)
		if st := s.Status(); st.State != Seeding {
			t.Fatalf("state %v, %v", st.State, st.Err)
		}
		_ = s.do(func() {
			if missing := s.torrent.MissingLayers(); len(missing) > 0 || s.layers != nil {
				t.Errorf("layers of %v are missing", missing)
			}
		})
		p := w.play(s, &script{none: true})
		r := wire.HashRange{Root: *w.torrent.Info.Files[0].PiecesRoot, Base: 1, Length: 64, Proofs: 5}
		p.write(wire.AppendHashRange(nil, wire.HashRequest, &r))
		after(time.Second)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.answers) != 1 || p.answers[0].ID != wire.Hashes {
			t.Fatalf("answers: %v", p.answers)
		}
		_, hashes, uncles, err := wire.ParseHashRange(p.answers[0].ID, p.answers[0].Payload)
		proof := metainfo.Proof{Hashes: hashes, Uncles: uncles}
		if err != nil || proof.Verify(r.Root) != nil {
			t.Errorf("the answer proves nothing: %v", err)
		}
	})
}

// TestOwnLayersContradict: data that is right by version 1 and wrong by version 2
// stops the torrent.
func TestOwnLayersContradict(t *testing.T) {
	bubbleV2(t, 1<<20+5, 32<<10, metainfo.Hybrid, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		_ = s.do(func() {
			bare := *w.torrent
			bare.PieceLayers = metainfo.Layers{}
			s.layers = newLayerFetch(&bare)
			layer, err := s.store.Layer(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			layer[0] ^= 1
			s.madeLayer(s.layers, *w.torrent.Info.Files[0].PiecesRoot, layer, nil)
		})
		if st := s.Status(); st.State != Failed || !errors.Is(st.Err, disk.ErrInconsistent) {
			t.Errorf("state %v, %v", st.State, st.Err)
		}
	})
}
