package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// stream is deterministic entropy for tests.
type stream struct {
	seed [32]byte
	n    uint64
}

func (s *stream) Read(p []byte) (int, error) {
	for i := 0; i < len(p); {
		var b [40]byte
		copy(b[:], s.seed[:])
		binary.BigEndian.PutUint64(b[32:], s.n)
		s.n++
		sum := sha256.Sum256(b[:])
		i += copy(p[i:], sum[:])
	}
	return len(p), nil
}

func entropy(name string) io.Reader { return &stream{seed: sha256.Sum256([]byte(name))} }

func testKey(name string) *PrivateKey {
	k, err := NewPrivateKey(sha256.Sum256([]byte(name)))
	if err != nil {
		panic(err)
	}
	return k
}

func signedChecks(n int) []SignatureCheck {
	list := make([]SignatureCheck, n)
	for i := range list {
		k := testKey(fmt.Sprint("signer ", i))
		d := sha256.Sum256([]byte(fmt.Sprint("message ", i)))
		sig, err := k.Sign(d)
		if err != nil {
			panic(err)
		}
		list[i] = SignatureCheck{k.PublicKey(), d, sig}
	}
	return list
}

func TestVerifyBatchFindsEachCulprit(t *testing.T) {
	good := signedChecks(40)
	if bad := VerifyBatch(good, entropy("good")); bad != -1 {
		t.Fatalf("good batch: bad %d", bad)
	}
	for i := range good {
		c := append([]SignatureCheck(nil), good...)
		switch i % 5 {
		case 0:
			c[i].Digest[31] ^= 1
		case 1:
			c[i].Signature[64] ^= 1
		case 2:
			c[i].Signature[40] ^= 1
		case 3:
			c[i].Signature[3] ^= 1
		case 4:
			c[i].Key = good[(i+1)%40].Key
		}
		if c[i].Valid() {
			t.Fatalf("%d still verifies singly", i)
		}
		if bad := VerifyBatch(c, entropy("bad")); bad != i {
			t.Errorf("culprit %d found as %d", i, bad)
		}
	}
	two := append([]SignatureCheck(nil), good...)
	two[7].Key, two[23].Key = two[23].Key, two[7].Key
	if bad := BadSignatures(two, entropy("two")); fmt.Sprint(bad) != "[7 23]" {
		t.Errorf("swapped keys: bad %v", bad)
	}
	// Errors that cancel under equal coefficients must not pass: the same
	// signature twice, one with its equation negated is impossible, but two
	// digests shifted in opposite directions with the same s would cancel.
	twin := append([]SignatureCheck(nil), good...)
	twin[1] = twin[0]
	shift(&twin[0].Digest, 1)
	shift(&twin[1].Digest, -1)
	if bad := BadSignatures(twin, entropy("twin")); fmt.Sprint(bad) != "[0 1]" {
		t.Errorf("cancelling errors: bad %v", bad)
	}
}

func shift(d *[32]byte, by int64) {
	v := new(big.Int).SetBytes(d[:])
	v.Add(v, big.NewInt(by)).FillBytes(d[:])
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestVerifyBatchWithoutEntropy(t *testing.T) {
	c := signedChecks(20)
	for _, r := range []io.Reader{nil, brokenReader{}} {
		if bad := VerifyBatch(c, r); bad != -1 {
			t.Errorf("good batch: %d", bad)
		}
	}
	c[11].Digest[0] ^= 1
	if bad := VerifyBatch(c, brokenReader{}); bad != 11 {
		t.Errorf("bad = %d, want 11", bad)
	}
	if VerifyBatch(nil, nil) != -1 {
		t.Error("empty batch is bad")
	}
}

func TestVerifyBatchRepeatedAndOpposite(t *testing.T) {
	c := signedChecks(4)
	// Equal and opposite points must not upset the multi-exponentiation.
	var list []SignatureCheck
	for range 8 {
		list = append(list, c...)
	}
	if bad := VerifyBatch(list, entropy("repeated")); bad != -1 {
		t.Errorf("repeated: %d", bad)
	}
}

var order, _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)

