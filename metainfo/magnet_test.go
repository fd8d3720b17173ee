package metainfo

import (
	"encoding/base32"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	hex20 = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a"
	hex32 = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e"
)

func TestParseMagnet(t *testing.T) {
	h, err := ParseInfoHash(hex20)
	if err != nil {
		t.Fatal(err)
	}
	var h2 InfoHashV2
	if err := h2.UnmarshalText([]byte(hex32)); err != nil {
		t.Fatal(err)
	}
	const btih, btmh = "xt=urn:btih:" + hex20, "xt=urn:btmh:1220" + hex32
	ranges := strings.TrimSuffix(strings.Repeat("1,", MaxSelections+1), ",")
	for _, c := range []struct {
		in   string
		want Magnet
		err  error
	}{
		{in: "magnet:?" + btih, want: Magnet{InfoHash: h}},
		{in: "MAGNET:?XT=URN:BTIH:" + strings.ToUpper(hex20), want: Magnet{InfoHash: h}},
		{in: "magnet:?xt=urn:btih:" + base32.StdEncoding.EncodeToString(h[:]), want: Magnet{InfoHash: h}},
		{in: "magnet:?xt=urn:btih:" + strings.ToLower(base32.StdEncoding.EncodeToString(h[:])), want: Magnet{InfoHash: h}},
		{in: "magnet:?" + btmh, want: Magnet{InfoHashV2: h2}},
		{in: "magnet:?" + btih + "&" + btmh, want: Magnet{InfoHash: h, InfoHashV2: h2}},
		{in: "magnet:?xt.1=urn:btih:" + hex20 + "&xt.2=urn:ed2k:31D6CFE0D16AE931B73C59D7E0C089C0", want: Magnet{InfoHash: h}},
		{in: "magnet:?" + btih + "&" + btih, want: Magnet{InfoHash: h}},
		{in: "magnet:?" + btih + "&dn=a+b%20c%26d&dn=second&xl=123&as=x&kt=y", want: Magnet{InfoHash: h, Name: "a b c&d", Length: 123}},
		{in: "magnet:?" + btih + "&dn=%ff", want: Magnet{InfoHash: h, Name: "\uFFFD"}},
		{in: "magnet:?" + btih + "&tr=udp%3A%2F%2Fa.example%3A1&tr.2=http://b.example/announce?x=1&tr=nonsense",
			want: Magnet{InfoHash: h, Trackers: []string{"udp://a.example:1", "http://b.example/announce?x=1"}}},
		{in: "magnet:?" + btih + "&ws=https://w.example/&ws=udp://w.example:1", want: Magnet{InfoHash: h, WebSeeds: []string{"https://w.example/"}}},
		{in: "magnet:?" + btih + "&x.pe=1.2.3.4:5&x.pe=[2001:db8::1]:6&x.pe=h.example:7&x.pe=bad&x.pe=1.2.3.4:0&x.pe=::1:9&x.pe=a:+5",
			want: Magnet{InfoHash: h, Peers: []HostPort{{"1.2.3.4", 5}, {"2001:db8::1", 6}, {"h.example", 7}}}},
		{in: "magnet:?" + btih + "&so=0,2,4-8,", want: Magnet{InfoHash: h, Select: []Range{{0, 0}, {2, 2}, {4, 8}}}},
		{in: "magnet:?" + btih + "&xl=-1&xl=x&&=&&", want: Magnet{InfoHash: h}},
		{in: "", err: ErrMagnet},
		{in: "http://a.example/", err: ErrMagnet},
		{in: "magnet:", err: ErrMagnet},
		{in: "magnet:?", err: ErrMagnet},
		{in: "magnet:?dn=x", err: ErrMagnet},
		{in: "magnet:?xt=urn:sha1:x", err: ErrMagnet},
		{in: "magnet:?xt=urn:btih:", err: ErrHash},
		{in: "magnet:?xt=urn:btih:" + hex20[1:], err: ErrHash},
		{in: "magnet:?xt=urn:btih:" + strings.Repeat("z", 40), err: ErrHash},
		{in: "magnet:?xt=urn:btih:" + strings.Repeat("1", 32), err: ErrHash},
		{in: "magnet:?xt=urn:btmh:" + hex32, err: ErrHash},
		{in: "magnet:?xt=urn:btmh:1220" + hex32[1:], err: ErrHash},
		{in: "magnet:?xt=urn:btmh:1220" + strings.Repeat("z", 64), err: ErrHash},
		{in: "magnet:?" + btih + "&xt=urn:btih:" + strings.Repeat("0", 39) + "1", err: ErrMagnet},
		{in: "magnet:?xt=urn:btih:" + strings.Repeat("0", 40), err: ErrMagnet},
		{in: "magnet:?" + btih + "&dn=%zz", err: ErrMagnet},
		{in: "magnet:?" + btih + "&so=8-4", err: ErrMagnet},
		{in: "magnet:?" + btih + "&so=x", err: ErrMagnet},
		{in: "magnet:?" + btih + "&so=-1", err: ErrMagnet},
		{in: "magnet:?" + btih + "&so=99999999999", err: ErrMagnet},
		{in: "magnet:?" + btih + "&so=" + ranges, err: ErrTooMany},
		{in: "magnet:?" + btih + strings.Repeat("&x.pe=1.2.3.4:5", MaxNodes+1), err: ErrTooMany},
		{in: "magnet:?" + btih + strings.Repeat("&tr=http://a.example", MaxTrackers+1), err: ErrTooMany},
		{in: "magnet:?" + btih + "&x=" + strings.Repeat("x", MaxMagnetLength), err: ErrMagnet},
	} {
		m, err := ParseMagnet(c.in)
		if !errors.Is(err, c.err) {
			t.Errorf("%.200q: %v, want %v", c.in, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		if !reflect.DeepEqual(*m, c.want) {
			t.Errorf("%q\ngot  %+v\nwant %+v", c.in, *m, c.want)
		}
		again, err := ParseMagnet(m.String())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q comes back as %+v, %v", m.String(), again, err)
		}
	}
}

func TestMagnetSelects(t *testing.T) {
	m := Magnet{Select: []Range{{0, 0}, {4, 6}}}
	for i, want := range []bool{true, false, false, false, true, true, true, false} {
		if m.Selects(i) != want {
			t.Errorf("file %d: %v", i, !want)
		}
	}
	if !(&Magnet{}).Selects(3) {
		t.Error("without a selection all files count")
	}
}

func TestTorrentMagnet(t *testing.T) {
	for version, e := range map[Version]edit{V1: goodV1(), V2: goodV2(), Hybrid: goodHybrid()} {
		torrent := parseEdit(t, e)
		m, err := ParseMagnet(torrent.Magnet().String())
		if err != nil {
			t.Fatal(err)
		}
		if m.Hash() != torrent.InfoHash || m.InfoHashV2 != torrent.InfoHashV2 || m.InfoHash.IsZero() != (version == V2) ||
			m.Length != torrent.Info.ContentLength() || m.Name != "n" {
			t.Errorf("%v", m)
		}
	}
}

func TestHashText(t *testing.T) {
	var h InfoHash
	if err := h.UnmarshalText([]byte(hex20)); err != nil || h.String() != hex20 {
		t.Errorf("%v, %v", h, err)
	}
	var h2 InfoHashV2
	if err := h2.UnmarshalText([]byte(hex32)); err != nil || h2.String() != hex32 || h2.Truncated().String() != hex32[:40] {
		t.Errorf("%v, %v", h2, err)
	}
	text, _ := h.MarshalText()
	text2, _ := h2.MarshalText()
	if string(text) != hex20 || string(text2) != hex32 {
		t.Errorf("%s %s", text, text2)
	}
	if err := h2.UnmarshalText([]byte("x")); !errors.Is(err, ErrHash) || h2.IsZero() {
		t.Errorf("bad text: %v, %v", err, h2)
	}
}

func TestMagnetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SliceOfN(rapid.ByteRange(1, 255), 32, 32)
		m := &Magnet{
			InfoHash: InfoHash(bytes.Draw(t, "v1")),
			Name:     strings.ToValidUTF8(rapid.StringN(0, 50, 200).Draw(t, "name"), "?"),
			Length:   rapid.Int64Range(0, MaxTotalLength).Draw(t, "length"),
		}
		if rapid.Bool().Draw(t, "hybrid") {
			m.InfoHashV2 = InfoHashV2(bytes.Draw(t, "v2"))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "trackers") {
			m.Trackers = append(m.Trackers, fmt.Sprintf("udp://t%d.example:80/a?b=%%26&c", i))
			m.Peers = append(m.Peers, HostPort{"::1", uint16(i + 1)})
			m.Select = append(m.Select, Range{i, i + rapid.IntRange(0, 9).Draw(t, "run")})
		}
		got, err := ParseMagnet(m.String())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%q\ngot  %+v, %v\nwant %+v", m.String(), got, err, m)
		}
	})
}
