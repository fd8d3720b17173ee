package trackerd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/tracker"
)

// TestFlood: while strangers send garbage as fast as they can by UDP and TCP,
// wrong connection ids and cut announces among it, an honest client is served,
// no peer is made up, and no datagram of theirs brings a longer one back.
func TestFlood(t *testing.T) {
	s := start(t, Config{})
	port := s.Addr().Port()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var sent, sentBytes, gotBytes atomic.Int64
	for i := range 2 {
		wg.Go(func() { flood(t, port, uint64(i), stop, &sent, &sentBytes, &gotBytes) }) // ends with stop
	}
	wg.Go(func() { floodTCP(port, stop) })
	a := client(t, 7001)
	for _, url := range []string{"http://127.0.0.1:%d/announce", "udp://127.0.0.1:%d/announce"} {
		for i := range 3 {
			ok := false
			for range 10 { // a full socket loses honest datagrams too
				if _, err := a.Announce(t.Context(), fmt.Sprintf(url, port), request(byte(i+1), 7001, 5)); err == nil {
					ok = true
					break
				}
			}
			if !ok {
				t.Errorf("%s is not served during the flood", url)
			}
		}
	}
	for end := time.Now().Add(20 * time.Second); sent.Load() < 50_000 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	st := s.Stats()
	if st.Peers4 != 3 || st.Dropped == 0 {
		t.Errorf("%d peers, %d datagrams dropped of %d", st.Peers4, st.Dropped, sent.Load())
	}
	if gotBytes.Load() > sentBytes.Load() {
		t.Errorf("%d bytes of garbage brought %d bytes back", sentBytes.Load(), gotBytes.Load())
	}
	t.Logf("%d datagrams of garbage, %d dropped, %d errors", sent.Load(), st.Dropped, st.Errors)
}

// flood sends garbage from one socket until stop is closed.
func flood(t *testing.T, port uint16, seed uint64, stop <-chan struct{}, sent, sentBytes, gotBytes *atomic.Int64) {
	c, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	go func() { // ends with the socket
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			gotBytes.Add(int64(n))
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	good := announceBytes(r.Uint64(), request(9, 9, 9)) // but for its id
	buf := make([]byte, 1500)
	for {
		select {
		case <-stop:
			return
		default:
		}
		for range 64 {
			b := buf[:r.IntN(len(buf))]
			switch r.IntN(4) {
			case 0:
				b = good[:r.IntN(len(good)+1)]
			case 1:
				b = tracker.AppendScrapeHeader(buf[:0], r.Uint32())
			default:
				for i := range b[:min(len(b), 100)] {
					b[i] = byte(r.Uint32())
				}
			}
			n, _ := c.Write(b) // a full buffer is no failure here
			sent.Add(1)
			sentBytes.Add(int64(n))
		}
	}
}

// floodTCP opens connections that say nothing of HTTP.
func floodTCP(port uint16, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 4096)
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		for i := range buf {
			buf[i] = byte(r.Uint32())
		}
		_, _ = c.Write(buf[:r.IntN(len(buf))]) // it may be refused
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
}
