package announce

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/tracker"
)

// udpTracker answers by a function of the datagrams, called under mu; nil is silence.
func udpTracker(t *testing.T, network string, answer func(in []byte) []byte) (url string, mu *sync.Mutex) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "udp6" {
		addr = "[::1]:0"
	}
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	mu = new(sync.Mutex)
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			out := answer(buf[:n])
			mu.Unlock()
			if out != nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	return "udp://" + conn.LocalAddr().String() + "/announce", mu
}

// polite answers as BEP 15 wants.
func polite(in []byte) []byte {
	h, err := tracker.ParseRequestHeader(in)
	if err != nil {
		return nil
	}
	switch h.Action {
	case tracker.ActionConnect:
		return tracker.AppendConnectResponse(nil, h.TransactionID, 77)
	case tracker.ActionAnnounce:
		out := tracker.AppendAnnounceHeader(nil, h.TransactionID, time.Hour, 1, 2)
		return tracker.AppendCompactPeer(out, netip.MustParseAddrPort("5.5.5.5:9"))
	}
	return tracker.AppendError(nil, h.TransactionID, "what?")
}

func action(in []byte) tracker.Action {
	h, _ := tracker.ParseRequestHeader(in)
	return h.Action
}

func TestUDPLoss(t *testing.T) {
	lost := map[tracker.Action]int{}
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		if a := action(in); lost[a] < 1 { // the first of each kind is lost
			lost[a]++
			return nil
		}
		return polite(in)
	})
	a := announcer(t, Config{UDPTries: MaxUDPTries}) // the last waits for seconds: a busy machine holds answers back
	r, err := a.Announce(t.Context(), url, request())
	mu.Lock()
	defer mu.Unlock()
	if err != nil || len(r.Peers) != 1 || r.Complete != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestUDPSilence(t *testing.T) {
	var sent []time.Time
	url, mu := udpTracker(t, "udp4", func([]byte) []byte { sent = append(sent, time.Now()); return nil })
	a := announcer(t, Config{UDPTries: 2})
	if _, err := a.Announce(t.Context(), url, request()); !errors.Is(err, ErrTimeout) {
		t.Fatalf("error %v, want ErrTimeout", err)
	}
	n := 0
	for end := time.Now().Add(time.Minute); n < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) { // they are on their way
		mu.Lock()
		n = len(sent)
		mu.Unlock()
	}
	if n != 2 {
		t.Fatalf("%d datagrams, want 2", n)
	}
	a.udp.mu.Lock()
	waiting := len(a.udp.waiting)
	a.udp.mu.Unlock()
	if waiting != 0 {
		t.Fatalf("%d calls still wait", waiting)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Announce(ctx, url, request()); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
}

// TestUDPIgnoresForgery: answers with a wrong transaction, too short ones and
// foreign sources do not count.
func TestUDPIgnoresForgery(t *testing.T) {
	var a *Announcer
	forger, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	n := 0
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		out := polite(in)
		to := a.udp.conn4.LocalAddr().(*net.UDPAddr)
		forger.WriteTo(tracker.AppendError(nil, be32(out[4:]), "forged"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port})
		if n++; n%2 == 1 {
			out[7]++
			return out
		}
		return out
	})
	mu.Lock()
	a = announcer(t, Config{UDPTries: MaxUDPTries})
	mu.Unlock()
	if _, err := a.Announce(t.Context(), url, request()); err != nil {
		t.Fatal(err)
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// TestUDPStaleConnection: a restarted tracker refuses the cached id; the
// client connects anew without bothering the schedule.
func TestUDPStaleConnection(t *testing.T) {
	id, connects := uint64(1), 0
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		h, _ := tracker.ParseRequestHeader(in)
		if h.Action == tracker.ActionConnect {
			connects++
			return tracker.AppendConnectResponse(nil, h.TransactionID, id)
		}
		if h.ConnectionID != id {
			return tracker.AppendError(nil, h.TransactionID, "bad id")
		}
		return polite(in)
	})
	a := announcer(t, Config{UDPBase: time.Minute}) // nothing is lost: nobody asks twice
	for range 2 {
		if _, err := a.Announce(t.Context(), url, request()); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	if connects != 1 {
		t.Fatalf("%d connects, want 1: the id is cached", connects)
	}
	id = 2
	mu.Unlock()
	_, err := a.Announce(t.Context(), url, request())
	mu.Lock()
	defer mu.Unlock()
	if err != nil || connects != 2 {
		t.Fatalf("after a restart: %v, %d connects", err, connects)
	}
}

// TestUDPOptions: none at first contact; then bids; a tracker that drops or
// refuses them is spared.
func TestUDPOptions(t *testing.T) {
	for _, mood := range []string{"silent", "error", "ignores", "speaks"} {
		t.Run(mood, func(t *testing.T) {
			var sizes []int
			url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
				if action(in) != tracker.ActionAnnounce {
					return polite(in)
				}
				sizes = append(sizes, len(in))
				if len(in) == tracker.AnnounceRequestSize {
					return polite(in)
				}
				h, _ := tracker.ParseRequestHeader(in)
				switch mood {
				case "silent":
					return nil
				case "error":
					return tracker.AppendError(nil, h.TransactionID, "options?")
				case "speaks":
					out := append(polite(in)[:20], 0, 1)
					out[0], out[1], out[2], out[3] = 0x62, 0xb7, 0xa3, 0x1d
					return tracker.AppendBidPeer(out, []byte{5, 5, 5, 5, 0, 9}, tracker.BidCode(7), 1)
				}
				return polite(in)
			})
			c := Config{UDPBase: time.Minute} // an answer that is late is no silence
			if mood == "silent" {
				c = Config{UDPTries: MaxUDPTries}
			}
			a := announcer(t, c)
			var last *tracker.Response
			for range 3 {
				var err error
				if last, err = a.Announce(t.Context(), url, request()); err != nil {
					t.Fatal(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if sizes[0] != tracker.AnnounceRequestSize {
				t.Errorf("first announce has %d bytes", sizes[0])
			}
			if plainAgain := sizes[len(sizes)-1] == tracker.AnnounceRequestSize; plainAgain == (mood == "speaks") {
				t.Errorf("announces had %v bytes", sizes)
			}
			if mood == "speaks" && (len(last.Peers) != 1 || last.Peers[0].Bid != 7) {
				t.Errorf("answer %+v", last)
			}
		})
	}
}
