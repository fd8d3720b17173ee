package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestPEXRoundTrip(t *testing.T) {
	at := netip.MustParseAddrPort
	tests := []PEX{
		{},
		{Added: []PEXPeer{{at("192.0.2.1:6881"), PEXEncrypts | PEXReachable}, {at("[2001:db8::1]:80"), PEXUploadOnly}}},
		{Dropped: []netip.AddrPort{at("192.0.2.1:6881"), at("192.0.2.2:1"), at("[2001:db8::1]:80")}},
	}
	for _, p := range tests {
		got, err := ParsePEX(p.Append(nil))
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, %v; want %+v", got, err, p)
		}
	}
	mapped := PEX{Added: []PEXPeer{{Addr: at("[::ffff:192.0.2.1]:5")}}}
	if got, err := ParsePEX(mapped.Append(nil)); err != nil || len(got.Added) != 1 || got.Added[0].Addr != at("192.0.2.1:5") {
		t.Errorf("a mapped address became %+v, %v", got, err)
	}
}

func TestParsePEX(t *testing.T) {
	peers := func(n int) string { return strings.Repeat("\x0a\x00\x00\x01\x00\x05", n) }
	tests := []struct {
		name, raw      string
		added, dropped int
		bad            bool
	}{
		{name: "nothing known", raw: "de"},
		{name: "no flags", raw: "d5:added12:" + peers(2) + "e", added: 2},
		{name: "few flags", raw: "d5:added12:" + peers(2) + "7:added.f1:\x02e", added: 2},
		{name: "too many", raw: "d5:added600:" + peers(100) + "6:added618:" + strings.Repeat("\x20", 18) + "7:dropped600:" + peers(100) + "e",
			added: MaxPEX, dropped: MaxPEX},
		{name: "port 0 and nobody's addresses", raw: "d5:added24:\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\xe0\x00\x00\x01\x00\x01" + peers(1) + "e", added: 1},
		{name: "odd length", raw: "d5:added7:" + peers(1) + "xe", bad: true},
		{name: "odd dropped", raw: "d8:dropped67:" + peers(1) + "xe", bad: true},
		{name: "a list", raw: "le", bad: true},
		{name: "empty", raw: "", bad: true},
		{name: "cut", raw: "d5:added12:", bad: true},
	}
	for _, tt := range tests {
		got, err := ParsePEX([]byte(tt.raw))
		if tt.bad != errors.Is(err, ErrExtended) || len(got.Added) != tt.added || len(got.Dropped) != tt.dropped {
			t.Errorf("%s: %d added, %d dropped, %v", tt.name, len(got.Added), len(got.Dropped), err)
		}
	}
}

func TestDontHave(t *testing.T) {
	if p, err := ParseDontHave(AppendDontHave(nil, 77)); p != 77 || err != nil {
		t.Errorf("got %d, %v", p, err)
	}
	for _, b := range [][]byte{nil, {1, 2, 3}, {1, 2, 3, 4, 5}} {
		if _, err := ParseDontHave(b); !errors.Is(err, ErrExtended) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func FuzzPEX(f *testing.F) {
	p := PEX{Added: []PEXPeer{{netip.MustParseAddrPort("192.0.2.1:6881"), 3}}, Dropped: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:80")}}
	f.Add(p.Append(nil))
	f.Add([]byte("d5:added6:\x0a\x00\x00\x01\x00\x05e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePEX(b)
		if err != nil {
			return
		}
		if len(p.Added) > MaxPEX || len(p.Dropped) > MaxPEX {
			t.Fatalf("%d added, %d dropped", len(p.Added), len(p.Dropped))
		}
		raw := p.Append(nil)
		again, err := ParsePEX(raw)
		if err != nil || !bytes.Equal(again.Append(nil), raw) {
			t.Fatalf("%+v became %+v (%v)", p, again, err)
		}
	})
}
