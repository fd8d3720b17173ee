package reserve

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/metainfo"
)

var t0 = time.Unix(1_000_000, 0)

func TestLinear(t *testing.T) {
	hours := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	done := func(g Growth) *Linear { l := &Linear{Growth: g}; l.Complete(t0); return l }
	tests := []struct {
		name string
		l    *Linear
		at   time.Time
		want amount.Price
	}{
		{"0 before completion", &Linear{Growth: Growth{Slope: 1000}}, hours(48), 0},
		{"0 at completion", done(Growth{Slope: 2400}), t0, 0},
		{"grows", done(Growth{Slope: 2400, Step: 1}), hours(10), 1000},
		{"in steps, rounded down", done(Growth{Slope: 2400, Step: 300}), hours(10), 900},
		{"default step", done(Growth{Slope: 2400}), t0.Add(time.Hour + 14*time.Minute), 120},
		{"capped, though no multiple of the step", done(Growth{Slope: 2400, Step: 300, Cap: 1000}), hours(1000), 1000},
		{"no slope, no price", done(Growth{}), hours(1000), 0},
		{"clock before the start", done(Growth{Slope: 2400}), hours(-5), 0},
		{"never overflows", done(Growth{Slope: amount.MaxPrice}), t0.Add(math.MaxInt64), amount.MaxPrice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.l.Price(tt.at); got != tt.want {
				t.Errorf("got %d, want %d", int64(got), int64(tt.want))
			}
		})
	}
}

func TestLinearProof(t *testing.T) {
	l := &Linear{Growth: Growth{Slope: 2400, Step: 1}}
	l.Proved(t0.Add(-time.Hour)) // while leeching: no effect
	if !l.Start().IsZero() {
		t.Error("a proof before completion started the clock")
	}
	l.Complete(t0)
	l.Proved(t0.Add(10 * time.Hour))
	l.Proved(t0.Add(5 * time.Hour)) // an older one changes nothing
	if got := l.Price(t0.Add(11 * time.Hour)); got != 100 {
		t.Errorf("an hour after the proof: %d", int64(got))
	}
}

// TestLinearSteps: between two proofs the price only rises, within the cap,
// and changes at most once a step.
func TestLinearSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := Growth{
			Slope: amount.Price(rapid.Int64Range(1, 1e9).Draw(t, "slope")),
			Cap:   amount.Price(rapid.Int64Range(0, 1e9).Draw(t, "cap")),
			Step:  amount.Price(rapid.Int64Range(0, 1e6).Draw(t, "step")),
		}
		l := &Linear{Growth: g}
		l.Complete(t0)
		last, at := amount.Price(0), t0
		for range 50 {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(12*time.Hour)).Draw(t, "dt")))
			p := l.Price(at)
			if p < last || g.Cap > 0 && p > g.Cap || p != last && p != g.Cap && p-last < l.step() {
				t.Fatalf("from %d to %d (step %d, cap %d)", int64(last), int64(p), int64(l.step()), int64(g.Cap))
			}
			last = p
		}
	})
}

