package swarm

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// TestSameContent: of files with the same content, which have one root in version 2, any
// one that is here is enough to answer for hashes below pieces.
func TestSameContent(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, held := range names {
		t.Run(held, func(t *testing.T) {
			bubble(t, testPiece, func(t *testing.T, w *world) {
				dir := filepath.Join(t.TempDir(), "stuff")
				data := bytes.Repeat([]byte("the same. "), sizeA/10+1)[:sizeA]
				write := func(dir string, names ...string) {
					if err := os.MkdirAll(dir, 0o700); err != nil {
						t.Fatal(err)
					}
					for _, name := range names {
						if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				write(dir, names...)
				var err error
				if w.torrent, err = create.Torrent(t.Context(), dir, create.Options{PieceLength: 2 * wire.BlockSize, Version: metainfo.V2}); err != nil {
					t.Fatal(err)
				}
				w.data = bytes.Repeat(data, len(names))
				home := t.TempDir()
				write(filepath.Join(home, "stuff"), held)
				w.nodes++
				s := New(Config{Index: uint32(w.nodes), InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: home, Pool: w.pool,
					FreeSlot: func() {}, Log: slog.New(slog.DiscardHandler)})
				w.swarms = append(w.swarms, s)
				synctest.Wait()
				if left := s.Status().Left; left != 2*sizeA {
					t.Fatalf("%d bytes are left", left)
				}
				p := w.play(s, &script{none: true})
				root := *w.torrent.Info.Files[0].PiecesRoot
				p.write(wire.AppendHashRange(nil, wire.HashRequest, &wire.HashRange{Root: root, Index: 4, Length: 2, Proofs: 3}))
				after(time.Second)
				p.mu.Lock()
				defer p.mu.Unlock()
				if len(p.answers) != 1 {
					t.Fatalf("%d answers", len(p.answers))
				}
				r, hashes, uncles, err := wire.ParseHashRange(p.answers[0].ID, p.answers[0].Payload)
				if err != nil || len(hashes) == 0 {
					t.Fatalf("answered with %v, %v", p.answers[0].ID, err)
				}
				proof := metainfo.Proof{Index: int(r.Index), Hashes: hashes, Uncles: uncles}
				if err := proof.Verify(root); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
