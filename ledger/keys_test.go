package ledger

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hexBytes reads hex strings of JSON vectors.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

// TestTRONVectors checks keys, addresses and message signatures against what
// a TRON wallet library made.
func TestTRONVectors(t *testing.T) {
	var v struct {
		Keys []struct {
			PrivateKey hexBytes `json:"private_key"`
			Public     hexBytes `json:"public_key_uncompressed"`
			Hex        hexBytes `json:"address_hex"`
			Base58     string   `json:"address_base58"`
		}
		Validation []struct {
			Input string
			Valid bool
		} `json:"address_validation"`
		Messages []struct {
			Message    hexBytes `json:"message_hex"`
			Digest     hexBytes
			Signer     string
			PrivateKey hexBytes `json:"private_key"`
			Signature  hexBytes
		}
	}
	readJSON(t, "testdata/tron.json", &v)
	if len(v.Keys) < 15 || len(v.Messages) != 5 || len(v.Validation) != 10 {
		t.Fatalf("%d keys, %d messages, %d addresses", len(v.Keys), len(v.Messages), len(v.Validation))
	}
	for _, k := range v.Keys {
		key, err := NewPrivateKey([32]byte(k.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		pub := key.PublicKey()
		if [32]byte(pub[1:]) != [32]byte(k.Public[1:33]) || pub[0]-2 != k.Public[64]&1 {
			t.Errorf("%s: public key %s", k.Base58, pub)
		}
		a := key.Address()
		if a != Address(k.Hex[1:]) || a.String() != k.Base58 {
			t.Errorf("%s: address %s", k.Base58, a)
		}
		if b, err := ParseAddress(k.Base58); err != nil || b != a {
			t.Errorf("ParseAddress(%s) = %x, %v", k.Base58, b, err)
		}
	}
	for _, c := range v.Validation {
		if _, err := ParseAddress(c.Input); (err == nil) != c.Valid || (err != nil && !errors.Is(err, ErrAddress)) {
			t.Errorf("ParseAddress(%q): %v, want valid %v", c.Input, err, c.Valid)
		}
	}
	for _, m := range v.Messages {
		key, err := NewPrivateKey([32]byte(m.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		digest := MessageDigest(m.Message)
		if digest != [32]byte(m.Digest) {
			t.Errorf("digest of %x = %x", m.Message, digest)
		}
		want, err := ParseTRONSignature(m.Signature)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := key.Sign(digest); err != nil || got != want {
			t.Errorf("signature of %x = %s, %v", m.Message, got, err)
		}
		if got, err := RecoverKey(digest, want); err != nil || got.Address().String() != m.Signer || !VerifySignature(got, digest, want) {
			t.Errorf("recovered %s, %v; want %s", got.Address(), err, m.Signer)
		}
	}
}

func TestPrivateKeyRange(t *testing.T) {
	for name, c := range map[string]struct {
		v  *big.Int
		ok bool
	}{
		"zero": {new(big.Int), false}, "one": {big.NewInt(1), true},
		"order-1": {new(big.Int).Sub(order, big.NewInt(1)), true}, "order": {order, false},
		"all ones": {new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)), false},
	} {
		k, err := NewPrivateKey([32]byte(c.v.FillBytes(make([]byte, 32))))
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrKey)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && k.Scalar() != [32]byte(c.v.FillBytes(make([]byte, 32))) {
			t.Errorf("%s: scalar changed", name)
		}
	}
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	k := testKey("secret")
	secret := k.Scalar()
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		out := fmt.Sprintf(f, k)
		if strings.Contains(out, hex.EncodeToString(secret[:4])) || !strings.Contains(out, k.Address().String()) {
			t.Errorf("%s prints %q", f, out)
		}
	}
}

func TestPublicKeyText(t *testing.T) {
	k := testKey("a").PublicKey()
	if got, err := ParsePublicKey(k.String()); err != nil || got != k {
		t.Errorf("ParsePublicKey = %s, %v", got, err)
	}
	for _, bad := range []string{"", "02", strings.Repeat("0", 66), "04" + strings.Repeat("11", 32), "02" + strings.Repeat("ff", 32), strings.Repeat("z", 66)} {
		if _, err := ParsePublicKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("ParsePublicKey(%q): %v", bad, err)
		}
	}
	if (PublicKey{}).Valid() || !(PublicKey{}).IsZero() || (PublicKey{}).Address() != (Address{}) {
		t.Error("the zero key counts as a key")
	}
}

func TestAddressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Address(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "a"))
		s := a.String()
		if b, err := ParseAddress(s); err != nil || a != b || s[0] != 'T' || len(s) != 34 {
			t.Fatalf("%x -> %s -> %x, %v", a, s, b, err)
		}
		i := rapid.IntRange(0, 33).Draw(t, "i")
		typo := []byte(s)
		if typo[i]++; true {
			if b, err := ParseAddress(string(typo)); err == nil {
				t.Fatalf("one wrong character passes: %s -> %x", typo, b)
			}
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	f.Add("TWMgf8KnFVH6KCHuzf5pDabtPvZNc1ijtR")
	f.Add("T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb")
	f.Add("27jTzCSe9hdJL1NY9KWj6HVTdBr2zAbN1mh")
	f.Add(strings.Repeat("1", 34))
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err == nil && a.String() != s {
			t.Fatalf("%q is a second form of %s", s, a)
		}
	})
}
