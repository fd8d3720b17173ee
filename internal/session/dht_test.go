package session

import (
	"net"
	"strconv"
	"testing"

	"github.com/bttnet/btt/internal/dht"
)

// TestDHT: two sessions that know neither a tracker nor each other meet by a
// third one's node, by a magnet link; the node is kept over a restart.
func TestDHT(t *testing.T) {
	files := map[string]int{"a": 100_000, "b/c": 5}
	dir, torrent := content(t, files, 32<<10)
	hub := open(t, Config{DHT: &dht.Config{}})
	if hub.DHT() == nil || open(t, Config{}).DHT() != nil {
		t.Fatal("the DHT is not where it was asked for")
	}
	boot := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(int(hub.DHT().Port())))}
	file := t.TempDir() + "/dht"
	seed := open(t, Config{DHT: &dht.Config{Bootstrap: boot}})
	leech := open(t, Config{DHT: &dht.Config{Bootstrap: boot, File: file}})
	shared := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, shared)
	got := t.TempDir()
	sw := add(t, leech, Add{InfoHash: torrent.InfoHash, Dir: got})
	await(t, sw)
	sameFiles(t, dir, got, files)
	id := leech.DHT().Status().ID
	leech.Close()
	again := open(t, Config{DHT: &dht.Config{File: file}})
	if again.DHT().Status().ID != id {
		t.Error("the node has another id after a restart")
	}
}
