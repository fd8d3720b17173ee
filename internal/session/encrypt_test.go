package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/wire"
)

// TestEncryption transfers between nodes of all policies; those that exclude
// one another must not meet.
func TestEncryption(t *testing.T) {
	files := map[string]int{"a": 1_500_000}
	dir, torrent := content(t, files, 64<<10)
	tests := []struct {
		call, answer     mse.Policy
		meets, encrypted bool
	}{
		{mse.Allowed, mse.Allowed, true, false},
		{mse.Allowed, mse.Required, true, true}, // by the second call
		{mse.Allowed, mse.Off, true, false},
		{mse.Required, mse.Allowed, true, true},
		{mse.Required, mse.Required, true, true},
		{mse.Required, mse.Off, false, false},
		{mse.Off, mse.Required, false, false},
		{mse.Off, mse.Allowed, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.call.String()+" calls "+tt.answer.String(), func(t *testing.T) {
			t.Parallel()
			seed, leech := open(t, Config{Encryption: tt.answer}), open(t, Config{Encryption: tt.call})
			s := add(t, seed, Add{Torrent: torrent, Dir: dir})
			await(t, s)
			to := t.TempDir()
			l := add(t, leech, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
			if !tt.meets {
				time.Sleep(300 * time.Millisecond)
				if n := len(l.Status().Peers) + len(s.Status().Peers); n > 0 {
					t.Errorf("%d connections", n)
				}
				return
			}
			got := watchPeers(l)
			await(t, l)
			sameFiles(t, dir, to, files)
			for _, st := range []Status{l.Status(), s.Status(), <-got} {
				for _, p := range st.Peers {
					if p.Encrypted != tt.encrypted {
						t.Errorf("encrypted = %v, want %v", p.Encrypted, tt.encrypted)
					}
				}
			}
			if again := (*dialer)(leech).ways(seed.Addr())[0]; again != tt.encrypted {
				t.Errorf("the next call is encrypted = %v, want %v", again, tt.encrypted)
			}
		})
	}
}

// watchPeers gives the first status with a peer.
func watchPeers(sw *Torrent) <-chan Status {
	got := make(chan Status, 1)
	go func() { // ends with the test's torrent
		for {
			st := sw.Status()
			if len(st.Peers) > 0 || st.Err != nil {
				got <- st
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return got
}

// TestEncryptedStranger calls for a torrent that the session does not have.
func TestEncryptedStranger(t *testing.T) {
	s := open(t, Config{})
	d := (*dialer)(open(t, Config{Encryption: mse.Required}))
	if _, err := d.Dial(t.Context(), s.Addr(), wire.Handshake{Reserved: wire.OurReserved(), InfoHash: [20]byte{1}}); err == nil {
		t.Error("a torrent that is not here was answered for")
	}
}

func TestWantsAreBounded(t *testing.T) {
	var w wants
	for i := range maxWants + 100 {
		w.set(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), true)
	}
	last := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, 1}), 1)
	w.set(last, true)
	if len(w.addrs) != maxWants || !w.encrypted(last) {
		t.Errorf("%d addresses", len(w.addrs))
	}
	w.set(last, false)
	if w.encrypted(last) {
		t.Error("not forgotten")
	}
}
