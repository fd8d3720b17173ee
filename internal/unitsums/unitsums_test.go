package unitsums

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// sums are the hashes of n units of a piece.
func sums(piece uint32, n int) []byte {
	b := bytes.Repeat([]byte{7}, n*HashSize)
	for i := range n {
		binary.BigEndian.PutUint32(b[i*HashSize:], piece*100+uint32(i))
	}
	return b
}

// TestLayer: what was put is there, missing ones behind it, until it is forgotten or
// the layer is closed; what does not belong is not taken.
func TestLayer(t *testing.T) {
	missing := [HashSize]byte{0xee}
	c := New(DefaultBytes)
	l := c.Layer(5000, 4, 4, missing)
	other := c.Layer(5000, 4, 4, missing)
	l.Put(7, sums(7, 4))
	l.Put(8, sums(8, 1))
	l.Put(9, sums(9, 5))
	l.Put(5000, sums(1, 4))
	l.Put(6, nil)
	if got := l.Append([]byte{1}, 7); !bytes.Equal(got, append([]byte{1}, sums(7, 4)...)) {
		t.Errorf("piece 7: %x", got)
	}
	want := append(append(append(sums(8, 1), missing[:]...), missing[:]...), missing[:]...)
	if got := l.Append(nil, 8); !bytes.Equal(got, want) {
		t.Errorf("piece 8: %x", got)
	}
	for _, p := range []uint32{6, 9, 10, 4999, 5000, 1 << 31} {
		if got := l.Append(nil, p); got != nil {
			t.Errorf("piece %d: %x", p, got)
		}
	}
	if got := other.Append(nil, 7); got != nil {
		t.Errorf("another torrent has %x", got)
	}
	l.Forget(7)
	l.Forget(5000)
	if l.Append(nil, 7) != nil || l.Append(nil, 8) == nil {
		t.Error("not piece 7 was forgotten")
	}
	other.Put(1, sums(1, 4))
	l.Close()
	l.Put(8, sums(8, 4))
	if l.Append(nil, 8) != nil || c.Bytes() != other.pageSize(0) {
		t.Errorf("after Close: %d bytes", c.Bytes())
	}
}

// TestBound: the memory stays within its bound, and what was used last stays.
func TestBound(t *testing.T) {
	const most = 10 * pageBytes
	c := New(most)
	var layers []*Layer
	for range 3 {
		layers = append(layers, c.Layer(1<<20, 8, 4, [HashSize]byte{}))
	}
	for piece := range uint32(20_000) {
		for _, l := range layers {
			l.Put(piece, sums(piece, 8))
		}
		if layers[0].Append(nil, 0) == nil {
			t.Fatalf("what is used always is gone after piece %d", piece)
		}
		if c.Bytes() > most {
			t.Fatalf("%d bytes after piece %d", c.Bytes(), piece)
		}
	}
	if layers[1].Append(nil, 0) != nil || layers[1].Append(nil, 19_999) == nil {
		t.Error("the wrong ones are gone")
	}
	if saved := layers[2].Save(); len(saved) > most+1000 {
		t.Errorf("%d bytes saved", len(saved))
	}
	huge := c.Layer(10, 2*most/HashSize, 0, [HashSize]byte{})
	huge.Put(1, sums(1, 2*most/HashSize))
	if huge.Append(nil, 1) != nil || layers[0].Append(nil, 0) == nil {
		t.Error("a piece too large for the memory was kept, or drove out others")
	}
	for _, l := range layers {
		l.Close()
	}
	if c.Bytes() != 0 || c.used.next != &c.used || c.used.prev != &c.used {
		t.Errorf("%d bytes are left", c.Bytes())
	}
}

// TestSave: a layer comes back as it was, does not replace what is known, and what
// is damaged or another torrent's is refused.
func TestSave(t *testing.T) {
	c := New(DefaultBytes)
	l := c.Layer(600, 4, 4, [HashSize]byte{})
	if l.Changed() || l.Save() != nil {
		t.Error("an empty layer has something to save")
	}
	for p := uint32(0); p < 600; p += 3 {
		l.Put(p, sums(p, 4))
	}
	if !l.Changed() {
		t.Error("no change was seen")
	}
	saved := l.Save()
	if l.Changed() || l.Save() != nil {
		t.Error("saved twice")
	}
	back := c.Layer(600, 4, 4, [HashSize]byte{})
	back.Put(3, sums(1003, 4))
	_ = back.Save()
	if err := back.Load(saved); err != nil || back.Changed() {
		t.Fatal(err)
	}
	for p := range uint32(600) {
		want := []byte(nil)
		if p == 3 {
			want = sums(1003, 4)
		} else if p%3 == 0 {
			want = sums(p, 4)
		}
		if got := back.Append(nil, p); !bytes.Equal(got, want) {
			t.Errorf("piece %d: %x", p, got)
		}
	}
	for _, other := range []*Layer{c.Layer(601, 4, 4, [32]byte{}), c.Layer(600, 8, 4, [32]byte{}), c.Layer(600, 4, 3, [32]byte{})} {
		if err := other.Load(saved); !errors.Is(err, ErrSaved) {
			t.Errorf("another torrent's: %v", err)
		}
	}
	for _, n := range []int{0, 5, head - 1, head + 3, head + 4, len(saved) - 1} {
		if err := back.Load(saved[:n]); !errors.Is(err, ErrSaved) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	if err := back.Load(make([]byte, MaxSaved+1)); !errors.Is(err, ErrSaved) {
		t.Errorf("too long: %v", err)
	}
}

// FuzzLoad: nothing that a file may hold does harm, and the bound holds.
func FuzzLoad(f *testing.F) {
	c := New(DefaultBytes)
	l := c.Layer(600, 4, 4, [HashSize]byte{})
	l.Put(1, sums(1, 4))
	l.Put(599, sums(599, 4))
	saved := l.Save()
	f.Add(saved)
	f.Add(saved[:len(saved)-1])
	binary.BigEndian.PutUint32(saved[head:], 1<<31)
	f.Add(saved)
	f.Fuzz(func(t *testing.T, saved []byte) {
		c := New(2 * pageBytes)
		l := c.Layer(600, 4, 4, [HashSize]byte{})
		if err := l.Load(saved); err != nil && !errors.Is(err, ErrSaved) {
			t.Error(err)
		}
		if c.Bytes() > 2*pageBytes {
			t.Errorf("%d bytes", c.Bytes())
		}
		for p := range uint32(600) {
			if got := l.Append(nil, p); got != nil && len(got) != 4*HashSize {
				t.Errorf("piece %d has %d bytes", p, len(got))
			}
		}
	})
}

// BenchmarkPut is what keeping the hashes of a piece costs.
func BenchmarkPut(b *testing.B) {
	l := New(DefaultBytes).Layer(1<<20, 4, 4, [HashSize]byte{})
	s := sums(1, 4)
	b.ReportAllocs()
	for i := range b.N {
		l.Put(uint32(i)&(1<<16-1), s)
	}
}
