package speed

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed/auction"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/speed/reserve"
)

// example is a named message of the vectors.
type example struct {
	name    string
	message Message
}

func seq[A [16]byte | [20]byte | [32]byte](first byte) (a A) {
	for i := range len(a) {
		switch x := any(&a).(type) {
		case *[16]byte:
			x[i] = first + byte(i)
		case *[20]byte:
			x[i] = first + byte(i)
		case *[32]byte:
			x[i] = first + byte(i)
		}
	}
	return a
}

func exampleMessages() []example {
	account := ledger.Address(seq[[20]byte](0x41))
	return []example{
		{"bid of 2.5 BTT/GiB", Bid{Price: 2_500_000, Account: account}},
		{"bid withdrawn", Bid{Price: 0, Account: account}},
		{"highest bid", Bid{Price: MaxPrice, Account: account}},
		{"bid response without terms", BidResponse{Price: 0}},
		{"bid response", BidResponse{Price: 1_250_000, Terms: []byte("opaque terms")}},
		{"reserve price", Reserve{Price: 400_000, Piece: 17, Chunk: 63, Nonce: seq[[16]byte](0x10)}},
		{"reserve price zero, last chunk", Reserve{Piece: 0xffffffff, Chunk: 0xffffffff}},
		{"proof", Proof{Piece: 17, Chunk: 63, Hash: reserve.Hash(seq[[16]byte](0x10), seq[[20]byte](0x61), 17, 63, []byte("the chunk's bytes"))}},
		{"channel message", Channel{Payload: []byte{0}}},
		{"accept", Accept{Price: 1_250_000}},
		{"identity", Identity{Key: ledger.PublicKey(append([]byte{2}, make([]byte, 32)...)), Signature: ledger.Signature(make([]byte, 65))}},
		{"units of a requester", Units{Size: 256 << 10}},
		{"units of a provider", Units{Provider: true, Size: 512 << 10}},
		{"whole pieces", Units{Provider: true}},
	}
}

// malformed payloads, each refused by Decode.
var malformed = []struct{ name, hex string }{
	{"empty", ""},
	{"bid cut short", "0100000000002625a04142434445464748494a4b4c4d4e4f50515253"},
	{"bid with a byte too many", "0100000000002625a04142434445464748494a4b4c4d4e4f5051525354" + "00"},
	{"bid without account", "0100000000002625a00000000000000000000000000000000000000000"},
	{"bid above the supply per GiB", "010dbd2fc137a300014142434445464748494a4b4c4d4e4f5051525354"},
	{"bid with the sign bit", "0180000000000000004142434445464748494a4b4c4d4e4f5051525354"},
	{"accept cut short", "0600000000000000"},
	{"bid response cut short", "0200000000000000"},
	{"reserve price cut short", "0300000000000000000000000000000000000000000000000000000000000000"},
	{"proof cut short", "04000000010000000200"},
	{"empty channel message", "05"},
	{"identity cut short", "0702" + strings.Repeat("00", 96)},
	{"identity without a key", "07" + strings.Repeat("00", 98)},
	{"units cut short", "0800000400"},
	{"units of neither side", "080200040000"},
	{"units below a block", "080000002000"},
	{"units of no power of two", "080000030000"},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

type (
	messageVector struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		Payload   string `json:"payload_hex"`
		Price     *int64 `json:"price_micro_btt_per_gib,omitempty"`
		Account   string `json:"account,omitempty"`
		Bytes     string `json:"bytes_hex,omitempty"` // terms or channel payload
		Piece     *int64 `json:"piece,omitempty"`
		Chunk     *int64 `json:"chunk,omitempty"`
		Nonce     string `json:"nonce_hex,omitempty"`
		Hash      string `json:"hash_hex,omitempty"`
		Key       string `json:"key_hex,omitempty"`
		Signature string `json:"signature_hex,omitempty"`
		Seller    *bool  `json:"provider,omitempty"`
		Unit      *int64 `json:"unit_bytes,omitempty"`
	}
	malformedVector struct {
		Name    string `json:"name"`
		Payload string `json:"payload_hex"`
	}
	proofVector struct {
		Nonce    string `json:"nonce_hex"`
		Infohash string `json:"infohash_hex"`
		Piece    uint32 `json:"piece"`
		Chunk    uint32 `json:"chunk"`
		Data     string `json:"data_hex"`
		Hash     string `json:"hash_hex"`
	}
	bidVector struct {
		Name     string `json:"name"`
		Rate     uint32 `json:"spend_rate_ppm"`
		KeepBack uint32 `json:"keep_back_ppm"`
		Share    uint32 `json:"share_ppm"`
		Balance  int64  `json:"balance_micro_btt"`
		Left     int64  `json:"bytes_left"`
		Size     int64  `json:"size"`
		Piece    int64  `json:"piece_length"`
		Cap      int64  `json:"price_cap,omitempty"`
		Bid      int64  `json:"bid_micro_btt_per_gib"`
	}
	identityVector struct {
		Name        string `json:"name"`
		Network     string `json:"network_hex"`
		Infohash    string `json:"infohash_hex"`
		Nonce       string `json:"signer_nonce_hex"`
		PeerID      string `json:"signer_peer_id_hex"`
		OtherNonce  string `json:"other_nonce_hex"`
		OtherPeerID string `json:"other_peer_id_hex"`
		Secret      string `json:"secret_hex"`
		Digest      string `json:"digest_hex"`
		Payload     string `json:"payload_hex"`
		Valid       bool   `json:"valid"`
	}
	speedVectors struct {
		Comment    string            `json:"comment"`
		Handshake  string            `json:"handshake_btt_hex"`
		Messages   []messageVector   `json:"messages"`
		Malformed  []malformedVector `json:"malformed"`
		Skipped    []string          `json:"skipped_hex"`
		Identities []identityVector  `json:"identities"`
		Proofs     []proofVector     `json:"proofs"`
		Bids       []bidVector       `json:"bids"`
	}
)

