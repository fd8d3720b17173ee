package ledgerd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

const vectorPath = "../../testdata/vectors/ledger-books.json"

// vectorBooks is what an independent reader of logs, heads and proofs checks
// itself against.
type vectorBooks struct {
	About    string           `json:"about"`
	Genesis  ledger.Genesis   `json:"genesis"`
	Network  ledger.Network   `json:"network"`
	Operator ledger.PublicKey `json:"operator"`
	Blocks   []vectorBlock    `json:"blocks"`
	Heads    []vectorHead     `json:"heads"`
	Prefixes []vectorPrefix   `json:"prefixes"`
	Proof    books.Document   `json:"inclusion"`
	Fork     books.Document   `json:"fork"`
}

// vectorBlock is one record of a log.
type vectorBlock struct {
	Record   string   `json:"record"` // hex, whole
	Header   string   `json:"header_hash"`
	Seal     string   `json:"seal"` // what the operator signs
	Leaf     string   `json:"leaf"`
	LeafHash string   `json:"leaf_hash"`
	TxIDs    []string `json:"txids"`
}

type vectorHead struct {
	Size   uint64 `json:"size"`
	Root   string `json:"root"`
	Text   string `json:"text"`
	Digest string `json:"digest"`
	Note   string `json:"note"`
}

type vectorPrefix struct {
	From   uint64       `json:"from"`
	Size   uint64       `json:"size"`
	Hashes []books.Hash `json:"hashes"`
}

func buildBooks(t *testing.T) vectorBooks {
	dir := t.TempDir()
	s, status := varied(t, dir)
	g, err := readGenesis(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := vectorBooks{
		About: "Ledger: records of the block log, leaves and heads of the tree over them, proofs, and evidence of a fork. " +
			"The operator's private key is the byte 1, 30 zeros, the byte 200.",
		Genesis: g, Network: s.Network(), Operator: s.Operator(),
	}
	log, err := os.ReadFile(filepath.Join(dir, blocksFile))
	if err != nil {
		t.Fatal(err)
	}
	r := &logReader{src: bytes.NewReader(log), size: int64(len(log))}
	var last ledger.TxID
	for {
		from := r.offset
		b, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		hash, seal, leaf := b.Header.Hash(v.Network), b.seal(v.Network), books.Leaf(&b.Header, b.RawsRoot)
		h := tlog.RecordHash(leaf)
		e := vectorBlock{Record: hex.EncodeToString(log[from:r.offset]), Header: hex.EncodeToString(hash[:]), Seal: hex.EncodeToString(seal[:]),
			Leaf: hex.EncodeToString(leaf), LeafHash: hex.EncodeToString(h[:]), TxIDs: []string{}}
		for _, raw := range b.Raws {
			tx, err := ledger.DecodeTx(raw)
			if err != nil {
				t.Fatal(err)
			}
			last = tx.ID(v.Network)
			e.TxIDs = append(e.TxIDs, last.String())
		}
		v.Blocks = append(v.Blocks, e)
	}
	note := func(h books.Head) string {
		text, err := books.SignHead(h, v.Network, key(200))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for size := range status.Height + 1 {
		root, err := tlog.TreeHash(int64(size), s.prover.tree)
		if err != nil {
			t.Fatal(err)
		}
		head := books.Head{Size: size, Root: root}
		digest := books.HeadDigest([]byte(head.Text(v.Network)))
		v.Heads = append(v.Heads, vectorHead{size, hex.EncodeToString(root[:]), head.Text(v.Network), hex.EncodeToString(digest[:]), note(head)})
		if size == 0 || size == status.Height {
			continue
		}
		prefix, err := books.ProvePrefix(size, status.Height, s.prover.tree)
		if err != nil {
			t.Fatal(err)
		}
		v.Prefixes = append(v.Prefixes, vectorPrefix{size, status.Height, prefix})
	}
	p, err := source(t, s).Proof(t.Context(), last, 0)
	if err != nil {
		t.Fatal(err)
	}
	v.Proof = books.Document{Kind: books.KindInclusion, Network: v.Network, Operator: v.Operator, Proof: &p}
	other := books.Head{Size: 3, Root: books.Hash{0xff}}
	v.Fork = books.Document{Kind: books.KindFork, Network: v.Network, Operator: v.Operator,
		Fork: &books.Fork{Old: note(other), New: p.Head, Prefix: v.Prefixes[2].Hashes}}
	return v
}

// TestBookVectors: what differs makes records and heads of running ledgers
// unreadable.
func TestBookVectors(t *testing.T) {
	golden.JSON(t, vectorPath, " ", buildBooks(t))
}

// TestBookVectorsReadBack reads the file as another implementation would: the
// records make a log that passes the audit, the heads are those of its tree, the
// documents hold.
func TestBookVectorsReadBack(t *testing.T) {
	text, err := os.ReadFile(vectorPath)
	if err != nil {
		t.Fatal(err)
	}
	var v vectorBooks
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	genesis, err := json.Marshal(v.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	var log []byte
	for _, b := range v.Blocks {
		record, err := hex.DecodeString(b.Record)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, record...)
	}
	for name, data := range map[string][]byte{genesisFile: genesis, blocksFile: log} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var held []string
	for _, h := range v.Heads[1:] {
		held = append(held, h.Note)
	}
	r, err := Audit(dir, held...)
	if err != nil || r.Held != len(v.Blocks) || r.Operator != v.Operator || r.Network != v.Network {
		t.Errorf("%+v, %v", r, err)
	}
	whole := v.Heads[len(v.Heads)-1]
	for _, p := range v.Prefixes {
		old, root, err := books.CheckPrefix(p.Hashes, p.From, p.Size)
		if err != nil || hex.EncodeToString(old[:]) != v.Heads[p.From].Root || hex.EncodeToString(root[:]) != whole.Root {
			t.Errorf("prefix %d: %v", p.From, err)
		}
	}
	for _, d := range []books.Document{v.Proof, v.Fork} {
		if _, err := d.Check(); err != nil {
			t.Errorf("%s: %v", d.Kind, err)
		}
	}
}
