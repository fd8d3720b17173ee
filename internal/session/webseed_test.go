package session

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// liar serves every file with one wrong byte in each range.
func liar(root string) http.Handler {
	files := http.FileServer(http.Dir(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(&spoiler{ResponseWriter: w}, r)
	})
}

type spoiler struct {
	http.ResponseWriter
	done bool
}

func (s *spoiler) Write(b []byte) (int, error) {
	if !s.done && len(b) > 0 {
		b = bytes.Clone(b)
		b[0] ^= 1
		s.done = true
	}
	return s.ResponseWriter.Write(b)
}

// TestWebSeeds: a torrent without any peer comes from web servers; one that
// lies is left at once, one that is busy is asked again, one that has nothing
// is left alone.
func TestWebSeeds(t *testing.T) {
	names := map[string]int{"a b.bin": 3<<20 + 17, "deep/er/ü#.bin": 900_000, "empty": 0, "tiny": 1}
	dir, torrent := content(t, names, 1<<18)
	good := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer good.Close()
	bad := httptest.NewServer(liar(dir))
	defer bad.Close()
	var asked atomic.Int32
	none := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(w, r)
	}))
	defer none.Close()
	torrent.WebSeeds = []string{bad.URL, none.URL, good.URL + "/"}
	got := t.TempDir()
	s := open(t, Config{})
	add := add(t, s, Add{Torrent: torrent, Dir: got})
	await(t, add)
	sameFiles(t, dir, got, names)
	st := add.Status()
	if len(st.WebSeeds) != 3 || st.WebSeeds[0].Err == nil || st.WebSeeds[1].Err == nil || st.WebSeeds[2].Err != nil {
		t.Fatalf("web seeds: %+v", st.WebSeeds)
	}
	if !strings.Contains(st.WebSeeds[0].Err.Error(), "fails its hash") {
		t.Errorf("the liar is known for %v", st.WebSeeds[0].Err)
	}
	if st.WebSeeds[2].Received < torrent.Info.TotalLength-2<<20 || st.Totals.Downloaded < torrent.Info.TotalLength {
		t.Errorf("%d bytes of the good one, %d in all, of %d", st.WebSeeds[2].Received, st.Totals.Downloaded, torrent.Info.TotalLength)
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("a server that has nothing was asked %d times", n)
	}
}

// TestWebSeedAndPeers: a slow web server and a peer serve one torrent
// together, and what the one breaks off comes from the other.
func TestWebSeedAndPeers(t *testing.T) {
	names := map[string]int{"f.bin": 4 << 20}
	dir, torrent := content(t, names, 1<<16)
	var asked atomic.Int32
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		time.Sleep(200 * time.Millisecond)
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	seeder := open(t, Config{})
	if _, err := seeder.Add(Add{Torrent: torrent, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	withWeb := *torrent
	withWeb.WebSeeds = []string{server.URL}
	got := t.TempDir()
	s := open(t, Config{})
	add := add(t, s, Add{Torrent: &withWeb, Dir: got, Peers: []netip.AddrPort{seeder.Addr()}})
	await(t, add)
	sameFiles(t, dir, got, names)
	st := add.Status()
	if st.WebSeeds[0].Received == 0 {
		t.Error("the web server served nothing")
	}
	if st.WebSeeds[0].Received >= torrent.Info.TotalLength {
		t.Error("the peer served nothing")
	}
}