// edgeScalars are values of r and s at the borders of the rules.
func edgeScalars() [][]byte {
	half := new(big.Int).Rsh(order, 1)
	var list [][]byte
	for _, v := range []*big.Int{
		new(big.Int), big.NewInt(1), big.NewInt(2), half, new(big.Int).Add(half, big.NewInt(1)),
		new(big.Int).Sub(order, big.NewInt(1)), order, new(big.Int).Add(order, big.NewInt(1)),
		new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)),
	} {
		list = append(list, v.FillBytes(make([]byte, 32)))
	}
	return list
}

// TestBatchEqualsSingleAtEdges compares batch, single and recovery over all
// combinations of edge values.
func TestBatchEqualsSingleAtEdges(t *testing.T) {
	good := signedChecks(8)
	base := good[0]
	values := append(edgeScalars(), base.Signature[:32], base.Signature[32:64])
	digests := [][32]byte{{}, base.Digest, [32]byte(order.FillBytes(make([]byte, 32)))}
	valid := 0
	for _, r := range values {
		for _, s := range values {
			for _, v := range []byte{0, 1, 2, 3, 27, 28, 255} {
				for _, d := range digests {
					c := SignatureCheck{Key: base.Key, Digest: d}
					copy(c.Signature[:32], r)
					copy(c.Signature[32:64], s)
					c.Signature[64] = v
					single := compareOracles(t, good, c)
					if single {
						valid++
					}
					// The key that recovery yields must verify under both.
					if key, err := RecoverKey(d, c.Signature); err == nil {
						c.Key = key
						if !compareOracles(t, good, c) {
							t.Fatalf("recovered key refused for r %x s %x v %d", r, s, v)
						}
					}
				}
			}
		}
	}
	if valid != 1 {
		t.Errorf("%d of the edge signatures verify under the one key, want 1", valid)
	}
}

func compareOracles(t *testing.T, good []SignatureCheck, c SignatureCheck) bool {
	t.Helper()
	list := append(append([]SignatureCheck(nil), good...), c)
	single := c.Valid()
	batch, err := batchValid(list, entropy("edge"))
	if err != nil || batch != single {
		t.Fatalf("batch %v, single %v, %v for %x %x", batch, single, err, c.Key, c.Signature)
	}
	key, err := RecoverKey(c.Digest, c.Signature)
	if recovered := err == nil && key == c.Key; recovered != single {
		t.Fatalf("recovery %v, single %v for %x", recovered, single, c.Signature)
	}
	return single
}

func TestBatchEqualsSingleOnMutations(t *testing.T) {
	good := signedChecks(16)
	rapid.Check(t, func(t *rapid.T) {
		list := append([]SignatureCheck(nil), good...)
		for range rapid.IntRange(0, 3).Draw(t, "mutations") {
			c := &list[rapid.IntRange(0, 15).Draw(t, "which")]
			bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
			switch rapid.IntRange(0, 2).Draw(t, "part") {
			case 0:
				c.Key[rapid.IntRange(0, 32).Draw(t, "at")] ^= bit
			case 1:
				c.Digest[rapid.IntRange(0, 31).Draw(t, "at")] ^= bit
			case 2:
				c.Signature[rapid.IntRange(0, 64).Draw(t, "at")] ^= bit
			}
		}
		var want []int
		for i := range list {
			if !list[i].Valid() {
				want = append(want, i)
			}
		}
		if got := BadSignatures(list, entropy("mutations")); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("batch %v, single %v", got, want)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	k := testKey("bench")
	var d [32]byte
	for b.Loop() {
		if _, err := k.Sign(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyBatch(b *testing.B) {
	all := signedChecks(512)
	for _, n := range []int{1, 16, 64, 128, 256, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := entropy("bench")
			b.ReportAllocs()
			for b.Loop() {
				if VerifyBatch(all[:n], r) != -1 {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/sig")
		})
	}
}
