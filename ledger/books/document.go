package books

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bttnet/btt/ledger"
)

// MaxDocumentBytes is the longest document that is read.
const MaxDocumentBytes = 64 << 10

// Kinds of documents.
const (
	KindFork      = "btt-ledger-fork"      // the operator signed two histories
	KindInclusion = "btt-ledger-inclusion" // a transaction is in the ledger
)

// ErrDocument means a text that is no document, or one that proves nothing.
var ErrDocument = errors.New("the document proves nothing")

// Document is a statement about a ledger that holds for itself: whoever trusts
// that Operator is the operator's key can check it, without a server and for
// ever.
type Document struct {
	Kind     string           `json:"kind"`
	Network  ledger.Network   `json:"network"`
	Operator ledger.PublicKey `json:"operator"`
	Fork     *Fork            `json:"fork,omitempty"`      // KindFork
	Proof    *Proof           `json:"inclusion,omitempty"` // KindInclusion
}

// Fork holds two signed heads of two histories. Of equal sizes they differ in
// their roots; else Prefix shows that New continues another tree than Old.
type Fork struct {
	Old    string `json:"old"`
	New    string `json:"new"`
	Prefix []Hash `json:"prefix,omitempty"`
}

// ParseDocument reads the JSON form. Errors wrap ErrDocument. It checks the form
// alone: call Check.
func ParseDocument(text []byte) (*Document, error) {
	if len(text) > MaxDocumentBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrDocument, len(text), MaxDocumentBytes)
	}
	var d Document
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: read it: %w", ErrDocument, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: text follows it", ErrDocument)
	}
	if (d.Kind == KindFork) != (d.Fork != nil) || (d.Kind == KindInclusion) != (d.Proof != nil) || (d.Fork == nil) == (d.Proof == nil) {
		return nil, fmt.Errorf("%w: unknown kind %.32q, or without its content", ErrDocument, d.Kind)
	}
	return &d, nil
}

// Encode returns the JSON form with a line end.
func (d *Document) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return append(text, '\n'), nil
}

// Check verifies the document with the keys that it names, and returns in one
// sentence what it proves. The reader compares Network and Operator with those
// known to be right. Errors wrap ErrDocument.
func (d *Document) Check() (finding string, err error) {
	switch {
	case d.Fork != nil:
		finding, err = d.Fork.check(d.Network, d.Operator)
	case d.Proof != nil:
		var h ledger.Header
		h, err = d.Proof.Check(d.Network, d.Operator)
		finding = fmt.Sprintf("transaction %s is in block %d, at ledger time %d", d.Proof.TxID, h.Height, h.LedgerTime)
	default:
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return finding, nil
}

func (f *Fork) check(net ledger.Network, operator ledger.PublicKey) (string, error) {
	older, err := OpenHead(f.Old, net, operator)
	if err != nil {
		return "", fmt.Errorf("first head: %w", err)
	}
	newer, err := OpenHead(f.New, net, operator)
	if err != nil {
		return "", fmt.Errorf("second head: %w", err)
	}
	if older.Size == newer.Size {
		if older.Root == newer.Root {
			return "", errors.New("the two heads are equal")
		}
		return fmt.Sprintf("the operator signed two different histories of %d blocks", older.Size), nil
	}
	old, root, err := CheckPrefix(f.Prefix, older.Size, newer.Size)
	if err != nil {
		return "", err
	}
	if root != newer.Root {
		return "", errors.New("its hashes do not belong to the second head")
	}
	if old == older.Root {
		return "", errors.New("the second head continues the first")
	}
	return fmt.Sprintf("the operator signed a history of %d blocks and then one of %d that does not contain it", older.Size, newer.Size), nil
}
