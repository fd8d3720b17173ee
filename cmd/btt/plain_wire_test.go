package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/metainfo"
)

// helloOf is what a node says to a peer that comes, as bytes: its handshake up to the
// peer id, and its extended handshake without its port.
func helloOf(t *testing.T, addr string, hash metainfo.InfoHash) string {
	t.Helper()
	hello, err := askHello(addr, hash)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	return hello
}

func askHello(addr string, hash metainfo.InfoHash) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	reserved := [8]byte{5: 0x10, 7: 0x04}
	extended := "\x14\x00d1:md9:btt_speedi9eee" // whoever asks
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(extended)))
	if _, err := io.WriteString(c, "\x13BitTorrent protocol"+string(reserved[:])+string(hash[:])+strings.Repeat("p", 20)+string(frame)+extended); err != nil {
		return "", err
	}
	head := make([]byte, 68)
	if _, err := io.ReadFull(c, head); err != nil {
		return "", err
	}
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return "", err
		}
		msg := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return "", err
		}
		if len(msg) > 2 && msg[0] == 20 && msg[1] == 0 {
			return string(head[:48]) + regexp.MustCompile(`1:pi\d+e`).ReplaceAllString(string(msg[2:]), ""), nil
		}
	}
}

// becomes waits until a node says what it is to say: its torrent begins anew meanwhile,
// and its connections.
func becomes(t *testing.T, addr string, hash metainfo.InfoHash, what string, right func(hello string) bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		hello, err := askHello(addr, hash)
		if err == nil && right(hello) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s it says %q (%v)", what, hello, err)
		}
	}
}

// queries is a tracker that knows nobody and remembers what it was asked.
type queries struct {
	mu   sync.Mutex
	list []string
}

func (q *queries) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, r.URL.Path+" "+r.URL.RawQuery)
	_, _ = io.WriteString(w, "d8:intervali1800e5:peers0:e") // the test sees who asked nothing
}

// of returns what was asked at a path so far.
func (q *queries) of(path string) (list []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.list {
		if strings.HasPrefix(s, path+" ") {
			list = append(list, s)
		}
	}
	return list
}

// TestOptOutWire: out of Speed a node is on the wire, byte for byte, what a node is
// that never heard of it: by default, for one torrent of a node that trades, and after
// "btt speed off" while it runs (R9.1, R9.2, R15.3, R15.4). Neither does its tracker
// hear of it. One that began as a plain client takes part when it is told to, and leaves.
func TestOptOutWire(t *testing.T) {
	w := newTown(t)
	w.content(300_000)
	w.run("create", "share/film.bin", "--piece-size", "64KiB")
	file, err := os.ReadFile(w.path("share/film.bin.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	torrent, err := metainfo.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	w.run("ledger", "init", "--dir", "ledger")
	ledger := w.start("ledger", "ledger", "serve", "--dir", "ledger", "--listen", "127.0.0.1:0", "--json")
	url := w.await(ledger, ledger.stdout, `"url":"([^"]+)"`)
	asked := &queries{}
	tracker := httptest.NewServer(asked)
	defer tracker.Close()
	seed := func(name string, flags ...string) (*program, string) {
		p := w.start(name, append([]string{"seed", "share/film.bin", "--home", name, "--listen", "127.0.0.1:0", "--encryption", "off",
			"--tracker", tracker.URL + "/" + name, "--json"}, flags...)...)
		return p, w.await(p, p.stdout, `"event":"seeding".*"listen":"([^"]+)"`)
	}
	w.run("speed", "on", "--home", "chosen", "--ledger", url)
	_, trades := seed("trades", "--speed", "--ledger", url)
	chosen, left := seed("chosen")
	for name, addr := range map[string]string{"trades": trades, "chosen": left} {
		if hello := helloOf(t, addr, torrent.InfoHash); !strings.Contains(hello, "btt_speed") {
			t.Errorf("%s does not take part: %q", name, hello)
		}
	}
	_, never := seed("never")
	want := helloOf(t, never, torrent.InfoHash)
	if strings.Contains(want, "btt_") || strings.Contains(want, "network") {
		t.Errorf("a plain node says %q", want)
	}
	_, refused := seed("refused", "--speed=false", "--ledger", url)
	began, later := seed("later")
	w.run("speed", "on", "--home", "later", "--ledger", url)
	w.await(began, began.stdout, `"event":"speed","phase":"(on)"`)
	becomes(t, later, torrent.InfoHash, "after btt speed on", func(hello string) bool { return strings.Contains(hello, "btt_speed") })
	w.run("speed", "off", "--home", "later")
	_, one := seed("one", "--speed", "--ledger", url, "--plain", "share/film.bin")
	w.run("speed", "off", "--home", "chosen")
	w.await(chosen, chosen.stdout, `"event":"speed","phase":"(off)"`)
	for name, addr := range map[string]string{"refused": refused, "one": one} {
		if got := helloOf(t, addr, torrent.InfoHash); got != want {
			t.Errorf("%s says %q, a plain node %q", name, got, want)
		}
	}
	for _, addr := range []string{left, later} {
		becomes(t, addr, torrent.InfoHash, "after btt speed off", func(hello string) bool { return hello == want })
	}
	for _, name := range []string{"trades", "never", "refused", "one"} {
		for len(asked.of("/"+name)) == 0 {
			time.Sleep(pollEvery) // the test's own limit ends a hang
		}
		for _, q := range asked.of("/" + name) {
			if strings.Contains(q, "btt_") != (name == "trades") {
				t.Errorf("its tracker hears: %s", q)
			}
		}
	}
}
