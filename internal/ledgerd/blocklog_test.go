package ledgerd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/bttnet/btt/ledger"
)

// frames makes a log of blocks with n transactions each and its record ends.
func frames(counts ...int) (log []byte, ends []int) {
	previous := [32]byte{1}
	for i, n := range counts {
		b := &block{Header: ledger.Header{Height: uint64(i) + 1, Time: 100, LedgerTime: 50, Prev: previous}}
		for j := range n {
			b.Raws = append(b.Raws, fmt.Appendf(nil, "transaction %d of block %d", j, i))
		}
		b.RawsRoot = treeHash(b.Raws)
		previous = b.Header.Hash(ledger.Network{9})
		log = appendFrame(log, b)
		ends = append(ends, len(log))
	}
	return log, ends
}

// readAll reads a log to its end and returns the blocks and the final error.
func readAll(log []byte) (heights []uint64, offset int64, err error) {
	r := &logReader{src: bytes.NewReader(log), size: int64(len(log))}
	for {
		b, err := r.next()
		if err != nil {
			return heights, r.offset, err
		}
		for i, raw := range b.Raws {
			if got := log[b.offsets[i]:][:len(raw)]; !bytes.Equal(got, raw) {
				return heights, r.offset, fmt.Errorf("offset of transaction %d points at %q, want %q", i, got, raw)
			}
		}
		heights = append(heights, b.Header.Height)
	}
}

func TestLogRoundTrip(t *testing.T) {
	log, _ := frames(0, 1, 2, 3, 100)
	heights, offset, err := readAll(log)
	if err != io.EOF || len(heights) != 5 || offset != int64(len(log)) {
		t.Fatalf("blocks %v to offset %d, error %v", heights, offset, err)
	}
}

// TestTornTail cuts a log at every byte: the blocks before the cut are read, the
// rest is known as torn, whether it is missing or zeros.
func TestTornTail(t *testing.T) {
	log, ends := frames(1, 0, 30)
	for cut := range log {
		whole := 0
		for _, end := range ends {
			if end <= cut {
				whole++
			}
		}
		heights, offset, err := readAll(log[:cut])
		want := errTorn
		if cut == 0 || whole > 0 && ends[whole-1] == cut {
			want = io.EOF
		}
		if !errors.Is(err, want) || len(heights) != whole {
			t.Fatalf("cut at %d: %d blocks, error %v, want %d and %v", cut, len(heights), err, whole, want)
		}
		if whole > 0 && offset != int64(ends[whole-1]) {
			t.Fatalf("cut at %d: offset %d, want %d", cut, offset, ends[whole-1])
		}
	}
	// Reserved space that was never written.
	padded := append(bytes.Clone(log[:ends[1]]), make([]byte, 3000)...)
	if heights, _, err := readAll(padded); !errors.Is(err, errTorn) || len(heights) != 2 {
		t.Fatalf("zeros at the end: %d blocks, %v", len(heights), err)
	}
	// A record of full length whose middle never reached the disk.
	holed := bytes.Clone(log)
	at := (ends[1] + 2*sector) / sector * sector
	clear(holed[at : at+sector])
	if heights, _, err := readAll(holed); !errors.Is(err, errTorn) || len(heights) != 2 {
		t.Fatalf("a missing sector: %d blocks, %v", len(heights), err)
	}
}

// TestBitFlips alters each bit of a log: none passes as an intact or merely torn
// log, not even in the last record.
func TestBitFlips(t *testing.T) {
	log, _ := frames(1, 0, 3)
	for i := range log {
		for bit := range 8 {
			bad := bytes.Clone(log)
			bad[i] ^= 1 << bit
			if heights, _, err := readAll(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d bit %d: %d blocks, error %v, want damage", i, bit, len(heights), err)
			}
		}
	}
}

func TestHolesInsideAreDamage(t *testing.T) {
	log, ends := frames(40, 40, 40)
	holed := bytes.Clone(log)
	clear(holed[ends[0]+600 : ends[0]+600+2*sector])
	if heights, _, err := readAll(holed); !errors.Is(err, ErrDamaged) || len(heights) != 1 {
		t.Fatalf("a hole before the last record: %d blocks, %v", len(heights), err)
	}
}

// TestTreeHash checks the shape of the tree against RFC 6962's definition.
func TestTreeHash(t *testing.T) {
	var reference func(raws [][]byte) [32]byte
	reference = func(raws [][]byte) [32]byte {
		switch len(raws) {
		case 0:
			return sha256.Sum256(nil)
		case 1:
			return sha256.Sum256(append([]byte{0}, raws[0]...))
		}
		k := 1
		for 2*k < len(raws) {
			k *= 2
		}
		l, r := reference(raws[:k]), reference(raws[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
	var raws [][]byte
	for n := range 40 {
		if got, want := treeHash(raws), reference(raws); got != want {
			t.Fatalf("%d leaves: %x, want %x", n, got, want)
		}
		raws = append(raws, fmt.Appendf(nil, "leaf %d", n))
	}
}

func FuzzLogReader(f *testing.F) {
	log, ends := frames(1, 0, 3)
	f.Add(log)
	f.Add(log[:ends[0]])
	f.Add(log[:ends[1]-5])
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &logReader{src: bytes.NewReader(data), size: int64(len(data))}
		var again []byte
		for {
			b, err := r.next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, errTorn) && !errors.Is(err, ErrDamaged) {
					t.Fatalf("unexpected error %v", err)
				}
				break
			}
			again = appendFrame(again, b)
		}
		if !bytes.Equal(again, data[:r.offset]) {
			t.Fatal("a log that was read does not encode to the same bytes")
		}
	})
}