// exampleNonce is our nonce in the vectors.
var exampleNonce = seq[[16]byte](0xa0)

func vectorOf(e example) messageVector {
	v := messageVector{Name: e.name, Type: e.message.Type().String(), Payload: hex.EncodeToString(encode(e.message))}
	num := func(n int64) *int64 { return &n }
	switch m := e.message.(type) {
	case Bid:
		v.Price, v.Account = num(int64(m.Price)), m.Account.String()
	case BidResponse:
		v.Price, v.Bytes = num(int64(m.Price)), hex.EncodeToString(m.Terms)
	case Reserve:
		v.Price, v.Piece, v.Chunk, v.Nonce = num(int64(m.Price)), num(int64(m.Piece)), num(int64(m.Chunk)), hex.EncodeToString(m.Nonce[:])
	case Proof:
		v.Piece, v.Chunk, v.Hash = num(int64(m.Piece)), num(int64(m.Chunk)), hex.EncodeToString(m.Hash[:])
	case Accept:
		v.Price = num(int64(m.Price))
	case Identity:
		v.Key, v.Signature = m.Key.String(), hex.EncodeToString(m.Signature[:])
	case Units:
		v.Seller, v.Unit = &m.Provider, num(int64(m.Size))
	case Channel:
		v.Bytes = hex.EncodeToString(m.Payload)
	}
	return v
}

func bidOf(v bidVector) int64 {
	return int64(autobid.Price(
		autobid.Config{SpendRate: v.Rate, KeepBack: v.KeepBack, Cap: amount.Price(v.Cap)}, amount.Amount(v.Balance),
		autobid.Torrent{Left: v.Left, Size: v.Size, PieceLength: v.Piece, Share: v.Share, Budget: autobid.NoBudget}))
}

