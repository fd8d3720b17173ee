package trackerd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Stats is a snapshot of the server's numbers.
type Stats struct {
	Uptime       time.Duration `json:"-"`
	UptimeSec    int64         `json:"uptime_seconds"`
	Torrents4    int           `json:"torrents_ipv4"`
	Torrents6    int           `json:"torrents_ipv6"`
	Peers4       int           `json:"peers_ipv4"`
	Peers6       int           `json:"peers_ipv6"`
	Seeds4       int           `json:"seeds_ipv4"`
	Seeds6       int           `json:"seeds_ipv6"`
	Connects     uint64        `json:"connects"`
	Announces    uint64        `json:"announces"`
	Scrapes      uint64        `json:"scrapes"`
	BidScrapes   uint64        `json:"bid_scrapes"`
	HTTPRequests uint64        `json:"http_requests"`
	Errors       uint64        `json:"errors"`
	Dropped      uint64        `json:"dropped"`
	Batches      uint64        `json:"udp_batches"`
	Expired      uint64        `json:"expired_peers"`
	PeersGiven   uint64        `json:"peers_given"`
	BytesIn      uint64        `json:"udp_bytes_in"`
	BytesOut     uint64        `json:"bytes_out"`
}

// Stats adds the counters of all goroutines up. It locks each shard for an
// instant.
func (s *Server) Stats() Stats {
	up := s.config.Now().Sub(s.start)
	st := Stats{Uptime: up, UptimeSec: int64(up / time.Second)}
	st.Torrents4, st.Peers4, st.Seeds4 = s.v4.totals()
	st.Torrents6, st.Peers6, st.Seeds6 = s.v6.totals()
	for _, c := range s.stats {
		st.Connects += c.connects.Load()
		st.Announces += c.announces.Load()
		st.Scrapes += c.scrapes.Load()
		st.BidScrapes += c.bidScrapes.Load()
		st.HTTPRequests += c.httpRequests.Load()
		st.Errors += c.errors.Load()
		st.Dropped += c.dropped.Load()
		st.Batches += c.batches.Load()
		st.Expired += c.expired.Load()
		st.PeersGiven += c.peersGiven.Load()
		st.BytesIn += c.bytesIn.Load()
		st.BytesOut += c.bytesOut.Load()
	}
	return st
}

// MetricsHandler serves Prometheus text at /metrics and JSON at /stats, for a
// listener of the operator's own.
func (s *Server) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.writeMetrics(w) })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { s.writeStats(w) })
	return mux
}

func (s *Server) writeStats(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Stats()) // the client may be gone
}

func (s *Server) writeMetrics(w http.ResponseWriter) {
	st := s.Stats()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	gauge := func(name, labels string, n int) { fmt.Fprintf(w, "btt_tracker_%s%s %d\n", name, labels, n) }
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP btt_tracker_%s %s\n# TYPE btt_tracker_%s %s\n", name, help, name, kind)
	}
	head("torrents", "gauge", "Torrents with peers.")
	gauge("torrents", `{family="ipv4"}`, st.Torrents4)
	gauge("torrents", `{family="ipv6"}`, st.Torrents6)
	head("peers", "gauge", "Peers known.")
	gauge("peers", `{family="ipv4"}`, st.Peers4)
	gauge("peers", `{family="ipv6"}`, st.Peers6)
	head("seeds", "gauge", "Peers that have everything.")
	gauge("seeds", `{family="ipv4"}`, st.Seeds4)
	gauge("seeds", `{family="ipv6"}`, st.Seeds6)
	head("requests_total", "counter", "Requests answered, by kind.")
	for _, c := range []struct {
		kind string
		n    uint64
	}{{"connect", st.Connects}, {"announce", st.Announces}, {"scrape", st.Scrapes}, {"bid_scrape", st.BidScrapes}, {"error", st.Errors}} {
		fmt.Fprintf(w, "btt_tracker_requests_total{kind=%q} %d\n", c.kind, c.n)
	}
	for _, c := range []struct {
		name, help string
		n          uint64
	}{
		{"http_requests_total", "HTTP requests of any kind.", st.HTTPRequests},
		{"dropped_datagrams_total", "Datagrams not answered.", st.Dropped},
		{"udp_batches_total", "System calls that brought datagrams.", st.Batches},
		{"expired_peers_total", "Peers that fell silent.", st.Expired},
		{"peers_given_total", "Peers in answers.", st.PeersGiven},
		{"udp_received_bytes_total", "Bytes of datagrams received.", st.BytesIn},
		{"sent_bytes_total", "Bytes of answers sent.", st.BytesOut},
	} {
		head(c.name, "counter", c.help)
		fmt.Fprintf(w, "btt_tracker_%s %d\n", c.name, c.n)
	}
}
