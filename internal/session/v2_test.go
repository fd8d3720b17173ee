package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/reserve"
)

// contentV2 is content with a torrent of another version.
func contentV2(t *testing.T, files map[string]int, piece int64, v metainfo.Version) (string, *metainfo.Torrent) {
	t.Helper()
	dir, _ := content(t, files, piece)
	torrent, err := create.Torrent(context.Background(), filepath.Join(dir, "stuff"), create.Options{PieceLength: piece, Version: v})
	if err != nil {
		t.Fatal(err)
	}
	return dir, torrent
}

// TestTransferV2: version 2 and hybrids, of pieces of one block and of many, by
// the torrent and by each hash that a magnet link may have.
func TestTransferV2(t *testing.T) {
	for _, v := range []metainfo.Version{metainfo.V2, metainfo.Hybrid} {
		for _, piece := range []int64{16 << 10, 256 << 10, 4 << 20} {
			t.Run(fmt.Sprintf("%v/%d", v, piece), func(t *testing.T) {
				dir, torrent := contentV2(t, manyFiles, piece, v)
				seed := open(t, Config{})
				s := add(t, seed, Add{Torrent: torrent, Dir: dir})
				await(t, s)
				adds := map[string]Add{"torrent": {Torrent: torrent}, "btmh": {InfoHash: torrent.InfoHashV2.Truncated(), InfoHashV2: torrent.InfoHashV2}}
				if v == metainfo.Hybrid {
					adds["btih"] = Add{InfoHash: torrent.InfoHash}
					adds["both"] = Add{InfoHash: torrent.InfoHash, InfoHashV2: torrent.InfoHashV2}
				}
				for name, a := range adds {
					a.Dir, a.Peers = t.TempDir(), []netip.AddrPort{seed.Addr()}
					leech := open(t, Config{StateDir: t.TempDir(), Keep: true})
					l := add(t, leech, a)
					await(t, l)
					sameFiles(t, dir, a.Dir, manyFiles)
					if st := l.Status(); st.Size != torrent.Info.ContentLength() || st.Left != 0 {
						t.Errorf("%s: %d of %d bytes left, want %d", name, st.Left, st.Size, torrent.Info.ContentLength())
					}
					if v == metainfo.Hybrid && name != "btmh" && leech.Get(torrent.InfoHashV2.Truncated()) != l {
						t.Errorf("%s: not known by its other hash", name)
					}
					until(t, "the layers", func() bool { m := l.Metainfo(); return m != nil && len(m.MissingLayers()) == 0 })
					if _, err := leech.Add(Add{Torrent: torrent, Dir: a.Dir}); !errors.Is(err, ErrExists) {
						t.Errorf("%s: added twice: %v", name, err)
					}
				}
			})
		}
	}
}

// TestWrongHashV2: metadata that fits only the truncated hash of a magnet link,
// or only one of its two, is not taken.
func TestWrongHashV2(t *testing.T) {
	dir, torrent := contentV2(t, map[string]int{"a": 70_000}, 16<<10, metainfo.Hybrid)
	seed, leech := open(t, Config{}), open(t, Config{})
	if _, err := seed.Add(Add{Torrent: torrent, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	wrong := torrent.InfoHashV2
	wrong[31] ^= 1
	l := add(t, leech, Add{InfoHash: torrent.InfoHash, InfoHashV2: wrong, Dir: t.TempDir(), Peers: []netip.AddrPort{seed.Addr()}})
	until(t, "the peer to be sent away", func() bool { return l.Status().State == swarm.FetchingMetadata && len(l.Status().Peers) == 0 })
}

// TestPaidTransferV2: a paid download of version 2 pays for exactly the bytes of
// the files: padding is neither sent nor paid.
func TestPaidTransferV2(t *testing.T) {
	for _, v := range []metainfo.Version{metainfo.V2, metainfo.Hybrid} {
		t.Run(v.String(), func(t *testing.T) {
			l := ledgertest.New()
			files := map[string]int{"a.bin": 3 << 20, "b.bin": 16 * 16384, "c.bin": 7 * 16384}
			dir, torrent := contentV2(t, files, piece, v)
			seed := newTrader(t, l, traderConfig{reserve: perGiB(2)})
			s := seed.seeds(dir, torrent)
			leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
			g, to := leech.gets(torrent, seed.Addr())
			await(t, g)
			sameFiles(t, dir, to, files)
			want := owed(t, perGiB(2), torrent.Info.ContentLength())
			until(t, "the last payment", func() bool { return s.Status().Earned == want })
			if got := g.Status().Paid; got != want {
				t.Errorf("requester's status says %v paid, want %v", got, want)
			}
			settleAll(leech, seed)
			reconcile(t, l, seed, leech)
		})
	}
}

// TestPaidTailV2: the last block of a file of version 2 is asked for, sent and
// paid as what it holds, also by nodes whose reserve price grows with time, which
// note what they send.
func TestPaidTailV2(t *testing.T) {
	l := ledgertest.New()
	files := map[string]int{"a.bin": 300_001, "b.bin": 5_000}
	dir, torrent := contentV2(t, files, piece, metainfo.V2)
	grows := func(n *market.Node) {
		n.Reserve = market.Reserve{Growth: reserve.Growth{Slope: perGiB(1), Cap: perGiB(2)}}
	}
	seed := newTrader(t, l, traderConfig{market: grows})
	seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5), market: grows})
	g, to := leech.gets(torrent, seed.Addr())
	await(t, g)
	sameFiles(t, dir, to, files)
}

// TestInconsistentHybrid: a hybrid whose two versions contradict each other stops
// with an error that says so.
func TestInconsistentHybrid(t *testing.T) {
	dir, torrent := contentV2(t, map[string]int{"a": 70_000}, 16<<10, metainfo.Hybrid)
	forged := *torrent
	info := *torrent.Info
	info.Pieces = append([]byte{torrent.Info.Pieces[0] ^ 1}, torrent.Info.Pieces[1:]...)
	forged.Info = &info
	s := add(t, open(t, Config{}), Add{Torrent: &forged, Dir: dir})
	until(t, "the torrent to fail", func() bool { return s.Status().State == swarm.Failed })
	if err := s.Status().Err; !errors.Is(err, disk.ErrInconsistent) {
		t.Errorf("failed with %v", err)
	}
}

// TestAnnounceBoth: a hybrid is announced by both its hashes.
func TestAnnounceBoth(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Query().Get("info_hash")+" "+r.URL.Query().Get("event")] = true
		mu.Unlock()
		fmt.Fprint(w, "d8:intervali1800e5:peers0:e")
	}))
	defer server.Close()
	dir, torrent := contentV2(t, map[string]int{"a": 70_000}, 16<<10, metainfo.Hybrid)
	node := open(t, Config{Announce: announce.Config{}})
	s := add(t, node, Add{Torrent: torrent, Dir: dir, Trackers: [][]string{{server.URL + "/announce"}}})
	await(t, s)
	heard := func(event string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			v2 := torrent.InfoHashV2.Truncated()
			return seen[string(torrent.InfoHash[:])+" "+event] && seen[string(v2[:])+" "+event]
		}
	}
	until(t, "both announces", heard("started"))
	node.Close()
	if !heard("stopped")() {
		t.Errorf("heard %v", seen)
	}
}
