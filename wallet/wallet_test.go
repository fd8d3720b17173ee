package wallet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/bttnet/btt/ledger"
)

type hdVector struct {
	Mnemonic string `json:"mnemonic"`
	Derived  []struct {
		Path       string `json:"path"`
		PrivateKey string `json:"private_key"`
		Address    string `json:"address_base58"`
	} `json:"derived"`
}

type keyVectors struct {
	Keys []struct {
		Label   string `json:"label"`
		Private string `json:"private_key"`
		Address string `json:"address_base58"`
	} `json:"keys"`
	HD   hdVector `json:"hd"`
	Pass []struct {
		Path       string `json:"path"`
		Passphrase string `json:"passphrase"`
		PrivateKey string `json:"private_key"`
		Address    string `json:"address_base58"`
	} `json:"hd_with_passphrase"`
	Validity []struct {
		Input string `json:"input"`
		Why   string `json:"why"`
		Valid bool   `json:"tronweb_isAddress"`
	} `json:"address_validation"`
}

func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// pathNumbers parses m/44'/195'/0'/0/0.
func pathNumbers(t *testing.T, path string) []uint32 {
	var out []uint32
	for _, part := range strings.Split(path, "/")[1:] {
		digits, mark := strings.CutSuffix(part, "'")
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			t.Fatal(err)
		}
		if mark {
			n |= uint64(hardened)
		}
		out = append(out, uint32(n))
	}
	return out
}

