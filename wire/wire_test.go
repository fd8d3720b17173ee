package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

func TestMessagesRoundTrip(t *testing.T) {
	tests := []struct {
		name string
		raw  []byte
		want Message
	}{
		{"keep-alive", AppendKeepAlive(nil), Message{ID: KeepAlive}},
		{"choke", AppendEmpty(nil, Choke), Message{ID: Choke}},
		{"have all", AppendEmpty(nil, HaveAll), Message{ID: HaveAll}},
		{"have", AppendIndex(nil, Have, 7), Message{ID: Have, Index: 7}},
		{"request", AppendBlock(nil, Request, 1, 2, 3), Message{ID: Request, Index: 1, Begin: 2, Length: 3}},
		{"reject", AppendBlock(nil, Reject, 1, 2, 3), Message{ID: Reject, Index: 1, Begin: 2, Length: 3}},
		{"piece", append(AppendPieceHeader(nil, 4, 5, 3), "abc"...), Message{ID: Piece, Index: 4, Begin: 5, Length: 3, Payload: []byte("abc")}},
		{"bitfield", AppendBitfield(nil, []byte{0xa0}), Message{ID: Bitfield, Payload: []byte{0xa0}}},
		{"extended", AppendExtended(nil, 9, []byte("xy")), Message{ID: Extended, Sub: 9, Payload: []byte("xy")}},
		{"port", AppendPort(nil, 6881), Message{ID: Port, Payload: []byte{0x1a, 0xe1}}},
		{"unknown", []byte{0, 0, 0, 2, 99, 1}, Message{ID: 99, Payload: []byte{1}}},
	}
	for _, tt := range tests {
		got, n, err := Next(append(tt.raw, 0xff))
		if err != nil || n != len(tt.raw) {
			t.Fatalf("%s: took %d of %d bytes, error %v", tt.name, n, len(tt.raw), err)
		}
		if got.ID != tt.want.ID || got.Sub != tt.want.Sub || got.Index != tt.want.Index || got.Begin != tt.want.Begin ||
			got.Length != tt.want.Length || !bytes.Equal(got.Payload, tt.want.Payload) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		for i := range len(tt.raw) {
			if _, n, err := Next(tt.raw[:i]); n != 0 || err != nil {
				t.Errorf("%s: %d of %d bytes gave n = %d, %v; want a wait for more", tt.name, i, len(tt.raw), n, err)
			}
		}
	}
}

func TestNextRefuses(t *testing.T) {
	tests := []struct {
		raw  []byte
		want error
	}{
		{[]byte{0xff, 0xff, 0xff, 0xff, 7}, ErrTooLong},
		{[]byte{0, 4, 0, 0, 7}, ErrTooLong},
		{[]byte{0, 0, 0, 2, byte(Choke), 0}, ErrMalformed},
		{[]byte{0, 0, 0, 4, byte(Have), 0, 0, 0}, ErrMalformed},
		{[]byte{0, 0, 0, 8, byte(Piece), 0, 0, 0, 0, 0, 0, 0}, ErrMalformed},
		{[]byte{0, 0, 0, 1, byte(Extended)}, ErrMalformed},
		{append([]byte{0, 0, 0, 12, byte(Request)}, make([]byte, 11)...), ErrMalformed},
	}
	for _, tt := range tests {
		if _, _, err := Next(tt.raw); !errors.Is(err, tt.want) {
			t.Errorf("%x: error %v, want %v", tt.raw, err, tt.want)
		}
	}
}

func TestHandshake(t *testing.T) {
	h := Handshake{Reserved: OurReserved(), InfoHash: [20]byte{1, 2}, PeerID: [20]byte{3}}
	raw := h.Append(nil)
	got, err := ParseHandshake(raw)
	if err != nil || got != h || len(raw) != HandshakeLen {
		t.Fatalf("got %+v, %v from %d bytes", got, err, len(raw))
	}
	if !got.Reserved.Fast() || !got.Reserved.Extended() || got.Reserved.DHT() {
		t.Errorf("features of %x are wrong", got.Reserved)
	}
	raw[3] ^= 1
	if _, err := ParseHandshake(raw); !errors.Is(err, ErrHandshake) {
		t.Errorf("a damaged handshake gave %v", err)
	}
	if _, err := ParseHandshake(raw[:40]); !errors.Is(err, ErrHandshake) {
		t.Errorf("a short handshake gave %v", err)
	}
}

