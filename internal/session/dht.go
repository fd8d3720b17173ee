package session

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/tracker"
)

// dhtNode shows the session's node to its swarms.
type dhtNode struct{ *dht.Node }

// Start implements [swarm.DHT].
func (n dhtNode) Start(t dht.Torrent) swarm.Search { return n.Node.Start(t) }

// openDHT starts the session's node, on the number of the port for peers if it
// is free for UDP, as most clients do.
func (s *Session) openDHT() error {
	if s.cfg.DHT == nil {
		return nil
	}
	c := *s.cfg.DHT
	if c.Log == nil {
		c.Log = s.cfg.Log
	}
	c.Blocked = s.Blocked
	host := ""
	if c.Listen == "" && s.listener != nil {
		host, _, _ = net.SplitHostPort(s.cfg.Listen)
		c.Listen = net.JoinHostPort(host, strconv.Itoa(int(s.port)))
	}
	n, err := dht.Open(c)
	if err != nil && s.cfg.DHT.Listen == "" {
		c.Listen = net.JoinHostPort(host, "0")
		n, err = dht.Open(c)
	}
	if err != nil {
		return fmt.Errorf("start DHT: %w", err)
	}
	s.dht = n
	return nil
}

func (s *Session) closeDHT() {
	if s.dht == nil {
		return
	}
	if err := s.dht.Close(); err != nil {
		s.cfg.Log.Warn("close DHT", "err", err)
	}
}

// DHT returns the session's node of the DHT, nil if it has none.
func (s *Session) DHT() *dht.Node { return s.dht }

// Scrape asks a tracker, over HTTP or UDP, for the counts of torrents (BEP 48,
// 15): at most tracker.MaxHTTPScrape and tracker.MaxScrape at once.
func (s *Session) Scrape(ctx context.Context, url string, hashes ...tracker.InfoHash) ([]tracker.Swarm, error) {
	return s.announcer.Scrape(ctx, url, hashes)
}
