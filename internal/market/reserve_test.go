package market

import (
	"bytes"
	"math/bits"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/reserve"
)

// TestChunkLengths: a chunk ends with its file in version 2 alone, and padding alone
// is no chunk.
func TestChunkLengths(t *testing.T) {
	const k = reserve.ChunkSize
	pads := []metainfo.Span{{From: k + 10, To: 4 * k}, {From: 5 * k, To: 6*k - 5}}
	tests := []struct {
		piece, chunk, whole, trimmed uint32
	}{
		{0, 0, k, k}, {0, 1, k, 10}, {0, 2, 0, 0}, {0, 3, 0, 0}, {0, 4, 0, 0},
		{1, 0, k, k}, {1, 2, 7, 7}, {1, 3, 0, 0}, {2, 0, 0, 0},
	}
	for _, trimmed := range []bool{false, true} {
		l := Layout{TotalLength: 6*k + 7, PieceLength: 4 * k, Pads: pads, Trimmed: trimmed}
		for _, c := range tests {
			want := c.whole
			if trimmed {
				want = c.trimmed
			}
			if got := l.chunk(c.piece, c.chunk); got != want {
				t.Errorf("chunk %d of piece %d has %d bytes, want %d (trimmed %v)", c.chunk, c.piece, got, want, trimmed)
			}
		}
	}
}

// TestSentRuns: runs are joined, bounded, and cost no allocation.
func TestSentRuns(t *testing.T) {
	var q sentRuns
	q.note(1, 0, 16)
	q.note(1, 16, 48)
	q.note(1, 64, 80)
	q.note(2, 80, 96)
	if got := q.take(); len(got) != 3 || got[0] != (sentRun{1, 0, 48}) || got[1] != (sentRun{1, 64, 80}) || got[2] != (sentRun{2, 80, 96}) {
		t.Errorf("got %v", got)
	}
	for i := range uint32(maxSentRuns + 10) {
		q.note(i, 0, 16)
	}
	if got := q.take(); len(got) != maxSentRuns {
		t.Errorf("%d runs", len(got))
	}
	q.take()
	if n := testing.AllocsPerRun(100, func() {
		for i := range uint32(100) {
			q.note(i, 0, 16)
		}
		q.take()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSavedReserve: resume data of others, or damaged, is no time.
func TestSavedReserve(t *testing.T) {
	s := &Torrent{reserving: &reserving{linear: &reserve.Linear{}}}
	if s.Save() != nil {
		t.Error("a price that never began is saved")
	}
	at := time.Unix(1_700_000_000, 0)
	s.reserving.linear.Complete(at)
	saved := s.Save()
	for _, bad := range [][]byte{nil, saved[:8], append(bytes.Clone(saved), 0), append([]byte{2}, saved[1:]...)} {
		if s.Load(bad); !s.reserving.begun.IsZero() {
			t.Errorf("read %x as %v", bad, s.reserving.begun)
		}
	}
	if s.Load(saved); !s.reserving.begun.Equal(at) {
		t.Errorf("got %v", s.reserving.begun)
	}
}

// TestRoundBid: what a tracker is told is the greatest power of √2 up to the bid.
func TestRoundBid(t *testing.T) {
	for b, want := range map[uint64]uint64{0: 0, 1: 1, 2: 2, 3: 2, 4: 4, 5: 5, 7: 5, 8: 8, 10: 8, 11: 11, 15: 11, 16: 16,
		1_000_000: 741_455, 1 << 62: 1 << 62, 1 << 63: 1 << 63, ^uint64(0): sqrt2} {
		if got := roundBid(b); got != want {
			t.Errorf("%d is told as %d, want %d", b, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.Uint64Range(1, 1<<62).Draw(t, "bid")
		got := roundBid(b)
		if got > b || roundBid(got) != got {
			t.Fatalf("%d is told as %d, that as %d", b, got, roundBid(got))
		}
		// The next power, got·√2 + 1 at most, is above b: b² < 2·(got+1)².
		bh, bl := bits.Mul64(b, b)
		gh, gl := bits.Mul64(got+1, got+1)
		if gh = gh<<1 | gl>>63; bh > gh || bh == gh && bl >= gl<<1 {
			t.Fatalf("%d is told as %d: more than a factor of √2 below", b, got)
		}
	})
}
