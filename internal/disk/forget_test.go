package disk

import "testing"

// TestForget: bad blocks of a piece that was given up do not spoil the next
// attempt, also where a prefix of the piece went to the disk already.
func TestForget(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 4<<20, File{Path: "a", Length: 8<<20 + 5})
	s := mustOpen(t, tor.config())
	defer s.Close()
	s.Forget(0) // nothing there
	for i, k := range tor.blocks() {
		if k[0] == 0 && i < 200 {
			bad := append([]byte{^tor.block(k)[0]}, tor.block(k)[1:]...)
			if r, err := s.Block(k[0], k[1], bad); r != Stored || err != nil {
				t.Fatalf("bad block: %v, %v", r, err)
			}
		}
	}
	s.Forget(0)
	verified := 0
	for _, k := range tor.blocks() {
		r, err := s.Block(k[0], k[1], tor.block(k))
		if err != nil || r == Failed || r == Duplicate {
			t.Fatalf("block %v: %v, %v", k, r, err)
		}
		if r == Verified {
			verified++
		}
	}
	if verified != 3 {
		t.Errorf("%d pieces verified", verified)
	}
	s.Forget(1) // complete: stays
	tor.wait(3)
	tor.onDisk(t.Fatalf)
}
