package disk

import "testing"

// TestCoalescedWrites: small pieces that wait for the disk side by side are
// written together, 1 MiB at once at most.
func TestCoalescedWrites(t *testing.T) {
	const piece, length = 64 << 10, 8 << 20
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{Writers: 1}), piece, File{Path: "f", Length: length})
	gate, writes := make(chan struct{}), 0 // counted by the one writer
	c := tor.config()
	inject(&c, faulty{write: func() error { <-gate; writes++; return nil }})
	s := mustOpen(t, c)
	for _, k := range tor.blocks() {
		if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	tor.wait(tor.pieces())
	s.Close()
	// The first one took what was there; after that each has a batch.
	if most := length/chunkSize + 2; writes > most {
		t.Errorf("%d writes for %d bytes in pieces of %d, at most %d", writes, length, piece, most)
	}
	tor.onDisk(t.Fatalf)
}
