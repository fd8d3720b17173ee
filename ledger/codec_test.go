package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, n int, name string) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
}

// drawTx draws any transaction that can be encoded, valid or not.
func drawTx(t *rapid.T) *Tx {
	tx := &Tx{
		Kind:     TxKind(rapid.IntRange(1, 3).Draw(t, "kind")),
		Sequence: rapid.Uint32().Draw(t, "sequence"),
		LockTime: rapid.Uint64().Draw(t, "lock time"),
	}
	switch tx.Kind {
	case Mint:
		tx.Reference = Reference{Chain: [32]byte(drawBytes(t, 32, "chain")), Index: rapid.Uint32().Draw(t, "index")}
	case Redeem:
		tx.Reference = Reference{Payee: Address(drawBytes(t, 20, "payee")), Amount: amount.Amount(rapid.Int64().Draw(t, "redeemed"))}
	}
	for range rapid.IntRange(0, 5).Draw(t, "inputs") {
		tx.Inputs = append(tx.Inputs, OutPoint{TxID: TxID(drawBytes(t, 32, "id")), Index: rapid.Uint16().Draw(t, "i")})
	}
	for range rapid.IntRange(0, 5).Draw(t, "outputs") {
		o := Output{Amount: amount.Amount(rapid.Int64().Draw(t, "amount")), Lock: PayTo(Address(drawBytes(t, 20, "to")))}
		if rapid.Bool().Draw(t, "joint") {
			o.Lock = Joint(PublicKey(drawBytes(t, 33, "k1")), PublicKey(drawBytes(t, 33, "k2")))
		}
		tx.Outputs = append(tx.Outputs, o)
	}
	for range rapid.IntRange(0, 3).Draw(t, "witnesses") {
		tx.Witnesses = append(tx.Witnesses, drawWitness(t))
	}
	return tx
}

func drawWitness(t *rapid.T) Witness {
	var w Witness
	for range rapid.IntRange(0, 3).Draw(t, "keys") {
		w.Keys = append(w.Keys, PublicKey(drawBytes(t, 33, "key")))
	}
	for range rapid.IntRange(0, 3).Draw(t, "signatures") {
		w.Signatures = append(w.Signatures, Signature(drawBytes(t, 65, "signature")))
	}
	return w
}

func TestTxEncodeDecodeIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tx := drawTx(t)
		raw := tx.Encode()
		back, err := DecodeTx(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Encode(), raw) {
			t.Fatalf("encode(decode(x)) != x")
		}
		net := Network{1}
		if back.ID(net) != tx.ID(net) || tx.ID(net) == tx.ID(Network{2}) {
			t.Fatal("id changed, or does not depend on the network")
		}
		// Every shorter text and every longer one is refused.
		if _, err := DecodeTx(raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "cut")]); CodeOf(err) != CodeMalformed {
			t.Fatalf("cut text: %v", err)
		}
		if _, err := DecodeTx(append(raw, 0)); CodeOf(err) != CodeMalformed {
			t.Fatalf("longer text: %v", err)
		}
	})
}

// TestIDIgnoresWitnesses is what makes T2 safe: nobody can change T1's id.
func TestIDIgnoresWitnesses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tx := drawTx(t)
		net := Network(drawBytes(t, 32, "net"))
		id, digest := tx.ID(net), tx.Digest(net, PayTo(Address{1}))
		tx.Witnesses = nil
		for range rapid.IntRange(0, 4).Draw(t, "new witnesses") {
			tx.Witnesses = append(tx.Witnesses, drawWitness(t))
		}
		if tx.ID(net) != id || tx.Digest(net, PayTo(Address{1})) != digest {
			t.Fatal("a witness changed the id or the digest")
		}
		if tx.Digest(net, PayTo(Address{2})) == digest || [32]byte(id) == digest {
			t.Fatal("the digest does not depend on the lock, or equals the id")
		}
	})
}

// TestBodyIsCommitted flips every body byte: either the text is refused or the
// id and digest differ.
func TestBodyIsCommitted(t *testing.T) {
	tx := sampleTx()
	raw := tx.Encode()
	net, lock := Network{9}, PayTo(Address{1})
	body := len(tx.body())
	for i := range body {
		for bit := range 8 {
			mutated := bytes.Clone(raw)
			mutated[i] ^= 1 << bit
			back, err := DecodeTx(mutated)
			if err != nil {
				continue
			}
			if back.ID(net) == tx.ID(net) || back.Digest(net, lock) == tx.Digest(net, lock) {
				t.Fatalf("bit %d of byte %d does not matter", bit, i)
			}
		}
	}
}

