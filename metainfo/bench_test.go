package metainfo

import (
	"fmt"
	"testing"
	"time"

	"github.com/bttnet/btt/bencode"
)

// bigTorrent has 20,000 files and 25,000 pieces: about 2.4 MB.
func bigTorrent(t testing.TB, version Version) []byte {
	b := Builder{Name: "big", PieceLength: 256 << 10, Version: version, CreationDate: time.Unix(1_700_000_000, 0)}
	for i := range 20_000 {
		b.Files = append(b.Files, BuildFile{
			Path:   []string{fmt.Sprintf("directory-%03d", i/100), fmt.Sprintf("some-file-name-%05d-with-a-usual-length.bin", i)},
			Length: 327_680 + int64(i),
		})
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	h := Hashes{Pieces: make([]byte, 20*l.NumPieces), Layers: make([][]byte, len(l.Files))}
	for i, f := range l.Files {
		if !f.Pad {
			h.Layers[i] = make([]byte, 32*numPieces(f.Length, l.PieceLength))
			copy(h.Layers[i], fmt.Sprint(i))
		}
	}
	torrent, err := b.Build(h)
	if err != nil {
		t.Fatal(err)
	}
	return torrent.Encode()
}

func BenchmarkParse20kFiles(b *testing.B) {
	for name, version := range map[string]Version{"v1": V1, "v2": V2, "hybrid": Hybrid} {
		b.Run(name, func(b *testing.B) {
			data := bigTorrent(b, version)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScan20kFiles(b *testing.B) {
	for name, o := range map[string]bencode.Options{"strict": {}, "lenient": {Lenient: true}} {
		b.Run(name, func(b *testing.B) {
			data := bigTorrent(b, V1)
			var doc bencode.Doc
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := doc.Parse(data, o); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(doc.Root().Items()), "tokens")
		})
	}
}

func BenchmarkDiskFiles20k(b *testing.B) {
	torrent, err := Parse(bigTorrent(b, V1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		torrent.Info.DiskFiles()
	}
}

func BenchmarkEncode20kFiles(b *testing.B) {
	torrent, err := Parse(bigTorrent(b, V1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		torrent.Encode()
	}
}

func BenchmarkHashPiece1MiB(b *testing.B) {
	data := make([]byte, 1<<20)
	leaves := make([]byte, 0, 64*hashSize)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		PieceRoot(AppendLeaves(leaves, data), 1<<30, 1<<20)
	}
}
