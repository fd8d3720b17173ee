package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// TestPreparedKey: a prepared key agrees with VerifySignature on good signatures
// and on every kind of bad one.
func TestPreparedKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, err := NewPrivateKey(sha256.Sum256(binary.BigEndian.AppendUint64(nil, rapid.Uint64().Draw(t, "key"))))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(k.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, rapid.Uint64().Draw(t, "message")))
			sig, err := k.Sign(digest)
			if err != nil {
				t.Fatal(err)
			}
			if !p.Verify(digest, sig) {
				t.Fatal("a good signature is refused")
			}
			bad := sig
			bad[rapid.IntRange(0, 64).Draw(t, "byte")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
			if got, want := p.Verify(digest, bad), VerifySignature(k.PublicKey(), digest, bad); got != want || got {
				t.Fatalf("a changed signature: %v, want %v", got, want)
			}
			digest[rapid.IntRange(0, 31).Draw(t, "digest byte")] ^= 4
			if p.Verify(digest, sig) {
				t.Fatal("a signature of another digest passes")
			}
		}
	})
	for _, n := range []uint64{1, 2, 3, 1 << 43, 1<<43 + 1} { // keys that meet the comb's own points
		var scalar [32]byte
		binary.BigEndian.PutUint64(scalar[24:], n)
		k, err := NewPrivateKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Prepare(k.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(20) {
			sig, err := k.Sign([32]byte{i})
			if err != nil || !p.Verify([32]byte{i}, sig) {
				t.Fatalf("key %d, message %d: %v", n, i, err)
			}
		}
	}
	if _, err := Prepare(PublicKey{2, 1}); err == nil {
		t.Error("no key is prepared")
	}
}

func BenchmarkPreparedKey(b *testing.B) {
	k, _ := NewPrivateKey([32]byte{31: 7})
	for b.Loop() {
		if _, err := Prepare(k.PublicKey()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyPrepared(b *testing.B) {
	k, _ := NewPrivateKey([32]byte{31: 7})
	p, _ := Prepare(k.PublicKey())
	sig, _ := k.Sign([32]byte{1})
	b.Run("prepared", func(b *testing.B) {
		for b.Loop() {
			p.Verify([32]byte{1}, sig)
		}
	})
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			VerifySignature(k.PublicKey(), [32]byte{1}, sig)
		}
	})
}
