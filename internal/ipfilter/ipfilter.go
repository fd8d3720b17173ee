// Package ipfilter holds lists of addresses that are never talked to, as people
// share them: CIDR lists, eMule's ipfilter.dat and PeerGuardian's P2P text.
//
// internal/session asks it for every address, internal/swarm through it; the
// root package reads the files. There is no goroutine, no clock and no I/O: a
// [List] is made once and only read.
package ipfilter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// MaxRanges is the greatest number of ranges of a list.
	MaxRanges = 4_000_000
	// MaxLine is the longest line of a file in bytes.
	MaxLine = 4096
	// allowLevel is the access level of an ipfilter.dat from which on a range
	// is allowed (eMule's rule).
	allowLevel = 128
)

// Errors of [Parse].
var (
	// ErrSyntax says that a line is in none of the forms.
	ErrSyntax = errors.New("not CIDR, ipfilter.dat or P2P text")
	// ErrLimit says that a list is larger than the limits.
	ErrLimit = errors.New("filter is too large")
)

// span is a run of addresses, both ends included, of one family.
type span[A any] struct{ first, last A }

// List is a set of addresses. The nil List is empty. It may be read by any
// number of goroutines.
type List struct {
	v4 []span[uint32]
	v6 []span[[16]byte]
}

// Len returns the number of separate ranges.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.v4) + len(l.v6)
}

// Contains says whether an address is in the list. An IPv4 address inside IPv6
// counts as itself.
func (l *List) Contains(a netip.Addr) bool {
	if l == nil || !a.IsValid() {
		return false
	}
	a = a.Unmap()
	if a.Is4() {
		x := number(a)
		i, found := slices.BinarySearchFunc(l.v4, x, func(s span[uint32], x uint32) int {
			switch {
			case s.last < x:
				return -1
			case s.first > x:
				return 1
			}
			return 0
		})
		return found && i < len(l.v4)
	}
	x := a.As16()
	_, found := slices.BinarySearchFunc(l.v6, x, func(s span[[16]byte], x [16]byte) int {
		switch {
		case compare(s.last, x) < 0:
			return -1
		case compare(s.first, x) > 0:
			return 1
		}
		return 0
	})
	return found
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func compare(a, b [16]byte) int { return slices.Compare(a[:], b[:]) }

// Parse reads a list; each line may have a form of its own:
//
//	192.0.2.0/24                                 CIDR, or a single address
//	192.0.2.0 - 192.0.2.255                      a range
//	192.000.002.000 - 192.000.002.255 , 100 , x  ipfilter.dat: levels under 128 block
//	Some company:192.0.2.0-192.0.2.255           P2P text
//
// Empty lines and those that begin with # or // or ; are passed over. The error
// names the line and wraps [ErrSyntax] or [ErrLimit].
func Parse(r io.Reader) (*List, error) {
	l := new(List)
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, MaxLine), MaxLine)
	n := 0
	for in.Scan() {
		n++
		text := strings.TrimSpace(strings.TrimPrefix(in.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "//") || strings.HasPrefix(text, ";") {
			continue
		}
		first, last, block, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("read filter, line %d: %w: %.60q", n, err, text)
		}
		if block {
			l.add(first, last)
		}
		if len(l.v4)+len(l.v6) > MaxRanges {
			return nil, fmt.Errorf("read filter, line %d: %w: more than %d ranges", n, ErrLimit, MaxRanges)
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("read filter, line %d: %w: longer than %d bytes", n+1, ErrLimit, MaxLine)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read filter: %w", err)
	}
	l.join()
	return l, nil
}

func parseLine(s string) (first, last netip.Addr, block bool, err error) {
	if first, last, ok := parseRange(s); ok {
		return first, last, true, nil
	}
	if parts := strings.SplitN(s, ",", 3); len(parts) >= 2 {
		first, last, ok := parseRange(parts[0])
		level, err := strconv.Atoi(strings.TrimSpace(parts[1]))
		if ok && err == nil && level >= 0 {
			return first, last, level < allowLevel, nil
		}
	}
	for i, c := range s { // P2P text: the name may hold colons, as may IPv6 addresses
		if c != ':' {
			continue
		}
		if first, last, ok := parseRange(s[i+1:]); ok {
			return first, last, true, nil
		}
	}
	return first, last, false, ErrSyntax
}

// parseRange reads a prefix, a range or one address.
func parseRange(s string) (first, last netip.Addr, ok bool) {
	s = strings.TrimSpace(s)
	if p, err := netip.ParsePrefix(s); err == nil {
		p = p.Masked()
		return p.Addr(), lastOf(p), true
	}
	a, b, two := strings.Cut(s, "-")
	first, ok = parseAddr(a)
	if last = first; two && ok {
		last, ok = parseAddr(b)
	}
	if !ok || first.Is4() != last.Is4() || last.Less(first) {
		return first, last, false
	}
	return first, last, true
}

// parseAddr reads an address; the old lists fill IPv4 numbers up with zeros.
func parseAddr(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), a.Zone() == ""
	}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil || len(p) > 3 {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (l *List) add(first, last netip.Addr) {
	if first.Is4() {
		l.v4 = append(l.v4, span[uint32]{number(first), number(last)})
		return
	}
	l.v6 = append(l.v6, span[[16]byte]{first.As16(), last.As16()})
}

// join sorts the ranges and makes one of those that overlap.
func (l *List) join() {
	slices.SortFunc(l.v4, func(a, b span[uint32]) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	slices.SortFunc(l.v6, func(a, b span[[16]byte]) int { return compare(a.first, b.first) })
	l.v4 = merge(l.v4, func(a, b uint32) bool { return a < b })
	l.v6 = merge(l.v6, func(a, b [16]byte) bool { return compare(a, b) < 0 })
}

func merge[A any](list []span[A], less func(a, b A) bool) []span[A] {
	out := list[:0]
	for _, s := range list {
		if n := len(out); n > 0 && !less(out[n-1].last, s.first) {
			if less(out[n-1].last, s.last) {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}