func TestExtendedHandshakeRoundTrip(t *testing.T) {
	h := ExtendedHandshake{Metadata: SubMetadata, PEX: SubPEX, DontHave: SubDontHave, Speed: SubSpeed, MetadataSize: 12345, Reqq: 500, Port: 6881,
		Client: "btt", YourIP: netip.MustParseAddr("192.0.2.7"), UploadOnly: true, SpeedVersion: 1, SpeedNetwork: []byte("12345678"), SpeedNonce: []byte("1234567890123456")}
	got, err := ParseExtendedHandshake(h.Append(nil))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Fatalf("got %+v, %v; want %+v", got, err, h)
	}
	odd, err := ParseExtendedHandshake([]byte("d1:md11:ut_metadatai999ee13:metadata_sizei-5e4:reqq3:abce"))
	if err != nil || odd.Metadata != 0 || odd.MetadataSize != 0 || odd.Reqq != 0 {
		t.Errorf("senseless values were believed: %+v, %v", odd, err)
	}
	for _, bad := range []string{"", "i5e", "d1:m", "le"} {
		if _, err := ParseExtendedHandshake([]byte(bad)); !errors.Is(err, ErrExtended) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	for _, m := range []MetadataMessage{
		{Kind: MetadataRequest, Piece: 3},
		{Kind: MetadataData, Piece: 1, Size: 20000, Data: []byte("d4:name1:xe")},
		{Kind: MetadataReject, Piece: 9},
	} {
		got, err := ParseMetadataMessage(m.Append(nil))
		if err != nil || got.Kind != m.Kind || got.Piece != m.Piece || got.Size != m.Size || !bytes.Equal(got.Data, m.Data) {
			t.Errorf("got %+v, %v; want %+v", got, err, m)
		}
	}
	for _, bad := range []string{"", "de", "d8:msg_typei-1e5:piecei0ee", "d8:msg_typei0e5:piecei99999999ee"} {
		if _, err := ParseMetadataMessage([]byte(bad)); !errors.Is(err, ErrExtended) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestBits(t *testing.T) {
	b := NewBits(10)
	b.Set(0)
	b.Set(9)
	if !b.Has(0) || !b.Has(9) || b.Has(5) || b.Has(100) || b.Count() != 2 || !b.ValidFor(10) {
		t.Fatalf("bits %08b", b)
	}
	b.Clear(0)
	if b.Has(0) || b.ValidFor(9) || b.ValidFor(17) {
		t.Fatalf("bits %08b after clear", b)
	}
	b.SetAll(10)
	if b.Count() != 10 {
		t.Fatalf("count %d", b.Count())
	}
}

func FuzzNext(f *testing.F) {
	f.Add(AppendBlock(nil, Request, 1, 2, 3))
	f.Add(append(AppendPieceHeader(nil, 4, 5, 3), "abc"...))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, n, err := Next(b)
			if err != nil || n == 0 {
				return
			}
			if n > len(b) || len(m.Payload) > n {
				t.Fatalf("took %d of %d bytes, payload %d", n, len(b), len(m.Payload))
			}
			b = b[n:]
		}
	})
}

func FuzzExtended(f *testing.F) {
	h := ExtendedHandshake{Metadata: 1, MetadataSize: 5, Client: "x"}
	f.Add(h.Append(nil))
	f.Add([]byte("d1:md6:ut_pexi0ee11:upload_onlyi1ee"))
	f.Add([]byte{1})
	f.Add((&MetadataMessage{Kind: MetadataData, Piece: 1, Size: 5, Data: []byte("abcde")}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseExtendedHandshake(b); err == nil {
			again, err := ParseExtendedHandshake(got.Append(nil))
			if err != nil || again.MetadataSize != got.MetadataSize || again.Metadata != got.Metadata {
				t.Fatalf("%+v became %+v (%v)", got, again, err)
			}
		}
		if on, err := ParseUploadOnly(b); err == nil {
			if again, err := ParseUploadOnly(AppendUploadOnly(nil, on)); err != nil || again != on {
				t.Fatalf("upload_only %v became %v (%v)", on, again, err)
			}
		}
		before := ExtendedHandshake{Metadata: 9, PEX: 8, Reqq: 7, Client: "y", SpeedNetwork: []byte{1}}
		if got, err := before.Update(b); err != nil && got.Metadata != before.Metadata {
			t.Fatalf("an unreadable handshake changed %+v to %+v", before, got)
		}
		if m, err := ParseMetadataMessage(b); err == nil && len(m.Data) > MetadataPiece {
			t.Fatalf("metadata piece of %d bytes", len(m.Data))
		}
	})
}

func BenchmarkNextPiece(b *testing.B) {
	raw := append(AppendPieceHeader(nil, 4, 5, BlockSize), make([]byte, BlockSize)...)
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _ := Next(raw); n != len(raw) {
			b.Fatal(n)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(Handshake{Reserved: OurReserved(), InfoHash: [20]byte{1}, PeerID: [20]byte{2}}.Append(nil))
	f.Add([]byte("\x13BitTorrent protocol"))
	f.Add(bytes.Repeat([]byte{0x13}, HandshakeLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHandshake(b)
		if err == nil && !bytes.Equal(h.Append(nil), b[:HandshakeLen]) {
			t.Fatalf("%x became %+v", b, h)
		}
	})
}
