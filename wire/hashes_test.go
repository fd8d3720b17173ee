package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestHashMessages(t *testing.T) {
	r := HashRange{Root: [HashLen]byte{1, 2, 3}, Base: 4, Index: 8, Length: 4, Proofs: 5}
	if r.Uncles() != 4 { // two of the layers follow from the four hashes
		t.Fatalf("%d uncles", r.Uncles())
	}
	for _, id := range []ID{HashRequest, HashReject} {
		m, n, err := Next(AppendHashRange(nil, id, &r))
		if err != nil || m.ID != id || n != 4+1+hashRangeLen {
			t.Fatalf("message %d: %+v, %d bytes, %v", id, m, n, err)
		}
		got, hashes, uncles, err := ParseHashRange(id, m.Payload)
		if err != nil || got != r || hashes != nil || uncles != nil {
			t.Errorf("message %d: %+v, %v", id, got, err)
		}
	}
	hashes, uncles := bytes.Repeat([]byte{7}, 4*HashLen), bytes.Repeat([]byte{9}, 4*HashLen)
	m, _, err := Next(AppendHashes(nil, &r, hashes, uncles))
	if err != nil {
		t.Fatal(err)
	}
	got, h, u, err := ParseHashRange(Hashes, m.Payload)
	if err != nil || got != r || !bytes.Equal(h, hashes) || !bytes.Equal(u, uncles) {
		t.Errorf("got %+v, %x, %x, %v", got, h, u, err)
	}
}

func TestUncles(t *testing.T) {
	for _, c := range []struct{ length, proofs, want uint32 }{
		{2, 0, 0}, {2, 1, 1}, {2, 3, 3}, {4, 1, 0}, {4, 2, 1}, {3, 2, 1}, {512, 9, 1}, {512, 8, 0}, {512, 0, 0},
	} {
		r := HashRange{Length: c.length, Proofs: c.proofs}
		if got := r.Uncles(); got != int(c.want) {
			t.Errorf("%d hashes and %d layers: %d uncles, want %d", c.length, c.proofs, got, c.want)
		}
	}
}

func TestHashesRefused(t *testing.T) {
	if _, _, err := Next([]byte{0, 0, 0, 3, byte(HashRequest), 1, 2}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a short request gave %v", err)
	}
	for name, r := range map[string]HashRange{
		"no hashes":       {},
		"one hash":        {Length: 1},
		"too many":        {Length: 2 * MaxHashes},
		"between":         {Length: 4, Index: 2},
		"too many layers": {Length: 2, Proofs: 1 << 31},
		"too deep":        {Length: 2, Base: 40, Proofs: 10},
	} {
		if r.Sane() {
			t.Errorf("%s: is sane", name)
		}
		if _, _, _, err := ParseHashRange(Hashes, AppendHashes(nil, &r, nil, nil)[5:]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := HashRange{Length: 2}
	if _, _, _, err := ParseHashRange(Hashes, AppendHashes(nil, &r, make([]byte, HashLen), nil)[5:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("one hash for two: %v", err)
	}
}

func TestHashesDecodeAllocatesNothing(t *testing.T) {
	r := HashRange{Length: 512, Proofs: 10}
	raw := AppendHashes(nil, &r, make([]byte, 512*HashLen), make([]byte, r.Uncles()*HashLen))
	if n := testing.AllocsPerRun(100, func() {
		m, _, _ := Next(raw)
		if _, h, _, err := ParseHashRange(m.ID, m.Payload); err != nil || len(h) == 0 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHashes(f *testing.F) {
	r := HashRange{Length: 2, Proofs: 2}
	f.Add(byte(Hashes), AppendHashes(nil, &r, make([]byte, 64), make([]byte, 64))[5:])
	f.Add(byte(HashRequest), AppendHashRange(nil, HashRequest, &r)[5:])
	f.Fuzz(func(t *testing.T, id byte, b []byte) {
		r, hashes, uncles, err := ParseHashRange(ID(id), b)
		if err != nil {
			return
		}
		again := AppendHashRange(nil, ID(id), &r)
		if ID(id) == Hashes {
			again = AppendHashes(nil, &r, hashes, uncles)
		}
		if !bytes.Equal(again[5:], b) {
			t.Fatalf("%x became %x", b, again[5:])
		}
	})
}
