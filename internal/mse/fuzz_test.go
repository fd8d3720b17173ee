package mse

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// tape is a connection that plays what was recorded, for one side alone. Its
// first write fixes the keys: next then gives the bytes to read.
type tape struct {
	net.Conn
	in    bytes.Reader
	next  func(first []byte) []byte
	wrote int
}

func (t *tape) Read(b []byte) (int, error)        { return t.in.Read(b) }
func (t *tape) SetDeadline(time.Time) error       { return nil }
func (t *tape) Close() error                      { return nil }
func (t *tape) rest() []byte                      { b, _ := io.ReadAll(&t.in); return b }
func (t *tape) after(f func(first []byte) []byte) { t.next = f }
func (t *tape) Write(b []byte) (int, error) {
	t.wrote += len(b)
	if t.next != nil {
		left := t.rest()
		t.in.Reset(append(left, t.next(b)...))
		t.next = nil
	}
	return len(b), nil
}

// zeros is entropy for keys that do not change.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func fixedKeys(t *testing.T) *keyPair {
	k, err := newKeyPair(zeros{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// FuzzAccept sends raw bytes, and behind a right key exchange any padding and
// any inner message.
func FuzzAccept(f *testing.F) {
	ok := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 'h', 'i'}
	f.Add([]byte{}, ok, false)
	f.Add(make([]byte, 300), ok, false)
	f.Add([]byte("pad"), append(bytes.Clone(ok), "tail"...), false)
	f.Add([]byte(plain), []byte{}, true)
	f.Add(bytes.Repeat([]byte{7}, 700), []byte{}, true)
	f.Fuzz(func(t *testing.T, pad, inner []byte, raw bool) {
		nc := &tape{}
		if raw {
			nc.in.Reset(append(bytes.Clone(pad), inner...))
		} else {
			keys := fixedKeys(t) // both sides have the same ones: a legal case
			nc.in.Reset(append(bytes.Clone(keys.public[:]), pad...))
			secret, _ := keys.secret(keys.public[:])
			nc.after(func([]byte) []byte {
				req1, name := hash("req1", secret[:]), xor(Request(torrent), hash("req3", secret[:]))
				cut := bytes.Clone(inner)
				newCipher("keyA", secret[:], torrent[:]).XORKeyStream(cut, cut)
				return append(append(req1[:], name[:]...), cut...)
			})
		}
		got, err := accept(nc, zeros{}, knows, Allowed)
		if nc.wrote > KeyLen+MaxPad+14 {
			t.Fatalf("wrote %d bytes", nc.wrote)
		}
		if err != nil {
			return
		}
		if !got.Encrypted {
			if !bytes.HasPrefix(append(bytes.Clone(pad), inner...), []byte(plain)) {
				t.Fatal("took for plain what is not")
			}
			return
		}
		if !raw && len(pad) > MaxPad {
			t.Fatalf("took a padding of %d bytes", len(pad))
		}
		io.Copy(io.Discard, got.Conn)
	})
}

// FuzzInitiate answers with raw bytes, and behind a right key with any padding
// and any inner message.
func FuzzInitiate(f *testing.F) {
	f.Add([]byte{}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 'x'}, false)
	f.Add(make([]byte, 512), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 'x'}, false)
	f.Add(bytes.Repeat([]byte{7}, 900), []byte{}, true)
	f.Fuzz(func(t *testing.T, pad, inner []byte, raw bool) {
		nc := &tape{}
		if raw {
			nc.in.Reset(append(bytes.Clone(pad), inner...))
		} else {
			keys := fixedKeys(t)
			secret, _ := keys.secret(keys.public[:])
			cut := bytes.Clone(inner)
			newCipher("keyB", secret[:], torrent[:]).XORKeyStream(cut, cut)
			nc.in.Reset(append(append(keys.public[:], pad...), cut...))
		}
		got, _, err := initiate(nc, zeros{}, torrent, Allowed, []byte("hello"))
		if err != nil {
			return
		}
		if !raw && len(pad) > MaxPad {
			t.Fatalf("took a padding of %d bytes", len(pad))
		}
		io.Copy(io.Discard, got)
	})
}
