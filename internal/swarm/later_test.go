package swarm

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// TestBegunBeforeLayers: a hybrid without its piece layers, of which an earlier process
// bought units of a piece, asks for nothing of that piece before its layer is here, and then
// for the rest of it only; if nobody sends the layer, it is fetched after a minute, as a whole.
func TestBegunBeforeLayers(t *testing.T) {
	const pieces, per, unit, right = 4, 8, 2, 2 // blocks; units that are in the file
	for name, sends := range map[string]bool{"layer late": true, "no layer": false} {
		t.Run(name, func(t *testing.T) {
			bubbleV2(t, pieces*per*wire.BlockSize, per*wire.BlockSize, metainfo.Hybrid, func(t *testing.T, w *world) {
				folder, err := resume.Open(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				const from = 1 * per * wire.BlockSize // of the piece
				leaves := metainfo.AppendLeaves(nil, w.data[from:from+per*wire.BlockSize])
				log := folder.Log(w.torrent.InfoHash, 0)
				log.Units(1, unit, metainfo.Climb(leaves, 0, 1))
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				to := t.TempDir()
				have := make([]byte, len(w.data))
				copy(have[from:], w.data[from:from+right*unit*wire.BlockSize])
				if err := os.WriteFile(filepath.Join(to, "film"), have, 0o600); err != nil {
					t.Fatal(err)
				}
				s := w.bareKept(to, folder)
				var answers atomic.Bool
				p := w.play(s, &script{free: true, hash: func(r wire.HashRange) []byte {
					if !answers.Load() || !sends {
						return nil
					}
					return wire.AppendHashes(nil, &r, w.torrent.PieceLayers.Get(w.torrent.Info.Files[0].PiecesRoot), nil)
				}})
				after(laterWait / 2)
				if n := p.seen(false); n != (pieces-1)*per {
					t.Errorf("%d blocks were asked for before the layer is here, of %d", n, (pieces-1)*per)
				}
				answers.Store(true)
				after(laterWait)
				want := pieces * per
				if sends {
					want -= right * unit
				}
				if st := s.Status(); st.State != Seeding || p.seen(false) != want {
					t.Errorf("%v: %d blocks were asked for, want %d", st.State, p.seen(false), want)
				}
				if got, err := os.ReadFile(filepath.Join(to, "film")); err != nil || !bytes.Equal(got, w.data) {
					t.Errorf("content differs: %v", err)
				}
			})
		})
	}
}
