package wire

import (
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"slices"
)

// AllowedFastSet appends the pieces that a peer with an IPv4 address may ask for
// while it is choked, k of them or all of a torrent that has fewer (BEP 6): they
// follow from the address and the info hash, so that a peer that calls again, or
// its neighbours in the same /24, get no others. Of other addresses there are none.
func AllowedFastSet(dst []uint32, addr netip.Addr, infoHash [20]byte, pieces uint32, k int) []uint32 {
	addr = addr.Unmap()
	if !addr.Is4() || pieces == 0 {
		return dst
	}
	ip := addr.As4()
	ip[3] = 0
	var sum [sha1.Size]byte
	x := append(ip[:], infoHash[:]...)
	from := len(dst)
	for k = min(k, int(pieces)); len(dst)-from < k; x = sum[:] {
		sum = sha1.Sum(x)
		for i := 0; i < sha1.Size && len(dst)-from < k; i += 4 {
			if at := binary.BigEndian.Uint32(sum[i:]) % pieces; !slices.Contains(dst[from:], at) {
				dst = append(dst, at)
			}
		}
	}
	return dst
}
