package chanlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/channel"
)

// FuzzScan: whatever a file holds is read as records or told of.
func FuzzScan(f *testing.F) {
	dir := f.TempDir()
	s := &channel.Snapshot{Role: channel.RolePayer, Stage: channel.Opened}
	l, err := Create(dir, []channel.Record{{Snapshot: s}}, false)
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[:4096])
	f.Add(raw[:100])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := 0
		rest, err := scan(raw, func(r channel.Record) error {
			n++
			return nil
		})
		if err == nil && !rest && n == 0 && len(raw) > len(magic)+frameHeader+maxFrame {
			for _, b := range raw[len(magic):] {
				if b != 0 {
					t.Fatal("bytes that are no record were not told of")
				}
			}
		}
	})
}

// BenchmarkSync is the floor: one record made durable.
func BenchmarkSync(b *testing.B) {
	dir := b.TempDir() // TMPDIR must be on a disk for a real sync
	j, err := Create(dir, nil, false)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	r := channel.Record{Pay: &channel.Pay{Bytes: 5}}
	for b.Loop() {
		mark, err := j.Append(r)
		if err == nil {
			err = j.Wait(mark)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
