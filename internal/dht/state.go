package dht

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/internal/durable"
)

// maxState is the longest state file read, in bytes: room for two full tables.
const maxState = 256 << 10

// maxRestored is how many nodes of a state file are asked at the start.
const maxRestored = 200

// errState says that a state file cannot be used.
var errState = errors.New("DHT state is malformed")

// state is what a node remembers.
type state struct {
	id    ID
	nodes []contact
}

func (s *state) append(dst []byte) []byte {
	var d bencode.Dict
	d.SetBytes("id", s.id[:])
	d.SetBytes("nodes", compact(s.nodes, false))
	d.SetBytes("nodes6", compact(s.nodes, true))
	return d.Append(dst)
}

// parseState reads a state file.
func parseState(b []byte) (*state, error) {
	doc, err := bencode.Parse(b, bencode.Options{MaxSize: maxState, MaxDepth: 2, MaxItems: 64})
	if err != nil {
		return nil, fmt.Errorf("read DHT state: %w: %w", errState, err)
	}
	var s state
	var ok bool
	if s.id, ok = identity(doc.Root().Get("id")); !ok {
		return nil, fmt.Errorf("read DHT state without an id: %w", errState)
	}
	for _, l := range []struct {
		key  string
		size int
	}{{"nodes", compact4}, {"nodes6", compact6}} {
		b := doc.Root().Get(l.key).Bytes()
		for ; len(b) >= 20+l.size; b = b[20+l.size:] {
			c := contact{ID(b[:20]), address(b[20 : 20+l.size])}
			if usable(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.addr) {
				s.nodes = append(s.nodes, c)
			}
		}
	}
	return &s, nil
}

// loadState reads a state file; one that cannot be used is as good as none.
func loadState(file string, log *slog.Logger) *state {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var st *state
	if err == nil {
		defer f.Close()
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(f, maxState+1)); err == nil {
			st, err = parseState(b)
		}
	}
	if err != nil {
		log.Warn("DHT state not used: joining anew", "file", file, "err", err)
		return nil
	}
	return st
}

// save replaces the state file.
func (s *state) save(file string) error {
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("save DHT state: %w", err)
	}
	if err := durable.Write(filepath.Dir(file), filepath.Base(file), s.append(nil)); err != nil {
		return fmt.Errorf("save DHT state: %w", err)
	}
	return nil
}

// state copies what is worth keeping; it runs on the node's goroutine or after
// its end.
func (n *Node) state() *state {
	s := &state{id: n.id}
	for i := range n.families {
		s.nodes = n.families[i].table.all(s.nodes)
	}
	return s
}

// keep writes the state in the background.
func (n *Node) keep() {
	n.saving, n.saved = true, n.now
	st := n.state()
	n.wg.Go(func() { // ends when the file is written
		err := st.save(n.cfg.File)
		n.post(func() {
			n.saving = false
			if err != nil {
				n.cfg.Log.Warn("keep DHT state", "err", err)
			}
		})
	})
}

// restore asks the nodes of the last run; who answers is in the table again.
func (n *Node) restore(st *state) {
	if st == nil {
		return
	}
	for _, c := range st.nodes[:min(len(st.nodes), maxRestored)] {
		six := c.addr.Addr().Is6()
		if n.family(six).conn != nil {
			n.ask(&query{to: c, six: six}, &message{query: queryPing})
		}
	}
}
