package wallet

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// stream is a deterministic source of test bytes.
type stream struct {
	seed byte
	n    uint64
	buf  []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.buf) == 0 {
			var in [9]byte
			in[0] = s.seed
			binary.BigEndian.PutUint64(in[1:], s.n)
			s.n++
			sum := sha256.Sum256(in[:])
			s.buf = sum[:]
		}
		p[i], s.buf = s.buf[0], s.buf[1:]
	}
	return len(p), nil
}

var quickKDF = KDF{Time: 1, MemoryKiB: 8, Threads: 1}

func TestKeystoreRoundTrip(t *testing.T) {
	entropy := &stream{seed: 1}
	for _, tc := range []struct {
		name string
		key  []byte
		mode Mode
		kdf  KDF
	}{
		{"password", []byte("correct horse"), ByPassword, quickKDF},
		{"key file", bytes.Repeat([]byte{9}, 32), ByKeyFile, KeyFileKDF},
		{"empty password", nil, ByPassword, quickKDF},
	} {
		box, err := Seal([]byte("the secret"), tc.key, tc.mode, tc.kdf, entropy)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if bytes.Contains(box, []byte("secret")) {
			t.Fatalf("%s: the secret is in the clear", tc.name)
		}
		if mode, err := KeystoreMode(box); err != nil || mode != tc.mode {
			t.Errorf("%s: mode %d, %v", tc.name, mode, err)
		}
		got, err := Unseal(box, tc.key)
		if err != nil || string(got) != "the secret" {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
		if _, err := Unseal(box, append([]byte("x"), tc.key...)); !errors.Is(err, ErrPassword) {
			t.Errorf("%s: wrong key: %v", tc.name, err)
		}
	}
}

func TestKeystoreRefusesEveryAlteredBit(t *testing.T) {
	box, err := Seal([]byte("the secret"), nil, ByPassword, quickKDF, &stream{seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range box {
		for bit := range 8 {
			bad := bytes.Clone(box)
			bad[i] ^= 1 << bit
			if i >= 10 && i < 19 && headerKDF(bad).MemoryKiB > 1<<16 {
				continue // within limits, but too slow for a test of every bit
			}
			if got, err := Unseal(bad, nil); err == nil {
				t.Fatalf("byte %d bit %d altered: opened as %q", i, bit, got)
			}
		}
	}
	for n := range len(box) {
		if _, err := Unseal(box[:n], nil); err == nil {
			t.Fatalf("cut to %d bytes: opened", n)
		}
	}
}

func TestKeystoreLimits(t *testing.T) {
	good, err := Seal([]byte("s"), nil, ByPassword, quickKDF, &stream{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []KDF{{0, 8, 1}, {MaxKDFTime + 1, 8, 1}, {1, 7, 1}, {1, MaxKDFMemoryKiB + 1, 1}, {1, 1 << 31, 1}, {1, 8, 0}, {1, 1024, 17}, {1, 8, 2}} {
		if _, err := Seal([]byte("s"), nil, ByPassword, k, &stream{}); !errors.Is(err, ErrKeystoreLimit) {
			t.Errorf("Seal with %+v: %v", k, err)
		}
		bad := bytes.Clone(good)
		binary.BigEndian.PutUint32(bad[10:], k.Time)
		binary.BigEndian.PutUint32(bad[14:], k.MemoryKiB)
		bad[18] = k.Threads
		if _, err := Unseal(bad, nil); !errors.Is(err, ErrKeystoreLimit) {
			t.Errorf("Unseal with %+v: %v", k, err)
		}
	}
	if _, err := Seal(make([]byte, MaxSecretBytes+1), nil, ByPassword, quickKDF, &stream{}); err == nil {
		t.Error("oversized secret sealed")
	}
	if _, err := Seal([]byte("s"), nil, 3, quickKDF, &stream{}); err == nil {
		t.Error("unknown mode sealed")
	}
	if _, err := Seal([]byte("s"), nil, ByPassword, quickKDF, io.LimitReader(&stream{}, 39)); err == nil {
		t.Error("short entropy accepted")
	}
}

func FuzzUnseal(f *testing.F) {
	box, err := Seal([]byte("seed"), nil, ByPassword, quickKDF, &stream{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(box)
	f.Add(box[:keystoreHeader])
	f.Add([]byte(keystoreMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= keystoreHeader {
			if k := headerKDF(data); k.MemoryKiB > 1<<12 || k.Time > 4 {
				return // allowed, but slow
			}
		}
		secret, err := Unseal(data, nil)
		if err == nil && !bytes.Equal(data, box) {
			t.Fatalf("opened a keystore nobody sealed: %q", secret)
		}
	})
}

func BenchmarkUnsealPassword(b *testing.B) {
	box, err := Seal([]byte("s"), []byte("p"), ByPassword, PasswordKDF, &stream{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Unseal(box, []byte("p")); err != nil {
			b.Fatal(err)
		}
	}
}