func makeSpeedVectors() speedVectors {
	v := speedVectors{
		Comment: "btt_speed version 2, docs/beps/speed.rst; payloads are what follows the BEP 10 message id",
		// d1:n16:................3:net8:........1:vi2ee
		Handshake:  hex.EncodeToString(slices.Concat([]byte("d1:n16:"), exampleNonce[:], []byte("3:net8:"), []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte("1:vi2ee"))),
		Skipped:    []string{"00", "7f", "ff0102"},
		Identities: identityVectors(),
	}
	for _, e := range exampleMessages() {
		v.Messages = append(v.Messages, vectorOf(e))
	}
	for _, m := range malformed {
		v.Malformed = append(v.Malformed, malformedVector{m.name, m.hex})
	}
	for _, data := range []string{"", "the chunk's bytes"} {
		nonce, infohash := seq[[16]byte](0x10), seq[[20]byte](0x61)
		hash := reserve.Hash(nonce, infohash, 17, 63, []byte(data))
		v.Proofs = append(v.Proofs, proofVector{
			hex.EncodeToString(nonce[:]), hex.EncodeToString(infohash[:]), 17, 63, hex.EncodeToString([]byte(data)), hex.EncodeToString(hash[:]),
		})
	}
	for _, b := range []bidVector{
		{Name: "the paper's formula", Rate: 1e6, Share: 1e6, Balance: 5e6, Left: 1 << 30, Size: 1 << 30, Piece: 1 << 20},
		{Name: "defaults, half of the wallet", Rate: 1e6, KeepBack: 30_000, Share: 5e5, Balance: 123_456_789, Left: 734_003_200, Size: 734_003_200, Piece: 1 << 20},
		{Name: "spending rate 0.3", Rate: 3e5, KeepBack: 30_000, Share: 1e6, Balance: 123_456_789, Left: 100_000_000, Size: 734_003_200, Piece: 1 << 20},
		{Name: "floor of 1 % of the size", Rate: 1e6, Share: 1e6, Balance: 1e6, Left: 1, Size: 100 << 30, Piece: 1 << 20},
		{Name: "floor of one piece", Rate: 1e6, Share: 1e6, Balance: 1e6, Left: 16384, Size: 16 << 20, Piece: 1 << 20},
		{Name: "price cap", Rate: 1e6, Share: 1e6, Balance: 1e12, Left: 1 << 30, Size: 1 << 30, Piece: 1 << 20, Cap: 9e6},
		{Name: "nothing left", Rate: 1e6, Share: 1e6, Balance: 1e12, Left: 0, Size: 1 << 30, Piece: 1 << 20},
		{Name: "whole supply, one byte", Rate: 1e6, Share: 1e6, Balance: int64(amount.Supply), Left: 1, Size: 1, Piece: 1},
	} {
		b.Bid = bidOf(b)
		v.Bids = append(v.Bids, b)
	}
	return v
}

// TestSpeedVectors: the file is what we encode, and reading it back as a
// stranger would gives the same messages.
func TestSpeedVectors(t *testing.T) {
	raw := golden.JSON(t, "../testdata/vectors/speed.json", "  ", makeSpeedVectors())
	var v speedVectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range v.Messages {
		got, err := Decode(unhex(m.Payload))
		if err != nil || got.Type().String() != m.Type {
			t.Fatalf("%s: %v, %v", m.Name, got, err)
		}
		if again := vectorOf(example{m.Name, got}); again.Payload != m.Payload || again.Hash != m.Hash || again.Account != m.Account {
			t.Errorf("%s: %+v, want %+v", m.Name, again, m)
		}
	}
	for _, m := range v.Malformed {
		if got, err := Decode(unhex(m.Payload)); err == nil {
			t.Errorf("%s: accepted as %+v", m.Name, got)
		}
	}
	for _, s := range v.Skipped {
		if got, err := Decode(unhex(s)); got != nil || err != nil {
			t.Errorf("type of %s: %v, %v", s, got, err)
		}
	}
	for _, id := range v.Identities {
		if err := checkIdentity(id); (err == nil) != id.Valid {
			t.Errorf("%s: %v", id.Name, err)
		}
	}
	for _, b := range v.Bids {
		if got := bidOf(b); got != b.Bid {
			t.Errorf("%s: %d, want %d", b.Name, got, b.Bid)
		}
	}
}

type (
	auctionBidder struct {
		ID       uint64 `json:"id"`
		Bid      int64  `json:"bid"`
		Reserve  int64  `json:"reserve"`
		Received int64  `json:"received,omitempty"`
		Sent     int64  `json:"sent,omitempty"`
		Own      int64  `json:"own_bid,omitempty"`
		Tie      uint64 `json:"tie,omitempty"`
		Capped   bool   `json:"leeching,omitempty"`
	}
	auctionAward struct {
		ID    uint64 `json:"id"`
		Paid  bool   `json:"paid"`
		Price int64  `json:"price"`
	}
	auctionCase struct {
		Name      string          `json:"name"`
		Strategy  string          `json:"strategy"`
		Slots     int             `json:"slots"`
		MaxCapped int             `json:"max_sold_leeching"`
		Bidders   []auctionBidder `json:"bidders"`
		Awards    []auctionAward  `json:"awards"`
	}
	auctionVectors struct {
		Comment string        `json:"comment"`
		Cases   []auctionCase `json:"cases"`
	}
)

