package ledger

import (
	"fmt"

	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// The comb of a prepared key: a scalar is read as combTeeth rows of combSpacing
// bits, whose columns index a table of sums of the rows' bases (Lim and Lee).
const (
	combTeeth   = 6
	combSpacing = 43 // combTeeth x combSpacing >= 256
)

// PreparedKey verifies many signatures of one key, each in about half the time of
// [VerifySignature]. Making it costs as much as one verification, and it takes 8
// KiB. It is read-only and safe for concurrent use.
type PreparedKey struct {
	table [1 << combTeeth]decred.JacobianPoint // [0] is not used; the others are affine
}

// Prepare makes the table of a key; it fails for bytes that are no key.
func Prepare(key PublicKey) (*PreparedKey, error) {
	q, err := decred.ParsePubKey(key[:])
	if err != nil {
		return nil, fmt.Errorf("prepare key: %w", err)
	}
	p := new(PreparedKey)
	var base decred.JacobianPoint
	q.AsJacobian(&base)
	for tooth := range combTeeth {
		row := 1 << tooth
		p.table[row].Set(&base)
		for i := 1; i < row; i++ { // sums of the rows below with this one
			decred.AddNonConst(&p.table[i], &base, &p.table[row+i])
		}
		if tooth+1 < combTeeth {
			for range combSpacing {
				var twice decred.JacobianPoint
				decred.DoubleNonConst(&base, &twice)
				base.Set(&twice)
			}
		}
	}
	p.normalize()
	return p, nil
}

// normalize makes all points affine with one inversion (Montgomery's trick), so
// that adding them is cheap. No entry is the point at infinity: the rows' bases are
// multiples of the key by distinct numbers below the group's order.
func (p *PreparedKey) normalize() {
	n := len(p.table)
	before := make([]decred.FieldVal, n) // product of all z up to here
	var product decred.FieldVal
	product.SetInt(1)
	for i := 1; i < n; i++ {
		before[i].Set(&product)
		product.Mul(&p.table[i].Z).Normalize()
	}
	product.Inverse()
	for i := n - 1; i > 0; i-- {
		t := &p.table[i]
		var inverse, square decred.FieldVal
		inverse.Mul2(&product, &before[i])
		product.Mul(&t.Z).Normalize()
		square.SquareVal(&inverse)
		t.X.Mul(&square).Normalize()
		t.Y.Mul(square.Mul(&inverse)).Normalize()
		t.Z.SetInt(1)
	}
}

// mul sets result to k times the key.
func (p *PreparedKey) mul(k *decred.ModNScalar, result *decred.JacobianPoint) {
	bits := k.Bytes() // big-endian
	var sum, next decred.JacobianPoint
	for column := combSpacing - 1; column >= 0; column-- {
		decred.DoubleNonConst(&sum, &next)
		index := 0
		for tooth := range combTeeth {
			if bit := tooth*combSpacing + column; bit < 256 {
				index |= int(bits[31-bit/8]>>(bit%8)&1) << tooth
			}
		}
		if index == 0 {
			sum.Set(&next)
			continue
		}
		decred.AddNonConst(&next, &p.table[index], &sum)
	}
	result.Set(&sum)
}

// Verify is [VerifySignature] for the prepared key.
func (p *PreparedKey) Verify(digest [32]byte, sig Signature) bool {
	r, s, ok := sig.scalars()
	if !ok {
		return false
	}
	var z, u1, u2 decred.ModNScalar
	z.SetByteSlice(digest[:])
	s.InverseNonConst()
	u1.Mul2(&z, &s)
	u2.Mul2(&r, &s)
	var p1, p2, sum decred.JacobianPoint
	decred.ScalarBaseMultNonConst(&u1, &p1)
	p.mul(&u2, &p2)
	decred.AddNonConst(&p1, &p2, &sum)
	return sig.names(&sum)
}
