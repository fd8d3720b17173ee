package dht

import (
	"hash/crc32"
	"math/bits"
	"net/netip"
)

// ID names a node or a torrent in the DHT's space.
type ID [20]byte

// prefix is the number of leading bits that a and b share, 160 if equal.
func prefix(a, b ID) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return 160
}

// compare orders a and b by their distance from target, the nearer first.
func compare(target, a, b ID) int {
	for i := range target {
		if x, y := a[i]^target[i], b[i]^target[i]; x != y {
			return int(x) - int(y)
		}
	}
	return 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// secured turns random bytes into an id that a node at ip may have (BEP 42).
func secured(random ID, ip netip.Addr) ID {
	sum := idSum(ip, random[19])
	random[0], random[1] = byte(sum>>24), byte(sum>>16)
	random[2] = byte(sum>>8)&0xf8 | random[2]&0x07
	return random
}

// secure says whether a node at ip may have the id (BEP 42). Addresses inside
// a network are exempt.
func secure(id ID, ip netip.Addr) bool {
	if reach(ip) < everywhere {
		return true
	}
	sum := idSum(ip, id[19])
	return id[0] == byte(sum>>24) && id[1] == byte(sum>>16) && id[2]&0xf8 == byte(sum>>8)&0xf8
}

// idSum is the checksum whose first 21 bits begin an id.
func idSum(ip netip.Addr, last byte) uint32 {
	ip = ip.Unmap()
	mask, raw := []byte{0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff}, ip.AsSlice()
	if ip.Is4() {
		mask = []byte{0x03, 0x0f, 0x3f, 0xff}
	}
	b := make([]byte, len(mask))
	for i := range mask {
		b[i] = raw[i] & mask[i]
	}
	b[0] |= (last & 7) << 5
	return crc32.Checksum(b, castagnoli)
}

// How far an address leads.
const (
	thisMachine = iota
	thisNetwork
	everywhere
)

func reach(a netip.Addr) int {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return thisMachine
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return thisNetwork
	}
	return everywhere
}

// usable says whether an address that someone at from told of can be spoken
// to: what is only on this machine or in this network means another one, or
// nobody, elsewhere.
func usable(from netip.Addr, a netip.AddrPort) bool {
	ip := a.Addr()
	return a.Port() != 0 && ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == "" &&
		!(ip.Is4() && (ip.As4()[0] == 0 || ip.As4()[0] >= 240)) && reach(ip) >= reach(from)
}
