package swarm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// units is the request for the hashes of a piece's units of 256 KiB, and the right
// ones.
func (w *world) units(piece uint32) (r wire.HashRange, want []byte) {
	length, unit := w.torrent.Info.PieceLength, int64(256<<10)
	r = wire.HashRange{Root: *w.torrent.Info.Files[0].PiecesRoot, Base: 4, Length: uint32(length / unit)}
	r.Index = piece * r.Length
	r.Proofs = uint32(r.Height() - 1)
	data := w.data[min(int64(piece)*length, int64(len(w.data))):]
	for at := int64(0); at < length; at += unit {
		h := metainfo.HashPiece(data[min(at, int64(len(data))):min(at+unit, int64(len(data)))], 1<<40, unit)
		want = append(want, h[:]...)
	}
	return r, want
}

// askUnits returns what is answered for a piece's units; nil = it was rejected.
func (p *script) askUnits(t *testing.T, r wire.HashRange) []byte {
	t.Helper()
	p.mu.Lock()
	n := len(p.answers)
	p.mu.Unlock()
	p.write(wire.AppendHashRange(nil, wire.HashRequest, &r))
	after(time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) != n+1 {
		t.Fatalf("%d answers", len(p.answers)-n)
	}
	_, hashes, _, err := wire.ParseHashRange(p.answers[n].ID, p.answers[n].Payload)
	if err != nil {
		t.Fatal(err)
	}
	return hashes
}

// replace changes a byte of each piece of the file, or none, and sets its time back.
func (w *world) replace(t *testing.T, spoil byte) {
	t.Helper()
	path := filepath.Join(w.dir, "film")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Clone(w.data)
	for at := int64(9); at < int64(len(data)); at += w.torrent.Info.PieceLength {
		data[at] ^= spoil
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// TestUnitSumsKept: a seller that checked a piece sends the hashes of its units without
// reading it again, after a restart too; those that are not kept, or were damaged where
// they are kept, it makes anew; and none that do not lead to the piece's hash are sent,
// whatever became of the data.
func TestUnitSumsKept(t *testing.T) {
	for _, version := range []metainfo.Version{metainfo.V2, metainfo.Hybrid} {
		t.Run(version.String(), func(t *testing.T) {
			bubbleV2(t, 5<<20+300<<10, 1<<20, version, func(t *testing.T, w *world) { testUnitSumsKept(t, w) })
		})
	}
}

func testUnitSumsKept(t *testing.T, w *world) {
	dir := t.TempDir()
	folder, err := resume.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const pieces = 6
	seller := w.market()
	seller.Quantum = 256 << 10
	run := func(what string, change func(s *Swarm), answered func(piece uint32) bool) {
		t.Helper()
		s := w.seed(seller, func(c *Config) { c.Resume = folder })
		if change != nil {
			change(s)
		}
		p := w.play(s, &script{none: true})
		for piece := range uint32(pieces) {
			r, want := w.units(piece)
			got := p.askUnits(t, r)
			if answered(piece) && !bytes.Equal(got, want) || !answered(piece) && got != nil {
				t.Errorf("%s: piece %d: %x, want %x", what, piece, got, want)
			}
			r.Base, r.Index, r.Length, r.Proofs = 5, r.Index/2, r.Length/2, r.Proofs-1 // a larger unit
			if got := p.askUnits(t, r); (got != nil) != answered(piece) {
				t.Errorf("%s: piece %d: larger units: %x", what, piece, got)
			}
		}
		s.Close()
	}
	all := func(uint32) bool { return true }
	none := func(uint32) bool { return false }
	path := func() string {
		found, err := filepath.Glob(filepath.Join(dir, "*.units"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		return found[0]
	}
	run("checked, then changed", func(*Swarm) { w.replace(t, 1) }, all)
	run("restarted", nil, all)
	b, err := os.ReadFile(path())
	if err != nil {
		t.Fatal(err)
	}
	for at := range b[40:] {
		b[40+at] ^= 0x55
	}
	if err := os.WriteFile(path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	run("damaged, and the data changed", nil, none)
	w.replace(t, 0)
	run("damaged", nil, all)
	w.replace(t, 1)
	run("made anew, then changed", nil, all)
	run("lost", func(s *Swarm) {
		_ = s.do(func() { s.pieces.Clear(2) })
	}, func(piece uint32) bool { return piece != 2 })
	if err := folder.Delete(w.torrent.InfoHash); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left after the torrent was forgotten: %v", left)
	}
}