func TestDerivationEqualsTronWeb(t *testing.T) {
	var v keyVectors
	readVectors(t, "keys.json", &v)
	seed, err := seedOf(v.HD.Mnemonic, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range v.HD.Derived {
		k, err := masterKey(seed).path(pathNumbers(t, d.Path)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(k.scalar[:]); got != d.PrivateKey {
			t.Errorf("%s: key %s, want %s", d.Path, got, d.PrivateKey)
		}
		key, err := ledger.NewPrivateKey(k.scalar)
		if err != nil {
			t.Fatal(err)
		}
		if got := key.PublicKey().Address().String(); got != d.Address {
			t.Errorf("%s: address %s, want %s", d.Path, got, d.Address)
		}
	}
	if len(v.HD.Derived) < 4 || len(v.Pass) < 1 {
		t.Fatal("vectors are missing")
	}
	for _, p := range v.Pass {
		w, err := Open(v.HD.Mnemonic, p.Passphrase)
		if err != nil {
			t.Fatal(err)
		}
		key, err := w.Key(0)
		if err != nil {
			t.Fatal(err)
		}
		if got := key.PublicKey().Address().String(); got != p.Address {
			t.Errorf("with passphrase: address %s, want %s", got, p.Address)
		}
	}
}

func TestWalletKeysAndAddresses(t *testing.T) {
	var v keyVectors
	readVectors(t, "keys.json", &v)
	w, err := Open("  "+strings.ToUpper(v.HD.Mnemonic)+"\n", "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.Key(1000000)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.PublicKey().Address().String(); got != "TLyD19fUG6pKu6yRQNgH3TKnnoBJb1xVH4" {
		t.Errorf("key 1000000 is %s", got)
	}
	for _, k := range v.Keys {
		raw, _ := hex.DecodeString(k.Private)
		key, err := ledger.NewPrivateKey([32]byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", k.Label, err)
		}
		if got := key.PublicKey().Address().String(); got != k.Address {
			t.Errorf("%s: address %s, want %s", k.Label, got, k.Address)
		}
	}
	for _, a := range v.Validity {
		_, err := ledger.ParseAddress(a.Input)
		if want := a.Valid && strings.HasPrefix(a.Input, "T"); (err == nil) != want {
			t.Errorf("%s (%s): error %v, want valid %v", a.Input, a.Why, err, want)
		}
	}
}

func TestChannelKeysAreSeparate(t *testing.T) {
	w, err := Open("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about", "")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[ledger.PublicKey]bool{}
	for i := range uint32(20) {
		for _, derive := range []func(uint32) (*ledger.PrivateKey, error){w.Key, w.ChannelKey} {
			key, err := derive(i)
			if err != nil {
				t.Fatal(err)
			}
			if seen[key.PublicKey()] {
				t.Fatalf("key %d repeats", i)
			}
			seen[key.PublicKey()] = true
		}
	}
	again, _ := w.ChannelKey(3)
	if !seen[again.PublicKey()] {
		t.Error("channel key 3 is not stable")
	}
	if _, err := w.Key(1 << 31); err == nil {
		t.Error("index 2^31 accepted")
	}
}

func TestPhrase(t *testing.T) {
	phrase, err := NewPhrase(bytes.NewReader(make([]byte, 16)), ShortPhrase)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("abandon ", 11) + "about"; phrase != want {
		t.Errorf("phrase %q, want %q", phrase, want)
	}
	long, err := NewPhrase(bytes.NewReader(bytes.Repeat([]byte{7}, 32)), LongPhrase)
	if err != nil || len(strings.Fields(long)) != 24 {
		t.Errorf("long phrase %q, error %v", long, err)
	}
	if _, err := NewPhrase(bytes.NewReader(make([]byte, 15)), ShortPhrase); err == nil {
		t.Error("short entropy accepted")
	}
	if _, err := NewPhrase(bytes.NewReader(make([]byte, 64)), 13); err == nil {
		t.Error("13 words accepted")
	}
	for _, bad := range []string{"", "abandon", phrase + " abandon", strings.Replace(phrase, "about", "abandon", 1), strings.Repeat("x ", 5000)} {
		if _, err := Open(bad, ""); !errors.Is(err, ErrPhrase) {
			t.Errorf("Open(%.40q): error %v, want ErrPhrase", bad, err)
		}
	}
	if _, err := Open(phrase, "pässwort"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("passphrase beyond ASCII: %v", err)
	}
}

func TestMessagesEqualTronWeb(t *testing.T) {
	var v struct {
		Messages []struct {
			Scheme     string  `json:"scheme"`
			Text       *string `json:"message_utf8"`
			Hex        string  `json:"message_hex"`
			Digest     string  `json:"digest"`
			Signer     string  `json:"signer"`
			PrivateKey string  `json:"private_key"`
			Signature  string  `json:"signature"`
		} `json:"messages"`
	}
	readVectors(t, "messages.json", &v)
	n := 0
	for _, m := range v.Messages {
		if m.Scheme != "signMessageV2" {
			continue
		}
		n++
		message, _ := hex.DecodeString(m.Hex)
		if m.Text != nil {
			message = []byte(*m.Text)
		}
		if d := ledger.MessageDigest(message); hex.EncodeToString(d[:]) != m.Digest {
			t.Errorf("%q: digest %x, want %s", message, d, m.Digest)
		}
		raw, _ := hex.DecodeString(m.PrivateKey)
		key, err := ledger.NewPrivateKey([32]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := SignMessage(key, message)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sig[:]); got != m.Signature {
			t.Errorf("%q: signature %s, want %s", message, got, m.Signature)
		}
		checkSigner(t, message, sig, m.Signer)
	}
	if n != 5 {
		t.Fatalf("%d messages checked, want 5", n)
	}
}

func checkSigner(t *testing.T, message []byte, sig MessageSignature, want string) {
	t.Helper()
	for _, shift := range []byte{0, 27} {
		form := sig
		form[64] = form[64] - 27 + shift
		got, err := MessageSigner(message, form)
		if err != nil || got.String() != want {
			t.Errorf("%q: signer %s (%v), want %s", message, got, err, want)
		}
	}
	if got, err := MessageSigner(append([]byte("x"), message...), sig); err == nil && got.String() == want {
		t.Errorf("%q: signature fits another text", message)
	}
	for _, v := range []byte{2, 3, 26, 29, 255} {
		form := sig
		form[64] = v
		if _, err := MessageSigner(message, form); !errors.Is(err, ErrMessage) {
			t.Errorf("v = %d: error %v", v, err)
		}
	}
}

// TestSignaturesEqualTronWeb signs the transactions that TronWeb signed: r, s and
// the recovery id are the same to the last bit, so a key is safe in both.
func TestSignaturesEqualTronWeb(t *testing.T) {
	var v struct {
		Transactions []struct {
			Label       string   `json:"label"`
			PrivateKeys []string `json:"private_keys"`
			Raw         string   `json:"raw_data_hex"`
			TxID        string   `json:"txid"`
			Signatures  []string `json:"signatures"`
		} `json:"transactions"`
	}
	readVectors(t, "transactions.json", &v)
	if len(v.Transactions) != 17 {
		t.Fatalf("%d transactions, want 17", len(v.Transactions))
	}
	for _, x := range v.Transactions {
		raw, err := hex.DecodeString(x.Raw)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(raw)
		if hex.EncodeToString(digest[:]) != x.TxID {
			t.Errorf("%s: id %x, want %s", x.Label, digest, x.TxID)
		}
		for i, private := range x.PrivateKeys {
			if got := tronSignature(t, private, digest); got != x.Signatures[i] {
				t.Errorf("%s: signature %s, want %s", x.Label, got, x.Signatures[i])
			}
		}
	}
}

// tronSignature signs and writes as TronWeb does.
func tronSignature(t *testing.T, private string, digest [32]byte) string {
	t.Helper()
	scalar, err := hex.DecodeString(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ledger.NewPrivateKey([32]byte(scalar))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := key.Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	sig[64] += tronV
	return hex.EncodeToString(sig[:])
}