func newPossession(t testing.TB, size, piece int64) *Possession {
	t.Helper()
	p, err := NewPossession([20]byte{1}, [20]byte{2}, size, piece)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestChallengesCoverAll: uploading each challenge visits every chunk of the
// torrent exactly once before the bitmap starts anew (R7.14-R7.17).
func TestChallengesCoverAll(t *testing.T) {
	for _, size := range []int64{1, ChunkSize, 5 * ChunkSize, 64 * ChunkSize, 65*ChunkSize + 1, 1000*ChunkSize + 5} {
		p := newPossession(t, size, 3*ChunkSize+100) // four chunks a piece, the last one short
		seen := map[[2]uint32]bool{}
		n := p.chunks
		for range n {
			piece, chunk := p.Challenge()
			if p.Recent(piece, chunk) || seen[[2]uint32{piece, chunk}] || p.index(piece, chunk) < 0 {
				t.Fatalf("size %d: challenge %d/%d is not fresh", size, piece, chunk)
			}
			seen[[2]uint32{piece, chunk}] = true
			p.Uploaded(piece, chunk)
		}
		if len(seen) != n || p.unset != n {
			t.Errorf("size %d: %d of %d chunks, %d unset after", size, len(seen), n, p.unset)
		}
	}
}

// TestChallengesAreNoPadding: padding is never asked for, in no turn of the bitmap,
// and all else is, also where a chunk is padding in part.
func TestChallengesAreNoPadding(t *testing.T) {
	const size, piece = 9*ChunkSize + 50, 3*ChunkSize + 100 // four chunks a piece, the last one short
	tests := map[string]struct {
		pads []metainfo.Span
		void [][2]uint32
	}{
		"none":                {nil, nil},
		"inside a chunk":      {[]metainfo.Span{{From: 10, To: ChunkSize}}, nil},
		"a chunk":             {[]metainfo.Span{{From: ChunkSize, To: 2 * ChunkSize}}, [][2]uint32{{0, 1}}},
		"to the piece's end":  {[]metainfo.Span{{From: ChunkSize + 1, To: piece}}, [][2]uint32{{0, 2}, {0, 3}}},
		"over a border":       {[]metainfo.Span{{From: 2*ChunkSize + 1, To: piece + 2*ChunkSize - 1}}, [][2]uint32{{0, 3}, {1, 0}}},
		"two, one at the end": {[]metainfo.Span{{From: 0, To: ChunkSize}, {From: 2 * piece, To: size}}, [][2]uint32{{0, 0}, {2, 0}, {2, 1}, {2, 2}}},
	}
	for name, c := range tests {
		p, err := NewPossession([20]byte{1}, [20]byte{2}, size, piece, c.pads...)
		if err != nil {
			t.Fatal(err)
		}
		void, n := map[[2]uint32]bool{}, p.total-len(c.void)
		for _, v := range c.void {
			void[v] = true
		}
		for turn := range 2 {
			seen := map[[2]uint32]bool{}
			for range n {
				piece, chunk := p.Challenge()
				p.Uploaded(piece, chunk)
				seen[[2]uint32{piece, chunk}] = true
				if void[[2]uint32{piece, chunk}] {
					t.Fatalf("%s: chunk %d of piece %d is padding", name, chunk, piece)
				}
			}
			if len(seen) != n || p.unset != n {
				t.Errorf("%s, turn %d: %d of %d chunks asked for, %d unset after", name, turn, len(seen), n, p.unset)
			}
		}
	}
	if _, err := NewPossession([20]byte{}, [20]byte{}, size, piece, metainfo.Span{To: size}); !errors.Is(err, ErrGeometry) {
		t.Errorf("padding alone: %v", err)
	}
}

// TestPaddingCostsNothing: a torrent of much padding and little else keeps what is asked for
// alone, however many turns that takes.
func TestPaddingCostsNothing(t *testing.T) {
	const pieces, piece = 1 << 16, 16 << 20 // a TiB
	pads := []metainfo.Span{{From: ChunkSize, To: piece * (pieces - 1)}, {From: piece*(pieces-1) + ChunkSize, To: piece * pieces}}
	p, err := NewPossession([20]byte{}, [20]byte{3}, piece*pieces, piece, pads...)
	if err != nil || p.chunks != 2 || len(p.words) != 1 || len(p.voids) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	first, chunk := p.Challenge()
	p.Uploaded(first, chunk)
	last, _ := p.Challenge()
	if first+last != pieces-1 || chunk != 0 {
		t.Errorf("pieces %d and %d are asked for, chunk %d", first, last, chunk)
	}
	for range 100_000 {
		p.Uploaded(first, 0)
		p.Uploaded(last, 0)
	}
}

// TestPossessionModel: the bitmap against a map.
func TestPossessionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perPiece := rapid.Int64Range(1, 5).Draw(t, "chunks a piece")
		chunks := rapid.Int64Range(1, 200).Draw(t, "chunks")
		p, err := NewPossession([20]byte{}, [20]byte{9}, chunks*ChunkSize, perPiece*ChunkSize)
		if err != nil {
			t.Fatal(err)
		}
		model := map[[2]uint32]bool{}
		for range 400 {
			c := [2]uint32{rapid.Uint32Range(0, 60).Draw(t, "piece"), rapid.Uint32Range(0, 6).Draw(t, "chunk")}
			p.Uploaded(c[0], c[1])
			if int64(c[1]) < perPiece && int64(c[0])*perPiece+int64(c[1]) < chunks {
				if model[c] = true; int64(len(model)) == chunks {
					clear(model)
				}
			}
			if p.Recent(c[0], c[1]) != model[c] || p.unset != int(chunks)-len(model) {
				t.Fatalf("chunk %v: %v, %d unset, model %v", c, p.Recent(c[0], c[1]), p.unset, model)
			}
			if piece, chunk := p.Challenge(); model[[2]uint32{piece, chunk}] {
				t.Fatalf("challenge %d/%d was uploaded", piece, chunk)
			}
		}
	})
}

// TestChallengeSpread: on a nearly full bitmap the unset chunks are equally
// likely, both by retries and by the k-th unset bit.
func TestChallengeSpread(t *testing.T) {
	p := newPossession(t, 4096*ChunkSize, ChunkSize)
	free := map[uint32]int{7: 0, 1000: 0, 2222: 0, 4095: 0}
	for i := range uint32(4096) {
		if _, ok := free[i]; !ok {
			p.Uploaded(i, 0)
		}
	}
	for range 4000 {
		piece, _ := p.Challenge()
		free[piece]++
	}
	for piece, n := range free {
		if n < 850 || n > 1150 {
			t.Errorf("chunk of piece %d came %d times of 4000", piece, n)
		}
	}
}

