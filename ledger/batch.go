package ledger

import (
	"io"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

// SignatureCheck is one signature to verify.
type SignatureCheck struct {
	Key       PublicKey
	Digest    [32]byte
	Signature Signature
}

// Valid verifies the one signature, as VerifySignature does.
func (c *SignatureCheck) Valid() bool { return VerifySignature(c.Key, c.Digest, c.Signature) }

const (
	// batchMin is the size below which single verification is faster.
	batchMin = 8
	// batchMax bounds the points of one multi-exponentiation and so memory.
	batchMax = 4096
	// coefficientSize is the length of a random coefficient: 128 bits.
	coefficientSize = 16
)

// VerifyBatch verifies signatures together and returns the index of the first
// bad one, or -1 when all are good. It agrees with VerifySignature except with
// probability 2^-128, given that the bytes of entropy are unpredictable to
// the signers. A nil or failing entropy source means one by one. Entropy never
// influences a result other than through that chance, so the answer may be
// used in a replicated state.
//
// For a signature (r, s, v) the nonce point R is known from (r, v), and
// R = z/s*G + r/s*Q. The sum of these equations with random coefficients is
// one multi-exponentiation over 2n+1 points; the group order is prime, so
// there is no cofactor by which batch and single checks could differ.
func VerifyBatch(checks []SignatureCheck, entropy io.Reader) (firstBad int) {
	for start := 0; start < len(checks); start += batchMax {
		part := checks[start:min(start+batchMax, len(checks))]
		if bad := findBad(part, entropy, 1, nil); len(bad) > 0 {
			return start + bad[0]
		}
	}
	return -1
}

// BadSignatures is VerifyBatch that returns the indices of all bad ones in
// ascending order.
func BadSignatures(checks []SignatureCheck, entropy io.Reader) []int {
	var bad []int
	for start := 0; start < len(checks); start += batchMax {
		part := checks[start:min(start+batchMax, len(checks))]
		for _, i := range findBad(part, entropy, len(part), nil) {
			bad = append(bad, start+i)
		}
	}
	return bad
}

// findBad appends up to most indices of bad signatures to bad, halving a batch
// that fails.
func findBad(checks []SignatureCheck, entropy io.Reader, most int, bad []int) []int {
	return searchBad(checks, 0, entropy, most, bad)
}

func searchBad(checks []SignatureCheck, base int, entropy io.Reader, most int, bad []int) []int {
	if len(checks) < batchMin || entropy == nil {
		for i := range checks {
			if len(bad) < most && !checks[i].Valid() {
				bad = append(bad, base+i)
			}
		}
		return bad
	}
	ok, err := batchValid(checks, entropy)
	if err != nil {
		return searchBad(checks, base, nil, most, bad)
	}
	if ok {
		return bad
	}
	half := len(checks) / 2
	bad = searchBad(checks[:half], base, entropy, most, bad)
	if len(bad) >= most {
		return bad
	}
	return searchBad(checks[half:], base+half, entropy, most, bad)
}

// batchValid reports whether all signatures are good. The error is that of
// the entropy source.
func batchValid(checks []SignatureCheck, entropy io.Reader) (bool, error) {
	n := len(checks)
	coins := make([]byte, n*coefficientSize)
	if _, err := io.ReadFull(entropy, coins); err != nil {
		return false, err
	}
	points := make([]secp256k1.G1Affine, 2*n+1)
	scalars := make([]fr.Element, 2*n+1)
	inverse := make([]fr.Element, n)
	for i := range checks {
		c := &checks[i]
		if _, s, ok := c.Signature.scalars(); !ok {
			return false, nil
		} else if b := s.Bytes(); inverse[i].SetBytesCanonical(b[:]) != nil {
			return false, nil
		}
		if !c.Key.point(&points[2*i]) ||
			!liftX(&points[2*i+1], c.Signature[:32], c.Signature[64] == 1) {
			return false, nil
		}
		// Minus R, so that its coefficient stays 128 bits short.
		points[2*i+1].Neg(&points[2*i+1])
	}
	inverse = fr.BatchInvert(inverse)
	var base fr.Element
	for i := range checks {
		c := &checks[i]
		a := &scalars[2*i+1]
		a.SetBytes(coins[i*coefficientSize : (i+1)*coefficientSize])
		if a.IsZero() {
			a.SetOne()
		}
		var u, r, z fr.Element
		u.Mul(a, &inverse[i])
		r.SetBytes(c.Signature[:32])
		z.SetBytes(c.Digest[:]) // reduced modulo the group order
		scalars[2*i].Mul(&u, &r)
		base.Add(&base, z.Mul(&z, &u))
	}
	scalars[2*n] = base
	points[2*n] = generator
	var sum secp256k1.G1Jac
	// One task: callers that own more cores split the batch instead.
	if _, err := sum.MultiExp(points, scalars, ecc.MultiExpConfig{NbTasks: 1}); err != nil {
		return false, nil
	}
	return sum.Z.IsZero(), nil
}

var (
	_, generator = secp256k1.Generators()
	curveB       = fp.NewElement(7)
)

// liftX sets p to the curve point with the given x (32 bytes, canonical) and
// parity of y, and reports whether there is one.
func liftX(p *secp256k1.G1Affine, x []byte, odd bool) bool {
	if p.X.SetBytesCanonical(x) != nil {
		return false
	}
	var y2 fp.Element
	y2.Square(&p.X).Mul(&y2, &p.X).Add(&y2, &curveB)
	if p.Y.Sqrt(&y2) == nil {
		return false
	}
	// Bits leaves Montgomery form; bit 0 is the parity.
	if (p.Y.Bits()[0]&1 == 1) != odd {
		p.Y.Neg(&p.Y)
	}
	return true
}
