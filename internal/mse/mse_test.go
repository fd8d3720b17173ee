package mse

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// behind is a connection whose writes do not wait for the reader, as those
// over a network do not.
type behind struct {
	net.Conn
	mu    sync.Mutex
	queue chan []byte
	ended bool
}

func (b *behind) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, io.ErrClosedPipe
	}
	b.queue <- bytes.Clone(p)
	return len(p), nil
}

func (b *behind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		close(b.queue)
	}
	return nil
}

// pair returns the two ends of a connection in memory.
func pair(t testing.TB) (net.Conn, net.Conn) {
	ends := [2]net.Conn{}
	ends[0], ends[1] = net.Pipe()
	for i, c := range ends {
		b := &behind{Conn: c, queue: make(chan []byte, 64)}
		go func() { // ends when the connection is closed
			for p := range b.queue {
				_, _ = c.Write(p) // what nobody reads is lost
			}
			c.Close()
		}()
		ends[i] = b
		t.Cleanup(func() { b.Close() })
	}
	return ends[0], ends[1]
}

// loopback returns the two ends of a TCP connection.
func loopback(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

var torrent = [20]byte{1, 2, 3}

// knows looks up the one torrent of the tests.
func knows(h [20]byte) ([20]byte, bool) { return torrent, h == Request(torrent) }

type outcome struct {
	Accepted
	err error
}

// meet does both sides of a handshake; a nil connection of the caller means
// that it failed.
func meet(a, b net.Conn, call, answer Policy, hash [20]byte, initial []byte) (net.Conn, outcome, error) {
	done := make(chan outcome, 1)
	go func() {
		got, err := Accept(b, knows, answer)
		if err != nil {
			b.Close()
		}
		done <- outcome{got, err}
	}()
	nc, binding, err := Initiate(a, hash, call, initial)
	if err != nil {
		a.Close()
	}
	got := <-done
	if err == nil && got.err == nil && (binding != got.Binding || binding == [32]byte{}) {
		got.err = fmt.Errorf("the sides know different secrets: %x and %x", binding, got.Binding)
	}
	return nc, got, err
}

func TestPolicies(t *testing.T) {
	tests := []struct {
		call, answer Policy
		want         Method // 0 = no connection
	}{
		{Allowed, Allowed, Plaintext},
		{Allowed, Required, RC4},
		{Required, Allowed, RC4},
		{Required, Required, RC4},
		{Off, Allowed, 0},
		{Allowed, Off, 0},
		{Required, Off, 0},
	}
	for _, network := range []func(testing.TB) (net.Conn, net.Conn){pair, loopback} {
		for _, tt := range tests {
			a, b := network(t)
			initial := []byte("a handshake of the torrent protocol")
			nc, got, err := meet(a, b, tt.call, tt.answer, torrent, initial)
			if tt.want == 0 {
				if err == nil || got.err == nil {
					t.Errorf("%s calls %s: errors %v and %v, want two", tt.call, tt.answer, err, got.err)
				}
				continue
			}
			if err != nil || got.err != nil {
				t.Fatalf("%s calls %s: %v, %v", tt.call, tt.answer, err, got.err)
			}
			if !got.Encrypted || got.InfoHash != torrent {
				t.Errorf("%s calls %s: accepted %+v", tt.call, tt.answer, got.Accepted)
			}
			expect(t, got.Conn, initial)
			bare := Bare(got.Conn)
			if (nc == a) != (tt.want == Plaintext) || (bare == b) != (tt.want == Plaintext) {
				t.Errorf("%s calls %s: connections %T and %T, want method %d", tt.call, tt.answer, nc, bare, tt.want)
			}
			talk(t, nc, bare)
			talk(t, bare, nc)
		}
	}
}

// talk sends some messages of many sizes and checks that they arrive.
func talk(t *testing.T, from, to net.Conn) {
	t.Helper()
	sent := make([]byte, 700_000)
	rand.Read(sent)
	want := bytes.Clone(sent)
	go func() {
		from.Write(sent[:1])
		rest := net.Buffers{sent[1:18], nil, sent[18:300_000], sent[300_000:]}
		if s, ok := from.(*Stream); ok {
			if n, err := s.WriteBuffers(rest); err != nil || n != 699_999 {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
			return
		}
		rest.WriteTo(from)
	}()
	expect(t, to, want)
	if !bytes.Equal(sent, want) {
		t.Error("the writer's bytes were changed")
	}
}

func expect(t *testing.T, nc net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was sent did not arrive: %v", err)
	}
}

func TestPlainCall(t *testing.T) {
	for _, policy := range []Policy{Off, Allowed, Required} {
		a, b := pair(t)
		go a.Write([]byte(plain + "the rest"))
		got, err := Accept(b, knows, policy)
		if policy == Required {
			if !errors.Is(err, ErrPolicy) {
				t.Errorf("%s: error %v", policy, err)
			}
			continue
		}
		if err != nil || got.Encrypted || got.Conn == b || Bare(got.Conn) == b {
			t.Fatalf("%s: %+v, %v", policy, got, err)
		}
		expect(t, got.Conn, []byte(plain))
		if Bare(got.Conn) != b {
			t.Errorf("%s: the wrapper stays", policy)
		}
		expect(t, got.Conn, []byte("the rest"))
	}
}

// TestLongInitial has an initiator who sends more than the handshake at once.
func TestLongInitial(t *testing.T) {
	for _, policy := range []Policy{Allowed, Required} {
		a, b := pair(t)
		nc, got, err := meet(a, b, policy, policy, torrent, bytes.Repeat([]byte("0123456789"), 1000))
		if err != nil || got.err != nil {
			t.Fatal(err, got.err)
		}
		expect(t, got.Conn, bytes.Repeat([]byte("0123456789"), 7))
		bare := Bare(got.Conn)
		if bare == b {
			t.Fatal("unread bytes are lost")
		}
		w := bare.(interface {
			WriteBuffers(net.Buffers) (int64, error)
		})
		if n, err := w.WriteBuffers(net.Buffers{[]byte("ab"), []byte("c")}); n != 3 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		expect(t, nc, []byte("abc"))
		expect(t, bare, bytes.Repeat([]byte("0123456789"), 993))
		talk(t, nc, bare)
	}
	a, _ := pair(t)
	if err := (&exchange{Conn: a}).sendRequest(torrent, RC4, make([]byte, MaxInitial+1)); !errors.Is(err, ErrFormat) {
		t.Errorf("a payload over the limit: %v", err)
	}
}

func TestWrongTorrent(t *testing.T) {
	a, b := pair(t)
	_, got, err := meet(a, b, Allowed, Allowed, [20]byte{9}, nil)
	if !errors.Is(got.err, ErrUnknown) || err == nil {
		t.Errorf("errors %v and %v", err, got.err)
	}
}

func TestGarbage(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, KeyLen) }
	one := key(0)
	one[KeyLen-1] = 1
	less := prime.Bytes()
	less[KeyLen-1]--
	tests := []struct {
		name string
		sent []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"short", []byte("GET / HTTP/1.0\r\n\r\n"), io.ErrUnexpectedEOF},
		{"zero key", key(0), ErrKey},
		{"key one", one, ErrKey},
		{"prime less one", less, ErrKey},
		{"beyond the prime", key(255), ErrKey},
		{"noise", bytes.Repeat([]byte("garbage "), 200), ErrSync},
		{"end in padding", bytes.Repeat([]byte("garbage "), 20), io.EOF},
	}
	for _, tt := range tests {
		a, b := pair(t)
		go func() {
			a.Write(tt.sent)
			a.Close()
		}()
		if _, err := Accept(b, knows, Allowed); !errors.Is(err, tt.want) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("accept of %s: %v, want %v", tt.name, err, tt.want)
		}
		c, d := pair(t)
		go func() {
			d.Write(tt.sent)
			d.Close()
		}()
		if _, _, err := Initiate(c, torrent, Allowed, nil); !errors.Is(err, tt.want) && !errors.Is(err, io.ErrUnexpectedEOF) &&
			!errors.Is(err, io.ErrClosedPipe) { // when our answer met the end first
			t.Errorf("call that meets %s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestReadsNoFurther checks for all paddings that what follows the handshake
// stays on the connection.
func TestReadsNoFurther(t *testing.T) {
	for pad := 0; pad <= MaxPad; pad += 37 {
		a, b := pair(t)
		done := make(chan outcome, 1)
		go func() {
			got, err := Accept(b, knows, Allowed)
			done <- outcome{got, err}
		}()
		peer := newScripted(t, a, pad)
		peer.request(Plaintext, nil, []byte("IA"))
		a.Write([]byte("after"))
		got := <-done
		if got.err != nil {
			t.Fatalf("padding %d: %v", pad, got.err)
		}
		expect(t, got.Conn, []byte("IA"))
		if Bare(got.Conn) != b {
			t.Fatalf("padding %d: the wrapper stays", pad)
		}
		expect(t, b, []byte("after"))
	}
}

// TestSlow has peers who send a byte now and then, or none.
func TestSlow(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			for _, side := range []func(net.Conn) error{
				func(nc net.Conn) error { _, err := Accept(nc, knows, Allowed); return err },
				func(nc net.Conn) error { _, _, err := Initiate(nc, torrent, Allowed, nil); return err },
			} {
				a, b := net.Pipe()
				stop := make(chan struct{})
				go io.Copy(io.Discard, a)
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(every):
							a.Write([]byte{7})
						}
					}
				}()
				began := time.Now()
				if err := side(b); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took != HandshakeTimeout {
					t.Errorf("took %s", took)
				}
				close(stop)
				a.Close()
				b.Close()
			}
		})
	}
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []Policy{Off, Allowed, Required} {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("%s became %s, %v", p, got, err)
		}
	}
	for _, s := range []string{"", "on", "OFF", Policy(9).String()} {
		if _, err := ParsePolicy(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
