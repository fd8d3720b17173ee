package mse

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
)

// scripted is an initiator that can be told to send nonsense.
type scripted struct {
	t testing.TB
	*exchange
}

// newScripted exchanges keys over nc, with a padding of pad bytes.
func newScripted(t testing.TB, nc net.Conn, pad int) *scripted {
	keys, err := newKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{Conn: nc, entropy: rand.Reader, keys: keys}
	x.write(append(bytes.Clone(keys.public[:]), make([]byte, pad)...))
	var theirs [KeyLen]byte
	if err := x.read(theirs[:]); err != nil {
		t.Fatal(err)
	}
	if x.secret, err = keys.secret(theirs[:]); err != nil {
		t.Fatal(err)
	}
	x.out, x.in = newCipher("keyA", x.secret[:], torrent[:]), newCipher("keyB", x.secret[:], torrent[:])
	return &scripted{t, x}
}

// request sends the second message.
func (s *scripted) request(offer Method, pad, initial []byte) {
	b := append(make([]byte, 8), 0, 0, 0, byte(offer), byte(len(pad)>>8), byte(len(pad)))
	b = append(b, pad...)
	b = append(b, byte(len(initial)>>8), byte(len(initial)))
	s.inner(append(b, initial...))
}

// inner sends what begins with VC, behind the right hashes.
func (s *scripted) inner(b []byte) {
	req1 := hash("req1", s.secret[:])
	name := xor(Request(torrent), hash("req3", s.secret[:]))
	s.out.XORKeyStream(b, b)
	s.write(append(append(req1[:], name[:]...), b...))
}

func TestBadRequests(t *testing.T) {
	ok := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0}
	with := func(at int, v byte) []byte {
		b := bytes.Clone(ok)
		b[at] = v
		return b
	}
	tests := []struct {
		name  string
		inner []byte
		want  error
	}{
		{"good", ok, nil},
		{"verification", with(3, 1), ErrFormat},
		{"no method", with(11, 0), ErrMethod},
		{"unknown methods", with(11, 0xf0), ErrMethod},
		{"long padding", with(12, 3), ErrFormat},
		{"long payload", with(14, 0xff), ErrFormat},
		{"end", ok[:9], io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		a, b := pair(t)
		done := make(chan outcome, 1)
		go func() {
			got, err := Accept(b, knows, Allowed)
			done <- outcome{got, err}
		}()
		s := newScripted(t, a, 0)
		s.inner(bytes.Clone(tt.inner))
		if len(tt.inner) < len(ok) {
			a.Close()
		}
		if got := <-done; !errors.Is(got.err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got.err, tt.want)
		}
	}
}

// answer plays the responder by hand up to the mark, then sends inner.
func answer(nc net.Conn, pad, inner []byte) error {
	keys, err := newKeyPair(rand.Reader)
	if err != nil {
		return err
	}
	x := &exchange{Conn: nc, entropy: rand.Reader, keys: keys}
	var theirs [KeyLen]byte
	if err := x.read(theirs[:]); err != nil {
		return err
	}
	if x.secret, err = keys.secret(theirs[:]); err != nil {
		return err
	}
	x.out = newCipher("keyB", x.secret[:], torrent[:])
	x.out.XORKeyStream(inner, inner)
	return x.write(append(append(bytes.Clone(keys.public[:]), pad...), inner...))
}

func TestBadChoices(t *testing.T) {
	tests := []struct {
		name   string
		policy Policy
		fields []byte
		want   error
	}{
		{"good", Allowed, []byte{0, 0, 0, 2, 0, 1, 7}, nil},
		{"none", Allowed, []byte{0, 0, 0, 0, 0, 0}, ErrMethod},
		{"both", Allowed, []byte{0, 0, 0, 3, 0, 0}, ErrMethod},
		{"unknown", Allowed, []byte{0, 0, 0, 4, 0, 0}, ErrMethod},
		{"not offered", Required, []byte{0, 0, 0, 1, 0, 0}, ErrMethod},
		{"long padding", Allowed, []byte{0, 0, 0, 2, 2, 1}, ErrFormat},
	}
	for _, tt := range tests {
		a, b := pair(t)
		go answer(b, make([]byte, 300), append(make([]byte, 8), tt.fields...))
		if _, _, err := Initiate(a, torrent, tt.policy, nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
