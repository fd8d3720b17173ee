package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/choker"
)

// TestIdleUploadServesMore: two slow leeches, one slot, and a limit that neither can
// use up: both are served at once, where the slot alone would go by turn. It is the same
// with a limit of the torrent.
func TestIdleUploadServesMore(t *testing.T) {
	t.Run("session", func(t *testing.T) { idleUpload(t, 2<<20, 0) })
	t.Run("torrent", func(t *testing.T) { idleUpload(t, 0, 2<<20) })
}

func idleUpload(t *testing.T, session, own int64) {
	dir, torrent := content(t, map[string]int{"x": 8 << 20}, 64<<10)
	one := choker.Default(1)
	one.Optimistic = 0
	seed, err := Open(Config{Listen: "127.0.0.1:0", Choker: one, ChokeEvery: 200 * time.Millisecond, UploadRate: session, Log: testLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(seed.Close)
	x := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	if err := x.SetLimits(own, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		slow := open(t, Config{DownloadRate: 32 << 10})
		add(t, slow, Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{seed.Addr()}})
	}
	until(t, "two that are served at once", func() bool {
		served := 0
		for _, p := range x.Status().Peers {
			if p.Unchoked {
				served++
			}
		}
		return served == 2
	})
}
