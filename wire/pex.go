package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/bttnet/btt/bencode"
)

// MaxPEX is the greatest number of peers added, and of peers dropped, in one
// peer exchange message (BEP 11); of what comes beyond, the rest is not read.
const MaxPEX = 50

// PEXFlags tell about a peer of a peer exchange message (BEP 11).
type PEXFlags uint8

// Flags of a peer.
const (
	PEXEncrypts   PEXFlags = 0x01 // it prefers encrypted connections
	PEXUploadOnly PEXFlags = 0x02 // it is complete or wants nothing (BEP 21)
	PEXuTP        PEXFlags = 0x04 // it speaks uTP
	PEXHolepunch  PEXFlags = 0x08 // it speaks ut_holepunch
	PEXReachable  PEXFlags = 0x10 // the sender has called it: it can be reached
)

// PEXPeer is a peer that the sender of a message is connected to.
type PEXPeer struct {
	Addr  netip.AddrPort
	Flags PEXFlags
}

// PEX is a peer exchange message: what changed since the sender's last one.
type PEX struct {
	Added   []PEXPeer
	Dropped []netip.AddrPort
}

// Append appends the payload to dst. Every address must be valid; the caller
// keeps to [MaxPEX].
func (p *PEX) Append(dst []byte) []byte {
	var added, added6, flags, flags6, dropped, dropped6 []byte
	for _, a := range p.Added {
		if a.Addr.Addr().Unmap().Is4() {
			added, flags = appendCompact(added, a.Addr), append(flags, byte(a.Flags))
		} else {
			added6, flags6 = appendCompact(added6, a.Addr), append(flags6, byte(a.Flags))
		}
	}
	for _, a := range p.Dropped {
		if a.Addr().Unmap().Is4() {
			dropped = appendCompact(dropped, a)
		} else {
			dropped6 = appendCompact(dropped6, a)
		}
	}
	var d bencode.Dict
	d.SetBytes("added", added)
	d.SetBytes("added.f", flags)
	d.SetBytes("added6", added6)
	d.SetBytes("added6.f", flags6)
	d.SetBytes("dropped", dropped)
	d.SetBytes("dropped6", dropped6)
	return d.Append(dst)
}

func appendCompact(dst []byte, a netip.AddrPort) []byte {
	dst = append(dst, a.Addr().Unmap().AsSlice()...)
	return binary.BigEndian.AppendUint16(dst, a.Port())
}

// ParsePEX reads a peer exchange message: at most [MaxPEX] peers of each list.
// Addresses that nobody can have and port 0 are left out, and missing flags
// count as none. The error wraps [ErrExtended].
func ParsePEX(b []byte) (PEX, error) {
	var p PEX
	doc, err := bencode.Parse(b, bencode.Options{Lenient: true, AllowTrailing: true, MaxDepth: 4, MaxItems: 64})
	if err != nil {
		return p, fmt.Errorf("read peer exchange: %w: %w", ErrExtended, err)
	}
	root := doc.Root()
	if root.Kind() != bencode.Dictionary {
		return p, fmt.Errorf("read peer exchange: no dictionary: %w", ErrExtended)
	}
	for _, l := range []struct {
		key, flags string
		size       int
	}{{"added", "added.f", 6}, {"added6", "added6.f", 18}} {
		flags := root.Get(l.flags).Bytes()
		err := eachCompact(root.Get(l.key).Bytes(), l.size, func(i int, a netip.AddrPort) bool {
			if len(p.Added) == MaxPEX {
				return false
			}
			peer := PEXPeer{Addr: a}
			if i < len(flags) {
				peer.Flags = PEXFlags(flags[i])
			}
			p.Added = append(p.Added, peer)
			return true
		})
		if err != nil {
			return PEX{}, err
		}
	}
	for _, l := range []struct {
		key  string
		size int
	}{{"dropped", 6}, {"dropped6", 18}} {
		err := eachCompact(root.Get(l.key).Bytes(), l.size, func(_ int, a netip.AddrPort) bool {
			if len(p.Dropped) == MaxPEX {
				return false
			}
			p.Dropped = append(p.Dropped, a)
			return true
		})
		if err != nil {
			return PEX{}, err
		}
	}
	return p, nil
}

// eachCompact calls f with each usable address of a compact list until f
// returns false.
func eachCompact(b []byte, size int, f func(i int, a netip.AddrPort) bool) error {
	if len(b)%size != 0 {
		return fmt.Errorf("read peer exchange: %d bytes of addresses of %d bytes: %w", len(b), size, ErrExtended)
	}
	for i := 0; len(b) > 0; i, b = i+1, b[size:] {
		ip, _ := netip.AddrFromSlice(b[:size-2])
		port := binary.BigEndian.Uint16(b[size-2:])
		if ip = ip.Unmap(); port == 0 || ip.IsUnspecified() || ip.IsMulticast() {
			continue
		}
		if !f(i, netip.AddrPortFrom(ip, port)) {
			return nil
		}
	}
	return nil
}

// AppendDontHave appends the payload of a message that takes back a have
// (BEP 54).
func AppendDontHave(dst []byte, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(dst, piece)
}

// ParseDontHave reads the piece of a BEP 54 message.
func ParseDontHave(b []byte) (uint32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("read lt_donthave of %d bytes: %w", len(b), ErrExtended)
	}
	return binary.BigEndian.Uint32(b), nil
}