// TestGenerator pins the generator: other implementations need not copy it,
// but ours must not change under a stored secret.
func TestGenerator(t *testing.T) {
	g := generator{key: [20]byte{1, 2, 3}}
	sum := sha256.Sum256(append([]byte(generatorLabel), append([]byte{1, 2, 3}, make([]byte, 17+8)...)...))
	if got, want := g.next(), sum[:8]; hex.EncodeToString(want) != hex.EncodeToString([]byte{
		byte(got >> 56), byte(got >> 48), byte(got >> 40), byte(got >> 32), byte(got >> 24), byte(got >> 16), byte(got >> 8), byte(got),
	}) {
		t.Errorf("got %x, want %x", got, want)
	}
	a := newPossession(t, 1<<30, 1<<20)
	b, _ := NewPossession([20]byte{1}, [20]byte{3}, 1<<30, 1<<20)
	same := 0
	for range 50 {
		ap, ac := a.Challenge()
		bp, bc := b.Challenge()
		if ap == bp && ac == bc {
			same++
		}
	}
	if same > 2 {
		t.Errorf("%d of 50 challenges do not depend on the secret", same)
	}
}

func TestGeometry(t *testing.T) {
	for _, g := range [][2]int64{{0, 1}, {1, 0}, {-1, 1}, {1, -1}, {math.MaxInt64, 1}, {math.MaxInt64, 1 << 40}, {1, math.MaxInt64}} {
		if _, err := NewPossession([20]byte{}, [20]byte{}, g[0], g[1]); !errors.Is(err, ErrGeometry) {
			t.Errorf("%v: %v", g, err)
		}
	}
}

func TestHash(t *testing.T) {
	nonce, infohash, data := [16]byte{1}, [20]byte{2}, []byte("chunk")
	in := append(append(append([]byte{}, nonce[:]...), infohash[:]...), 0, 0, 0, 3, 0, 0, 0, 4)
	want := sha256.Sum256(append(in, data...))
	if got := Hash(nonce, infohash, 3, 4, data); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	if !Valid(want, nonce, infohash, 3, 4, data) {
		t.Error("own proof refused")
	}
	for name, ok := range map[string]bool{
		"another nonce":    Valid(want, [16]byte{9}, infohash, 3, 4, data),
		"another infohash": Valid(want, nonce, [20]byte{9}, 3, 4, data),
		"another chunk":    Valid(want, nonce, infohash, 3, 5, data),
		"another piece":    Valid(want, nonce, infohash, 4, 4, data),
		"other data":       Valid(want, nonce, infohash, 3, 4, []byte("chunl")),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTorrent(t *testing.T) {
	tor := NewTorrent(&Linear{Growth: Growth{Slope: 2400, Step: 1}}, newPossession(t, 1<<30, 1<<20))
	tor.Complete(t0)
	at := func(m int) time.Time { return t0.Add(time.Duration(m) * time.Minute) }

	q := tor.Quote(at(60))
	if q.Price != 100 {
		t.Fatalf("price after an hour: %d", int64(q.Price))
	}
	if tor.Proved(at(60), q.Piece, q.Chunk+1) {
		t.Error("answer to another challenge counted")
	}
	tor.Uploaded(q.Piece, q.Chunk)
	if n := tor.Quote(at(60)); n.Piece == q.Piece && n.Chunk == q.Chunk {
		t.Error("the challenge was uploaded and stayed")
	}
	q = tor.Quote(at(60))
	if !tor.Proved(at(60), q.Piece, q.Chunk) || tor.Quote(at(60)).Price != 0 {
		t.Error("a valid proof did not reset the price")
	}
	if tor.Proved(at(61), q.Piece, q.Chunk) {
		t.Error("one challenge counted twice")
	}
	// Within the quarantine an answer is kept, and counts at its end.
	q = tor.Quote(at(66))
	if tor.Proved(at(66), q.Piece, q.Chunk) || tor.Quote(at(69)).Price != 15 {
		t.Errorf("quarantine: price %d", int64(tor.Quote(at(69)).Price))
	}
	if p := tor.Quote(at(76)).Price; p != 10 {
		t.Errorf("six minutes after the quarantine: price %d", int64(p))
	}
	if n, last := tor.Proofs(); n != 2 || !last.Equal(at(70)) {
		t.Errorf("%d proofs, last %v", n, last)
	}

	// A chunk that was proved is not asked for again while others are left.
	many := NewTorrent(&Linear{Growth: Growth{Slope: 2400}}, newPossession(t, 20*ChunkSize, ChunkSize))
	seen := map[Quote]bool{}
	for i := range 20 {
		q := many.Quote(at(0).Add(time.Duration(i) * Day))
		if q.Price = 0; seen[q] {
			t.Fatalf("chunk of piece %d is asked for again as number %d", q.Piece, i)
		}
		seen[q] = true
		many.Proved(at(0).Add(time.Duration(i)*Day), q.Piece, q.Chunk)
	}
	fixed := NewTorrent(Fixed(7), newPossession(t, 1<<20, 1<<18))
	fixed.Complete(t0)
	q = fixed.Quote(t0)
	if q.Price != 7 || !fixed.Proved(at(1), q.Piece, q.Chunk) || fixed.Quote(at(1)).Price != 7 {
		t.Error("a fixed price is not fixed")
	}
}

func BenchmarkChallenge(b *testing.B) {
	p := newPossession(b, 100<<30, 4<<20) // 6.5 M chunks
	for i := range uint32(25600) {
		for c := range uint32(256) {
			if i != 25000 {
				p.Uploaded(i, c)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Challenge()
	}
}
