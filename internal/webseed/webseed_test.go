package webseed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// content writes files of a torrent below dir and returns its piece space.
func content(t *testing.T, dir string, files []File) []byte {
	t.Helper()
	var all []byte
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range files {
		data := make([]byte, f.Length)
		if !f.Pad {
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			path := filepath.Join(append([]string{dir}, f.Path...)...)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, data...)
	}
	return all
}

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	cfg.Client = NewClient()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(s *Source, at, n int64) ([]byte, error) {
	r := s.Open(context.Background(), at, n)
	defer r.Close()
	return io.ReadAll(r)
}

// TestParts reads every kind of part of a torrent with files, odd names,
// padding and empty files from a real server.
func TestParts(t *testing.T) {
	files := []File{
		{Path: []string{"t", "a b+c.bin"}, Length: 1000},
		{Path: []string{"t", ".pad", "24"}, Length: 24, Pad: true},
		{Path: []string{"t", "empty"}, Length: 0},
		{Path: []string{"t", "sub ü", "100%#?.bin"}, Length: 5000},
		{Path: []string{"t", "end"}, Length: 1},
	}
	dir := t.TempDir()
	want := content(t, dir, files)
	server := httptest.NewServer(http.StripPrefix("/f%20x", http.FileServer(http.Dir(dir))))
	defer server.Close()
	for _, base := range []string{"/f%2520x/", "/f%2520x"} {
		s := open(t, Config{URL: server.URL + base, Files: files})
		for _, span := range [][2]int64{{0, int64(len(want))}, {0, 1}, {999, 2}, {1000, 24}, {900, 3000}, {6000, 25}, {6024, 1}, {10, 0}} {
			got, err := read(s, span[0], span[1])
			if err != nil || !bytes.Equal(got, want[span[0]:span[0]+span[1]]) {
				t.Errorf("%s: %d bytes at %d: got %d bytes, %v", base, span[1], span[0], len(got), err)
			}
		}
		if _, err := read(s, int64(len(want))-1, 2); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("past the end: %v", err)
		}
	}
}

// TestAddress: where a file lies (BEP 19).
func TestAddress(t *testing.T) {
	one := []File{{Path: []string{"film.bin"}, Length: 1}}
	two := []File{{Path: []string{"t", "a b"}, Length: 1}, {Path: []string{"t", "d", "ü/x"}, Length: 1}}
	for _, c := range []struct {
		url    string
		single bool
		files  []File
		file   int
		want   string
	}{
		{"http://h/x.iso", true, one, 0, "http://h/x.iso"},
		{"http://h/x.iso?m=1", true, one, 0, "http://h/x.iso?m=1"},
		{"http://h/dir/", true, one, 0, "http://h/dir/film.bin"},
		{"http://h", false, two, 0, "http://h/t/a%20b"},
		{"http://h/d%2Fe/", false, two, 1, "http://h/d%2Fe/t/d/%C3%BC%2Fx"},
	} {
		s, err := New(Config{URL: c.url, Files: c.files, Single: c.single})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.address(c.file).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
	}
	for _, bad := range []string{"", "ftp://h/x", "http:///x", "http://h\x00/", "//h/x"} {
		if _, err := New(Config{URL: bad, Files: one}); !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestBadAnswers: what a server may answer wrongly, each with its error.
func TestBadAnswers(t *testing.T) {
	files := []File{{Path: []string{"f"}, Length: 100}}
	var busy *Busy
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		check  func(error) bool
	}{
		"missing":   {http.NotFound, func(e error) bool { return errors.Is(e, ErrGone) }},
		"no ranges": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100)) }, func(e error) bool { return errors.Is(e, ErrRange) }},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, func(e error) bool { return errors.As(e, &busy) && busy.After.Seconds() == 7 }},
		"another range": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 11-20/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 10))
		}, func(e error) bool { return errors.Is(e, ErrAnswer) }},
		"another file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-19/101")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 10))
		}, func(e error) bool { return errors.Is(e, ErrAnswer) }},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-19/100")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 10))
		}, func(e error) bool { return errors.Is(e, ErrAnswer) }},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 10-19/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 5))
			w.(http.Flusher).Flush() // no length is told
		}, func(e error) bool { return errors.Is(e, io.ErrUnexpectedEOF) }},
		"loop": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, func(e error) bool { return errors.Is(e, ErrURL) }},
	} {
		server := httptest.NewServer(c.answer)
		if _, err := read(open(t, Config{URL: server.URL + "/f", Single: true, Files: files}), 10, 10); !c.check(err) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}

// TestPrivateNetworks: an address of a stranger is not carried into the user's
// own network with a query or by a redirect from outside.
func TestPrivateNetworks(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if strings.HasPrefix(r.URL.Path, "/go") {
			http.Redirect(w, r, "/x?reboot=1", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	u, _ := url.Parse(server.URL)
	named := "http://localhost:" + u.Port() // a name that leads here
	for address, want := range map[string]int{
		server.URL + "/x": 1, server.URL + "/x?reboot=1": 0, named + "/x?reboot=1": 0, server.URL + "/go": 1,
	} {
		asked = 0
		_, err := read(open(t, Config{URL: address, Single: true, Files: []File{{Path: []string{"f"}, Length: 100}}}), 0, 10)
		if err == nil || asked != want {
			t.Errorf("%s: asked %d times, want %d (%v)", address, asked, want, err)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes 0-99/1234", "bytes 5-5/*", "bytes */7", "bytes 9-1/3", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, total, ok := parseRange(text)
		if ok && (first < 0 || last < first || total < -1) {
			t.Errorf("%q: %d-%d/%d", text, first, last, total)
		}
	})
}
