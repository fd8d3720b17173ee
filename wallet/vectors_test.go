package wallet

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
)

const vectorPath = "../testdata/vectors/wallet.json"

// vectors is what independent implementations check themselves against.
type vectors struct {
	About     string           `json:"about"`
	Phrases   []vectorPhrase   `json:"phrases"`
	Refused   []string         `json:"refused_phrases"`
	Addresses []vectorAddress  `json:"addresses"`
	Signed    []vectorSigned   `json:"signatures"`
	Messages  []vectorMessage  `json:"messages"`
	Keystores []vectorKeystore `json:"keystores"`
	Backups   []vectorBackup   `json:"backups"`
}

type vectorPhrase struct {
	Phrase     string             `json:"phrase"`
	Passphrase string             `json:"passphrase"`
	Seed       string             `json:"seed"`
	Keys       []vectorDerivation `json:"keys"`
}

type vectorDerivation struct {
	Path    string           `json:"path"`
	Private string           `json:"private_key"`
	Public  ledger.PublicKey `json:"public_key"`
	Address ledger.Address   `json:"address"`
}

// vectorAddress is a text that is an address, or not.
type vectorAddress struct {
	Text  string `json:"text"`
	Hash  string `json:"account_hash,omitempty"`
	Valid bool   `json:"valid"`
	Why   string `json:"why,omitempty"`
}

// vectorSigned is a deterministic signature r, s, v with a low s.
type vectorSigned struct {
	Private   string `json:"private_key"`
	Digest    string `json:"digest"`
	Signature string `json:"signature"`
}

type vectorMessage struct {
	Text      string         `json:"text"`
	Private   string         `json:"private_key"`
	Digest    string         `json:"digest"`
	Signature string         `json:"signature"`
	Signer    ledger.Address `json:"signer"`
}

// vectorKeystore opens with Key (hex), or not.
type vectorKeystore struct {
	Name     string `json:"name"`
	Keystore string `json:"keystore"`
	Key      string `json:"key"`
	Secret   string `json:"secret,omitempty"`
	Refused  string `json:"refused,omitempty"`
}

type vectorBackup struct {
	Sealed   string          `json:"sealed"`
	Password string          `json:"password"`
	Backup   json.RawMessage `json:"backup"`
}

