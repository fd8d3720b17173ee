package books

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/ledger"
)

// Hash is a hash of the tree; its text form is base64.
type Hash = tlog.Hash

// MaxNoteBytes is the longest signed head that is read.
const MaxNoteBytes = 4 << 10

// originPrefix and the network make the first line of a head and the name of its
// key, so that heads of two networks never meet.
const originPrefix = "btt-ledger/"

// keyType names the signature in a note's key hash: 0xff stands for a type that
// has no number of its own and is followed by its name (C2SP signed notes).
const keyType = "\xffbtt-secp256k1"

// tagHead is the tag of the hash that the operator signs for a head.
const tagHead = "ledger/head"

// MaxSize is the largest tree, in blocks: 2^48 blocks are far beyond any use and
// keep every index in range.
const MaxSize = 1 << 48

var (
	// ErrHead means a text that is no signed head of this network and operator.
	ErrHead = errors.New("not a signed tree head of this ledger")
	// ErrProof means a proof that does not prove what it claims.
	ErrProof = errors.New("the proof does not fit")
)

// Head is the state of the tree after Size blocks.
type Head struct {
	Size uint64 // blocks; block h is leaf h-1
	Root Hash
}

// Origin returns the first line of all heads of a network.
func Origin(net ledger.Network) string { return originPrefix + net.String() }

// Text returns the text that is signed: origin, size and root, a line each (the
// checkpoint form of C2SP tlog-checkpoint).
func (h Head) Text(net ledger.Network) string {
	return fmt.Sprintf("%s\n%d\n%s\n", Origin(net), h.Size, base64.StdEncoding.EncodeToString(h.Root[:]))
}

// parseText reads what Text writes; lines behind the third are extensions and
// are passed over.
func parseText(text string, net ledger.Network) (Head, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] != Origin(net) {
		return Head{}, fmt.Errorf("%w: its first line is not %q", ErrHead, Origin(net))
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || size > MaxSize || strconv.FormatUint(size, 10) != lines[1] {
		return Head{}, fmt.Errorf("%w: size %.32q", ErrHead, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Head{}, fmt.Errorf("%w: root %.64q", ErrHead, lines[2])
	}
	return Head{Size: size, Root: Hash(root)}, nil
}

// SignHead returns the signed note of a head. key is the operator's.
func SignHead(h Head, net ledger.Network, key ledger.Signer) ([]byte, error) {
	text, err := note.Sign(&note.Note{Text: h.Text(net)}, signer{newVerifier(net, key.PublicKey()), key})
	if err != nil {
		return nil, fmt.Errorf("sign tree head: %w", err)
	}
	return text, nil
}

// OpenHead checks a signed note and returns its head. Further signatures, such as
// those of witnesses, are allowed and not looked at. Errors wrap ErrHead.
func OpenHead(text string, net ledger.Network, operator ledger.PublicKey) (Head, error) {
	if len(text) > MaxNoteBytes {
		return Head{}, fmt.Errorf("%w: %d bytes, at most %d", ErrHead, len(text), MaxNoteBytes)
	}
	n, err := note.Open([]byte(text), note.VerifierList(newVerifier(net, operator)))
	if err != nil {
		return Head{}, fmt.Errorf("%w: not signed by operator %s: %w", ErrHead, operator, err)
	}
	return parseText(n.Text, net)
}

// verifier is the operator's key as package note sees it.
type verifier struct {
	name string
	hash uint32
	key  ledger.PublicKey
}

func newVerifier(net ledger.Network, key ledger.PublicKey) verifier {
	name := Origin(net)
	sum := sha256.Sum256([]byte(name + "\n" + keyType + string(key[:])))
	return verifier{name: name, hash: binary.BigEndian.Uint32(sum[:]), key: key}
}

// Name implements note.Verifier.
func (v verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v verifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier.
func (v verifier) Verify(text, sig []byte) bool {
	return len(sig) == len(ledger.Signature{}) && ledger.VerifySignature(v.key, HeadDigest(text), ledger.Signature(sig))
}

// HeadDigest returns what the operator signs for the text of a head: SHA-256 over
// SHA-256("ledger/head") twice and the text.
func HeadDigest(text []byte) [32]byte {
	tag := sha256.Sum256([]byte(tagHead))
	h := sha256.New()
	h.Write(tag[:])
	h.Write(tag[:])
	h.Write(text)
	return [32]byte(h.Sum(nil))
}

type signer struct {
	verifier
	key ledger.Signer
}

// Sign implements note.Signer.
func (s signer) Sign(text []byte) ([]byte, error) {
	sig, err := s.key.Sign(HeadDigest(text))
	return sig[:], err
}
