package trackerd

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// connectionIDs makes and checks UDP connection ids without keeping any: 56
// bits of SipHash-2-4 over address and time, keyed by a secret of this run,
// and 8 bits that say which time.
type connectionIDs struct {
	k0, k1 uint64
	maxAge uint8 // in idSteps
}

// idStep is the resolution of an id's age; 256 of them must exceed its life.
const idStep = 16 * time.Second

// MaxIDLifetime is the longest time a connection id may be accepted.
const MaxIDLifetime = time.Hour

func idBucket(now time.Time) uint64 { return uint64(now.Unix()) / uint64(idStep/time.Second) }

// make returns the id of an address (16 bytes, IPv4 mapped) in a bucket.
func (c *connectionIDs) make(ip *[16]byte, bucket uint64) uint64 {
	h := siphash(c.k0, c.k1, binary.LittleEndian.Uint64(ip[:8]), binary.LittleEndian.Uint64(ip[8:]), bucket)
	return h&^0xff | bucket&0xff
}

// valid checks an id in constant time with respect to the secret.
func (c *connectionIDs) valid(id uint64, ip *[16]byte, bucket uint64) bool {
	age := uint8(bucket) - uint8(id)
	return age <= c.maxAge && c.make(ip, bucket-uint64(age))^id == 0
}

// siphash is SipHash-2-4 of three words.
func siphash(k0, k1, a, b, c uint64) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	for _, m := range [...]uint64{a, b, c, 24 << 56} {
		v3 ^= m
		for range 2 {
			v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		}
		v0 ^= m
	}
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
