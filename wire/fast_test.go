package wire

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// TestAllowedFastSet: the example of BEP 6, and what has no set.
func TestAllowedFastSet(t *testing.T) {
	hash := [20]byte(bytes.Repeat([]byte{0xaa}, 20))
	nine := []uint32{1059, 431, 808, 1217, 287, 376, 1188, 353, 508}
	for _, tt := range []struct {
		addr   string
		pieces uint32
		k      int
		want   []uint32
	}{
		{"80.4.4.200", 1313, 7, nine[:7]},
		{"80.4.4.200", 1313, 9, nine},
		{"80.4.4.7", 1313, 9, nine}, // a neighbour
		{"::ffff:80.4.4.200", 1313, 9, nine},
		{"80.4.4.200", 1, 10, []uint32{0}},
		{"80.4.4.200", 0, 10, nil},
		{"80.4.4.200", 1313, 0, nil},
		{"2001:db8::1", 1313, 9, nil},
	} {
		if got := AllowedFastSet(nil, netip.MustParseAddr(tt.addr), hash, tt.pieces, tt.k); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %d of %d: %v, want %v", tt.addr, tt.k, tt.pieces, got, tt.want)
		}
	}
	if got := AllowedFastSet([]uint32{7}, netip.MustParseAddr("80.4.4.5"), hash, 1313, 2); !slices.Equal(got, []uint32{7, 1059, 431}) {
		t.Errorf("appended: %v", got)
	}
}

// FuzzAllowedFastSet: each set is as long as it can be, and its pieces differ and
// exist.
func FuzzAllowedFastSet(f *testing.F) {
	f.Add(uint32(0x500404c8), []byte("hash"), uint32(1313), uint8(9))
	f.Add(uint32(0), []byte{}, uint32(3), uint8(10))
	f.Fuzz(func(t *testing.T, ip uint32, hash []byte, pieces uint32, k uint8) {
		var h [20]byte
		copy(h[:], hash)
		k %= 32
		addr := netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
		got := AllowedFastSet(nil, addr, h, pieces, int(k))
		if len(got) != int(min(uint32(k), pieces)) {
			t.Fatalf("%d of %d pieces, asked for %d", len(got), pieces, k)
		}
		slices.Sort(got)
		if n := len(got); len(slices.Compact(got)) != n || n > 0 && got[n-1] >= pieces {
			t.Fatalf("set %v of %d pieces", got, pieces)
		}
	})
}
