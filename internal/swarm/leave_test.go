package swarm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/wire"
)

// TestCompleteWhenBooked: the disk is faster than the news that the last block came.
// The torrent is not complete before that piece is booked for payment: whoever hears of
// the end may leave at once. News that never comes hold it up for a moment only.
func TestCompleteWhenBooked(t *testing.T) {
	for _, lost := range []bool{false, true} {
		bubble(t, 2*testPiece+5, func(t *testing.T, w *world) {
			s := w.node(nil, t.TempDir(), nil)
			for piece := range 3 {
				result := disk.Stored
				for begin := 0; begin < testPiece && piece*testPiece+begin < len(w.data); begin += wire.BlockSize {
					at := piece*testPiece + begin
					r, err := s.store.Block(uint32(piece), uint32(begin), w.data[at:min(at+wire.BlockSize, (piece+1)*testPiece, len(w.data))])
					if err != nil {
						t.Fatal(err)
					}
					result = r
				}
				if result != disk.Verified {
					t.Fatalf("piece %d is %v", piece, result)
				}
				if piece < 2 {
					_ = s.do(func() { s.onVerified(uint32(piece)) })
				}
			}
			s.store.Flush()
			synctest.Wait()
			if st := s.Status(); st.Left != 0 || st.State != Downloading {
				t.Fatalf("%v with %d bytes left before the last piece is booked", st.State, st.Left)
			}
			if lost {
				time.Sleep(2 * bookingWait)
			} else {
				_ = s.do(func() { s.onVerified(2) })
			}
			if st := s.Status(); st.State != Seeding {
				t.Errorf("%v after the last piece is booked", st.State)
			}
			_ = s.do(func() {
				if len(s.booked)+len(s.unbooked) > 0 {
					t.Errorf("%d and %d pieces are still waited for", len(s.booked), len(s.unbooked))
				}
			})
		})
	}
}
