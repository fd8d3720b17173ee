package main

import (
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt/wire"
)

// TestKillMagnet ends downloads of several files by magnet link inside pieces that are
// paid by parts: by a kill, by one while the hashes of version 2 are on their way that tell what is
// there, and by an interrupt. What was paid and written of a piece outlives them all, and
// nothing is paid for whole pieces because those hashes are late: each end costs a part at most.
func TestKillMagnet(t *testing.T) {
	for _, g := range []goods{parts, hybridParts} {
		t.Run(g.format, func(t *testing.T) {
			w := newTown(t)
			const first = 3<<20 + 54321
			for name, size := range map[string]int64{"a": first, "b": bankSize - first} {
				if err := writeRandom(w.path("share/film/"+name), size); err != nil {
					t.Fatal(err)
				}
			}
			b := w.bank("film", g, 0)
			b.source = b.run("show", "share/film.torrent")[0]["magnet"].(string)
			b.flags = []string{"--encryption", "off"}
			var held atomic.Bool // a layer of hashes
			late := func(message []byte) time.Duration {
				const layer = 6 // of pieces of 1 MiB
				if len(message) == 0 || wire.ID(message[0]) != wire.Hashes {
					return 0
				}
				if r, _, _, err := wire.ParseHashRange(wire.Hashes, message[1:]); err != nil || r.Base != layer {
					return 0
				}
				held.Store(true)
				return 2 * time.Second
			}
			b.pipe.late.Store(&late)
			b.endsInside([]os.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGINT}, func(i int) func() bool {
				held.Store(false)
				moment := b.pipe.bytes.Load() + 3*killPiece + rand.Int64N(12*killPiece)
				reached := b.pipe.reached(moment)
				return func() bool { return reached() || i == 1 && held.Load() }
			})
		})
	}
}