func (c auctionCase) run() []auctionAward {
	rules := auction.Rules{Slots: c.Slots, MaxCapped: c.MaxCapped, Strategy: auction.Paper{}}
	if c.Strategy == "weighted" {
		rules.Strategy = auction.Weighted{}
	}
	list := make([]auction.Bidder, len(c.Bidders))
	for i, b := range c.Bidders {
		list[i] = auction.Bidder{
			ID: b.ID, Bid: amount.Price(b.Bid), Reserve: amount.Price(b.Reserve), Received: b.Received,
			Sent: b.Sent, Own: amount.Price(b.Own), Tie: b.Tie, Capped: b.Capped,
		}
	}
	awards := []auctionAward{}
	for _, a := range auction.Run(nil, new(auction.Scratch), rules, list) {
		awards = append(awards, auctionAward{a.ID, a.Paid, int64(a.Price)})
	}
	return awards
}

func makeAuctionVectors() auctionVectors {
	bids := func(reserve int64, list ...int64) (out []auctionBidder) {
		for i, b := range list {
			out = append(out, auctionBidder{ID: uint64(i + 1), Bid: b, Reserve: reserve})
		}
		return out
	}
	v := auctionVectors{Comment: "uniform-price auction of unchoke slots, docs/beps/speed.rst; prices in micro-BTT per GiB; awards best first"}
	for _, c := range []auctionCase{
		{Name: "figure 2", Slots: 3, Bidders: bids(4, 9, 7, 6, 5, 2)},
		{Name: "no losing bid: the reserve price", Slots: 3, Bidders: bids(4, 9, 7)},
		{Name: "a bid below the reserve price is not eligible", Slots: 3, Bidders: bids(4, 9, 3)},
		{Name: "a single bidder pays the reserve price", Slots: 3, Bidders: bids(4, 1_000_000)},
		{Name: "no reserve price, no rival: price 0", Slots: 1, Bidders: bids(0, 5)},
		{Name: "ties: data received, then the greater random word", Slots: 2, Bidders: []auctionBidder{
			{ID: 1, Bid: 5, Tie: 9}, {ID: 2, Bid: 5, Received: 1, Tie: 1}, {ID: 3, Bid: 5, Tie: 10},
		}},
		{Name: "two torrents with two reserve prices", Slots: 2, Bidders: []auctionBidder{
			{ID: 1, Bid: 9, Reserve: 8}, {ID: 2, Bid: 7, Reserve: 1}, {ID: 3, Bid: 5}, {ID: 4, Bid: 6, Reserve: 7},
		}},
		{Name: "at most one slot sold while leeching", Slots: 2, MaxCapped: 1, Bidders: []auctionBidder{
			{ID: 1, Bid: 9, Capped: true}, {ID: 2, Bid: 8, Capped: true}, {ID: 3, Bid: 3}, {ID: 4, Bid: 2},
		}},
		{Name: "weighted: barter counts, money is charged", Strategy: "weighted", Slots: 3, MaxCapped: 3, Bidders: []auctionBidder{
			{ID: 1, Bid: 1, Capped: true}, {ID: 2, Received: 4 << 20, Sent: 1 << 20, Own: 3, Capped: true},
			{ID: 3, Bid: 9, Capped: true}, {ID: 4, Bid: 2, Received: 1 << 20, Sent: 1 << 20, Own: 3, Capped: true},
		}},
	} {
		if c.Strategy == "" {
			c.Strategy = "paper"
		}
		if c.MaxCapped == 0 {
			c.MaxCapped = c.Slots
		}
		c.Awards = c.run()
		v.Cases = append(v.Cases, c)
	}
	return v
}

func TestAuctionVectors(t *testing.T) {
	raw := golden.JSON(t, "../testdata/vectors/auction.json", "  ", makeAuctionVectors())
	var v auctionVectors
	if err := json.Unmarshal(raw, &v); err != nil || len(v.Cases) == 0 {
		t.Fatal(err)
	}
	for _, c := range v.Cases {
		for i, a := range c.run() {
			if a != c.Awards[i] {
				t.Errorf("%s: got %+v, want %+v", c.Name, a, c.Awards[i])
			}
		}
	}
}