func vectorKeys(t *testing.T, phrase, passphrase string) vectorPhrase {
	t.Helper()
	seed, err := seedOf(phrase, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Open(phrase, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	v := vectorPhrase{Phrase: phrase, Passphrase: passphrase, Seed: hex.EncodeToString(seed)}
	for _, i := range []uint32{0, 1, 19, 1<<31 - 1} {
		for form, derive := range map[string]func(uint32) (*ledger.PrivateKey, error){"m/44'/195'/0'/0/%d": w.Key, "m/44'/195'/0'/2'/%d'": w.ChannelKey} {
			k, err := derive(i)
			if err != nil {
				t.Fatal(err)
			}
			scalar := k.Scalar()
			v.Keys = append(v.Keys, vectorDerivation{Path: fmt.Sprintf(form, i), Private: hex.EncodeToString(scalar[:]), Public: k.PublicKey(), Address: k.Address()})
		}
	}
	slices.SortStableFunc(v.Keys, func(a, b vectorDerivation) int { return cmp.Compare(a.Path, b.Path) })
	return v
}

func buildVectors(t *testing.T) vectors {
	long, err := NewPhrase(&stream{seed: 24}, LongPhrase)
	if err != nil {
		t.Fatal(err)
	}
	f := vectors{About: "Wallet: BIP-39 phrases, keys on TRON's BIP-44 path and channel keys, addresses, signatures, TRON messages, keystores, backups. No key here ever holds value.",
		Phrases: []vectorPhrase{vectorKeys(t, zeroPhrase, ""), vectorKeys(t, zeroPhrase, "TREZOR"), vectorKeys(t, long, "")},
		Refused: []string{"", "abandon", zeroPhrase + " about", zeroPhrase[:len(zeroPhrase)-5] + "abandon", "zzzz" + zeroPhrase[7:]}}
	address := f.Phrases[0].Keys[0].Address
	text := address.String()
	f.Addresses = []vectorAddress{{Text: text, Hash: hex.EncodeToString(address[:]), Valid: true},
		{Text: text[:len(text)-1] + "1", Why: "checksum"}, {Text: text[:len(text)-1], Why: "a character is missing"}, {Text: text + "1", Why: "a character too many"},
		{Text: "1BoatSLRHtKNngkdXEeobR76b53LETtpyT", Why: "prefix of another chain"}, {Text: "0" + text[1:], Why: "no base58 digit"}, {Text: "", Why: "empty"},
		{Text: "41" + hex.EncodeToString(address[:]), Why: "the hexadecimal form is not taken"}}
	for _, name := range []string{"one", "two", "three"} {
		scalar, digest := sha256.Sum256([]byte("btt wallet vector key "+name)), sha256.Sum256([]byte("btt wallet vector digest "+name))
		key, err := ledger.NewPrivateKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := key.Sign(digest)
		if err != nil {
			t.Fatal(err)
		}
		f.Signed = append(f.Signed, vectorSigned{Private: hex.EncodeToString(scalar[:]), Digest: hex.EncodeToString(digest[:]), Signature: hex.EncodeToString(sig[:])})
		message, err := SignMessage(key, []byte("I own this address: "+name+" ✓"))
		if err != nil {
			t.Fatal(err)
		}
		d := ledger.MessageDigest([]byte("I own this address: " + name + " ✓"))
		f.Messages = append(f.Messages, vectorMessage{Text: "I own this address: " + name + " ✓", Private: hex.EncodeToString(scalar[:]), Digest: hex.EncodeToString(d[:]),
			Signature: hex.EncodeToString(message[:]), Signer: key.Address()})
	}
	f.Keystores = vectorKeystores(t)
	f.Backups = vectorBackups(t)
	return f
}

func vectorKeystores(t *testing.T) (out []vectorKeystore) {
	t.Helper()
	seal := func(name string, key []byte, mode Mode, kdf KDF) []byte {
		box, err := Seal([]byte(zeroPhrase), key, mode, kdf, &stream{seed: byte(len(out))})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, vectorKeystore{Name: name, Keystore: hex.EncodeToString(box), Key: hex.EncodeToString(key), Secret: zeroPhrase})
		return box
	}
	box := seal("password, small parameters", []byte("correct horse"), ByPassword, quickKDF)
	seal("password, parameters of new wallets", []byte("correct horse"), ByPassword, PasswordKDF)
	seal("password beyond ASCII, as UTF-8 bytes", []byte("пароль ✓"), ByPassword, quickKDF)
	seal("key file", bytes.Repeat([]byte{7}, 32), ByKeyFile, KeyFileKDF)
	refuse := func(name, why string, spoil func([]byte) []byte) {
		out = append(out, vectorKeystore{Name: name, Keystore: hex.EncodeToString(spoil(bytes.Clone(box))), Key: hex.EncodeToString([]byte("correct horse")), Refused: why})
	}
	refuse("another magic", "not a keystore", func(b []byte) []byte { b[0] ^= 1; return b })
	refuse("version 2", "not a keystore", func(b []byte) []byte { b[8] = 2; return b })
	refuse("mode 3", "not a keystore", func(b []byte) []byte { b[9] = 3; return b })
	refuse("no passes", "limit", func(b []byte) []byte { b[13] = 0; return b })
	refuse("more than 1 GiB of memory", "limit", func(b []byte) []byte { b[14] = 0x10; return b })
	refuse("altered salt", "password", func(b []byte) []byte { b[19] ^= 1; return b })
	refuse("altered box", "password", func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	refuse("cut short", "password", func(b []byte) []byte { return b[:len(b)-1] })
	return out
}

func vectorBackups(t *testing.T) []vectorBackup {
	t.Helper()
	b := testBackup()
	sealed, err := SealBackup(b, []byte("paper and ink"), quickKDF, &stream{seed: 77})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return []vectorBackup{{Sealed: hex.EncodeToString(sealed), Password: "paper and ink", Backup: text}}
}

func refusedKeystore(err error) string {
	switch {
	case errors.Is(err, ErrKeystore):
		return "not a keystore"
	case errors.Is(err, ErrKeystoreLimit):
		return "limit"
	case errors.Is(err, ErrPassword):
		return "password"
	}
	return ""
}

// TestVectorsAreCurrent builds the file anew and compares it; -rewrite writes it.
func TestVectorsAreCurrent(t *testing.T) { golden.JSON(t, vectorPath, " ", buildVectors(t)) }

// TestVectors reads the file back: each claim is checked the other way round
// from how it was made.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(filepath.FromSlash(vectorPath))
	if err != nil {
		t.Fatal(err)
	}
	var f vectors
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Phrases) < 3 || len(f.Keystores) < 10 || len(f.Messages) < 3 || len(f.Addresses) < 6 {
		t.Fatal("vectors are missing")
	}
	for _, p := range f.Phrases {
		seed, err := hex.DecodeString(p.Seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range p.Keys {
			k, err := masterKey(seed).path(pathNumbers(t, d.Path)...)
			if err != nil || hex.EncodeToString(k.scalar[:]) != d.Private || d.Public.Address() != d.Address {
				t.Errorf("%s: %x (%v)", d.Path, k.scalar, err)
			}
		}
	}
	for _, p := range f.Refused {
		if _, err := Open(p, ""); !errors.Is(err, ErrPhrase) {
			t.Errorf("phrase %q: %v", p, err)
		}
	}
	for _, a := range f.Addresses {
		got, err := ledger.ParseAddress(a.Text)
		if (err == nil) != a.Valid || a.Valid && hex.EncodeToString(got[:]) != a.Hash {
			t.Errorf("address %q: %x, %v", a.Text, got, err)
		}
	}
	for _, s := range f.Signed {
		var sig ledger.Signature
		if b, err := hex.DecodeString(s.Signature); err != nil || copy(sig[:], b) != 65 {
			t.Fatal(err)
		}
		digest, _ := hex.DecodeString(s.Digest)
		pub, err := ledger.RecoverKey([32]byte(digest), sig)
		private, _ := hex.DecodeString(s.Private)
		key, keyErr := ledger.NewPrivateKey([32]byte(private))
		if err != nil || keyErr != nil || pub != key.PublicKey() || !ledger.VerifySignature(pub, [32]byte(digest), sig) || sig[32] >= 0x80 || sig[64] > 1 {
			t.Errorf("signature %s: %v, %v", s.Signature, err, keyErr)
		}
	}
	for _, m := range f.Messages {
		b, _ := hex.DecodeString(m.Signature)
		if got, err := MessageSigner([]byte(m.Text), MessageSignature(b)); err != nil || got != m.Signer {
			t.Errorf("message %q: signer %s, %v", m.Text, got, err)
		}
	}
	for _, k := range f.Keystores {
		box, _ := hex.DecodeString(k.Keystore)
		key, _ := hex.DecodeString(k.Key)
		secret, err := Unseal(box, key)
		if refusedKeystore(err) != k.Refused || err == nil && string(secret) != k.Secret {
			t.Errorf("keystore %q: %q, %v", k.Name, secret, err)
		}
	}
	for _, v := range f.Backups {
		sealed, _ := hex.DecodeString(v.Sealed)
		b, err := OpenBackup(sealed, []byte(v.Password))
		if err != nil {
			t.Fatal(err)
		}
		var want Backup
		if err := json.Unmarshal(v.Backup, &want); err != nil || want.Phrase != b.Phrase || want.NextKey != b.NextKey || len(b.Channels) != 2 {
			t.Errorf("backup %+v, %v", b, err)
		}
	}
}
