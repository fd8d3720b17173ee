package speed

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wire"
)

// drawMessage draws any valid message.
func drawMessage(t *rapid.T) Message {
	price := amount.Price(rapid.Int64Range(0, int64(MaxPrice)).Draw(t, "price"))
	piece, chunk := rapid.Uint32().Draw(t, "piece"), rapid.Uint32().Draw(t, "chunk")
	raw := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "raw")
	switch rapid.IntRange(1, 6).Draw(t, "type") {
	case 1:
		return Bid{Price: price, Account: ledger.Address(append([]byte{1}, raw[:19]...))}
	case 2:
		return BidResponse{Price: price, Terms: rapid.SliceOfN(rapid.Byte(), 0, MaxTerms).Draw(t, "terms")}
	case 3:
		return Reserve{Price: price, Piece: piece, Chunk: chunk, Nonce: [NonceLen]byte(raw)}
	case 4:
		return Proof{Piece: piece, Chunk: chunk, Hash: [HashLen]byte(raw)}
	case 5:
		return Accept{Price: price}
	default:
		return Channel{Payload: rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "payload")}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		p, err := Append([]byte("before"), m)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := bytes.CutPrefix(p, []byte("before"))
		got, err := Decode(p)
		if err != nil || !ok {
			t.Fatal(err)
		}
		if r, isResponse := got.(BidResponse); isResponse && r.Terms == nil {
			r.Terms = []byte{}
			got = r
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got %+v, want %+v", got, m)
		}
		clear(p) // nothing aliases the input
		if r, isResponse := got.(BidResponse); isResponse && !bytes.Equal(r.Terms, m.(BidResponse).Terms) {
			t.Fatal("the result aliases the input")
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	dst := []byte("x")
	for _, m := range []Message{
		Bid{Price: 1}, // no account
		Bid{Price: -1, Account: ledger.Address{1}},
		Bid{Price: MaxPrice + 1, Account: ledger.Address{1}},
		BidResponse{Terms: make([]byte, MaxTerms+1)},
		Reserve{Price: -1},
		Channel{},
		Channel{Payload: make([]byte, MaxChannel+1)},
	} {
		got, err := Append(dst, m)
		if !errors.Is(err, ErrMalformed) || string(got) != "x" {
			t.Errorf("%s: %q, %v", m.Type(), got, err)
		}
	}
}

// FuzzDecode: no input panics, and what is accepted has one encoding.
func FuzzDecode(f *testing.F) {
	for _, m := range exampleMessages() {
		f.Add(encode(m.message))
	}
	for _, m := range malformed {
		f.Add(bytes.Clone(unhex(m.hex)))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := Decode(p)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || m != nil {
				t.Fatalf("message %v, error %v", m, err)
			}
			return
		}
		if m == nil {
			return
		}
		if again, err := Append(nil, m); err != nil || !bytes.Equal(again, p) {
			t.Fatalf("%x encodes to %x, %v", p, again, err)
		}
	})
}

// FuzzSession: whatever a peer sends, the session neither panics nor believes
// a price above our bid, nor more bids than one a minute and a burst of two.
func FuzzSession(f *testing.F) {
	var all []byte
	for _, m := range exampleMessages() {
		p := encode(m.message)
		all = append(all, byte(len(p)), 10)
		all = append(all, p...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, script []byte) {
		start := time.Unix(1_000_000, 0)
		now, bids := start, 0
		s := met(Config{Account: ledger.Address{1}}, seq[[20]byte](0x41))
		s.SetBid(1_000_000, false, now)
		s.SetReserve(5, 1, 2, now)
		for len(script) >= 2 {
			n := min(int(script[0]), len(script)-2)
			now = now.Add(time.Duration(script[1]) * time.Second)
			m, err := s.Step(script[2:2+n], now)
			script = script[2+n:]
			if err != nil {
				break
			}
			if _, ok := m.(Bid); ok {
				bids++
			}
			s.Tick(now)
		}
		if snap := s.Snapshot(); snap.TheirPrice > 1_000_000 {
			t.Fatalf("believed %v", snap.TheirPrice)
		}
		if most := BidBurst + int(now.Sub(start)/BidRefill); bids > most {
			t.Fatalf("%d bids in %v", bids, now.Sub(start))
		}
	})
}

func TestCheckPeer(t *testing.T) {
	ours := ledger.Network{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, tt := range []struct {
		version int
		network []byte
		nonce   int
		ok      bool
	}{
		{2, []byte{1, 2, 3, 4, 5, 6, 7, 8}, NonceLen, true},
		{3, []byte{1, 2, 3, 4, 5, 6, 7, 8}, NonceLen, true},
		{1, []byte{1, 2, 3, 4, 5, 6, 7, 8}, NonceLen, false},
		{0, []byte{1, 2, 3, 4, 5, 6, 7, 8}, NonceLen, false},
		{2, []byte{1, 2, 3, 4, 5, 6, 7, 8}, NonceLen - 1, false},
		{2, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 0, false},
		{2, []byte{1, 2, 3, 4, 5, 6, 7, 9}, NonceLen, false},
		{2, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, NonceLen, false},
		{2, nil, NonceLen, false},
	} {
		if err := CheckPeer(ours, tt.version, tt.network, make([]byte, tt.nonce)); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrNetwork) {
			t.Errorf("version %d, network %x: %v", tt.version, tt.network, err)
		}
	}
}

// TestHandshake: package wire writes what the specification and the vectors
// say, and reads it back.
func TestHandshake(t *testing.T) {
	network := NetworkID(ledger.Network{1, 2, 3, 4, 5, 6, 7, 8, 9})
	h := wire.ExtendedHandshake{Speed: wire.SubSpeed, SpeedVersion: Version, SpeedNetwork: network[:], SpeedNonce: exampleNonce[:]}
	p := h.Append(nil)
	if want := append([]byte("3:btt"), unhex(makeSpeedVectors().Handshake)...); !bytes.Contains(p, want) || !bytes.Contains(p, []byte("1:md9:"+Name+"i9ee")) {
		t.Errorf("handshake %q lacks %q", p, want)
	}
	got, err := wire.ParseExtendedHandshake(p)
	if err != nil || got.Speed == 0 || CheckPeer(ledger.Network{1, 2, 3, 4, 5, 6, 7, 8}, got.SpeedVersion, got.SpeedNetwork, got.SpeedNonce) != nil {
		t.Errorf("read back: %+v, %v", got, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	p := encode(Bid{Price: 5, Account: ledger.Address{1}})
	b.ReportAllocs()
	for b.Loop() {
		Decode(p)
	}
}