func sampleTx() *Tx {
	return &Tx{
		Kind: Transfer, Sequence: 3, LockTime: 1_700_000_600,
		Inputs:    []OutPoint{{TxID: TxID{1, 2, 3}, Index: 1}},
		Outputs:   []Output{{amount.BTT, PayTo(Address{4})}, {2 * amount.BTT, Joint(testKey("k1").PublicKey(), testKey("k2").PublicKey())}},
		Witnesses: []Witness{{Keys: []PublicKey{testKey("k1").PublicKey()}, Signatures: []Signature{{1}, {2}}}},
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := sampleTx().Encode()
	at := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for name, raw := range map[string][]byte{
		"empty":           {},
		"version 0":       at(0, 0),
		"version 2":       at(0, 2),
		"kind 0":          at(1, 0),
		"kind 4":          at(1, 4),
		"too many inputs": at(14, 255),
		"shard 1":         at(15+34, 1),
		"lock kind 0":     at(15+35+1+8, 0),
		"operator lock":   at(15+35+1+8, 3),
		"17 keys":         at(len(good)-1-2*65-33-1, 17),
		"too many sigs":   at(len(good)-2*65-1, 3),
	} {
		if tx, err := DecodeTx(raw); CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v, %v", name, tx, err)
		}
	}
	if _, err := DecodeTx(make([]byte, MaxTxBytes+1)); CodeOf(err) != CodeOversized {
		t.Errorf("oversized: %v", err)
	}
	if !errors.Is(refuse(CodeDust, "x"), &Rejection{Code: CodeDust}) || errors.Is(refuse(CodeDust, "x"), &Rejection{Code: CodeStale}) {
		t.Error("errors.Is does not match rejections by code")
	}
}

func TestEncodeRefusesTheUnencodable(t *testing.T) {
	for name, tx := range map[string]*Tx{
		"kind":       {Kind: 9},
		"inputs":     {Kind: Transfer, Inputs: make([]OutPoint, 256)},
		"outputs":    {Kind: Transfer, Outputs: make([]Output, 256)},
		"lock":       {Kind: Transfer, Outputs: make([]Output, 1)},
		"witnesses":  {Kind: Transfer, Witnesses: make([]Witness, 256)},
		"signatures": {Kind: Transfer, Witnesses: []Witness{{Signatures: make([]Signature, 17)}}},
	} {
		if raw := tx.Encode(); raw != nil {
			t.Errorf("%s: encoded to %d bytes", name, len(raw))
		}
	}
}

func TestOutPointText(t *testing.T) {
	for _, o := range []OutPoint{{TxID: TxID{7}}, {TxID: TxID{7}, Index: 65535}, {TxID: TxID{7}, Index: 3, Shard: 255}} {
		if got, err := ParseOutPoint(o.String()); err != nil || got != o {
			t.Errorf("ParseOutPoint(%s) = %v, %v", o, got, err)
		}
	}
	id := TxID{7}.String()
	for _, bad := range []string{"", id, id + ":", id + ":-1", id + ":65536", id + ":01", id + ":1.256", id[1:] + ":1", id + ":1:2"} {
		if o, err := ParseOutPoint(bad); err == nil {
			t.Errorf("ParseOutPoint(%q) = %v", bad, o)
		}
	}
}

func FuzzDecodeTx(f *testing.F) {
	f.Add(sampleTx().Encode())
	f.Add((&Tx{Kind: Mint, Outputs: []Output{{1, PayTo(Address{1})}}}).Encode())
	f.Add((&Tx{Kind: Redeem, Inputs: []OutPoint{{}}}).Encode())
	f.Add([]byte{1, 1})
	p := DefaultParams()
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := DecodeTx(raw)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		if !bytes.Equal(tx.Encode(), raw) {
			t.Fatal("two encodings of one transaction")
		}
		CheckShape(tx, &p)
	})
}

func FuzzDecodeMeta(f *testing.F) {
	m := Meta{Head: GenesisHead(testGenesis())}
	f.Add(m.Encode())
	m.Pending = []Pending{{Tx: sampleTx(), OutPoint: sampleTx().Inputs[0]}}
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeMeta(raw)
		if err == nil && !bytes.Equal(m.Encode(), raw) {
			t.Fatal("two encodings of one head")
		}
	})
}

// FuzzReadSnapshot offers damaged snapshots, with a hash that fits, so that what
// lies behind it is reached too.
func FuzzReadSnapshot(f *testing.F) {
	g := testGenesis()
	store := NewMemoryCoins()
	s, err := NewStateOn(g, store)
	if err != nil {
		f.Fatal(err)
	}
	var image bytes.Buffer
	if err := s.WriteSnapshot(&image, store); err != nil {
		f.Fatal(err)
	}
	f.Add(image.Bytes()[:image.Len()-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		whole := append(bytes.Clone(body), sum[:]...)
		store := NewMemoryCoins()
		s, err := ReadSnapshot(bytes.NewReader(whole), g, store)
		if err != nil {
			if !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrHalted) {
				t.Fatal(err)
			}
			return
		}
		if total, err := SumCoins(store); err != nil || total != s.Head().Totals.Unspent {
			t.Fatalf("coins hold %s, totals %+v, %v", total, s.Head().Totals, err)
		}
	})
}

// FuzzParseNames reads what people type: what is read prints as a text that reads
// back as the same.
func FuzzParseNames(f *testing.F) {
	o := sampleTx().Inputs[0]
	f.Add(o.String())
	f.Add(o.TxID.String())
	f.Add(testKey("alice").PublicKey().String())
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := ParseOutPoint(s); err == nil {
			if back, err := ParseOutPoint(o.String()); err != nil || back != o {
				t.Fatalf("%q: %s, %v", s, o, err)
			}
		}
		if id, err := ParseTxID(s); err == nil && id.String() != strings.ToLower(s) {
			t.Fatalf("%q is a second form of %s", s, id)
		}
		if k, err := ParsePublicKey(s); err == nil && (k.String() != strings.ToLower(s) || !k.Valid()) {
			t.Fatalf("%q is a second form of %s", s, k)
		}
		if sig, err := ParseTRONSignature([]byte(s)); err == nil && sig[64] > 1 {
			t.Fatalf("recovery id %d", sig[64])
		}
	})
}
