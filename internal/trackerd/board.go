package trackerd

import (
	"cmp"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/tracker"
)

const (
	boardSize  = 65536           // torrents of the list of best bids
	boardFresh = 5 * time.Second // how long a list is served before it is made anew
	enoughBids = 5               // bidders from which on one bid is no longer discounted
	leecherCap = 50              // leechers beyond do not raise a torrent's rank
)

// board is the list of the torrents with the best bids, made from the store
// at most once in boardFresh and only if somebody asks (R6.5).
type board struct {
	mu   sync.Mutex // held while the list is made: askers wait for it
	at   time.Time
	rows []row
}

// row is one torrent of the board. Rows are ordered by cursor, falling.
type row struct {
	hash       tracker.InfoHash
	bid, bid5  uint16
	bidders    int
	age        uint8 // of the highest bid, minutes
	counts     counts
	merit      uint32
	tieBreaker uint32
}

// cursor is a row's place as clients see it; it stays meaningful when the
// board is made anew. It has 63 bits, as bencode's integers have.
func (r *row) cursor() uint64 { return uint64(r.merit)<<31 | uint64(r.tieBreaker) }

// rank sets what rows are ordered by: the fifth highest bid, since one liar
// makes the highest, or with fewer bidders the best one discounted by how few
// they are; times the leechers per seed. Only code exponents matter, so the
// product is kept in a 32-bit code of its own.
func (r *row) rank() {
	base := tracker.CodedBid(r.bid5)
	if r.bidders < enoughBids {
		base = tracker.CodedBid(r.bid) / enoughBids * uint64(r.bidders)
	}
	score := base / uint64(r.counts.seeds+1) * uint64(min(max(r.counts.leechers, 1), leecherCap))
	r.merit = uint32(tracker.BidCode(score))<<16 | uint32(r.bid)
	r.tieBreaker = binary.BigEndian.Uint32(r.hash[4:8]) >> 1
}

// get returns the current rows; callers do not change them.
func (b *board) get(s *Server, now time.Time) []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rows == nil || now.Sub(b.at) >= boardFresh || now.Before(b.at) {
		b.rows, b.at = s.makeBoard(s.clock(now)), now
	}
	return b.rows
}

func byCursor(a, b row) int { return cmp.Compare(b.cursor(), a.cursor()) }

// makeBoard looks at every swarm with bids, shard by shard.
func (s *Server) makeBoard(at clock) []row {
	rows := make([]row, 0, 64)
	shardRows := make(map[tracker.InfoHash]int)
	for i := range shardCount {
		clear(shardRows)
		start := len(rows)
		rows = bidRows(&s.v4.shards[i], rows, at)
		for j := start; j < len(rows); j++ {
			shardRows[rows[j].hash] = j
		}
		for _, r := range bidRows(&s.v6.shards[i], nil, at) {
			if j, ok := shardRows[r.hash]; ok {
				rows[j] = joinRows(rows[j], r)
			} else {
				rows = append(rows, r)
			}
		}
		for j := start; j < len(rows); j++ {
			rows[j].rank()
		}
		if len(rows) > 2*boardSize {
			slices.SortFunc(rows, byCursor)
			rows = rows[:boardSize]
		}
	}
	slices.SortFunc(rows, byCursor)
	return slices.Clip(rows[:min(len(rows), boardSize)])
}

// joinRows adds the two families of a torrent up. The fifth highest bid of
// both is at least the better of the two.
func joinRows(a, b row) row {
	if b.bid > a.bid {
		a.bid, a.age = b.bid, b.age
	}
	a.bid5 = max(a.bid5, b.bid5)
	a.bidders += b.bidders
	a.counts = counts{a.counts.seeds + b.counts.seeds, a.counts.leechers + b.counts.leechers, a.counts.downloaded + b.counts.downloaded}
	return a
}

// bidRows appends the swarms of a shard that have bids.
func bidRows[K key](sh *shard[K], rows []row, at clock) []row {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for number := range sh.next {
		if s := sh.swarm(number); s.bidders > 0 {
			rows = append(rows, sh.row(s, number, at))
		}
	}
	return rows
}

func (sh *shard[K]) row(s *swarm[K], number uint32, at clock) row {
	t := sh.top(s, number) // which may count the bidders anew
	r := row{hash: s.hash, bidders: int(s.bidders), counts: s.counts()}
	if t.n > 0 {
		r.bid, r.age = t.entries[0].code, at.minute-t.entries[0].told
		if t.n >= enoughBids {
			r.bid5 = t.entries[enoughBids-1].code
		}
	}
	return r
}

// bidRow is one named torrent's row.
func (s *Server) bidRow(h *tracker.InfoHash, at clock) row {
	r := joinRows(bidRowOf(s.v4, h, at), bidRowOf(s.v6, h, at))
	r.hash = *h
	return r
}

func bidRowOf[K key](st *store[K], h *tracker.InfoHash, at clock) row {
	sh := st.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, number := sh.lookup(h)
	if s == nil {
		return row{}
	}
	return sh.row(s, number, at)
}

// page returns up to n rows after a cursor with at least the bid, and the next
// cursor, 0 at the end.
func page(rows []row, after uint64, n int, minBid uint16) ([]row, uint64) {
	i := 0
	if after != 0 {
		i, _ = slices.BinarySearchFunc(rows, after, func(r row, c uint64) int { return cmp.Compare(c, r.cursor()) })
		for i < len(rows) && rows[i].cursor() == after {
			i++
		}
	}
	var out []row
	for ; i < len(rows) && len(out) < n; i++ {
		if rows[i].bid >= minBid {
			out = append(out, rows[i])
		}
	}
	if i == len(rows) || i == 0 {
		return out, 0
	}
	return out, rows[i-1].cursor()
}

func (s *Server) httpBidScrape(r *http.Request) []byte {
	q, err := tracker.ParseBidQuery(r.URL.RawQuery)
	if err != nil {
		return s.refusal(tracker.Failure{Reason: err.Error(), Never: true})
	}
	if reason := s.lists.Load().refuseKey(r.URL.Path); reason != "" {
		return s.refusal(tracker.Failure{Reason: reason, RetryIn: retryRefused})
	}
	s.web.bidScrapes.Add(1)
	now := s.config.Now()
	var rows []row
	var next uint64
	if len(q.Hashes) > 0 {
		at := s.clock(now)
		for i := range q.Hashes {
			rows = append(rows, s.bidRow(&q.Hashes[i], at))
		}
	} else {
		rows, next = page(s.board.get(s, now), q.After, q.Top, tracker.BidCode(q.MinBid))
	}
	var files, root, flags bencode.Dict
	for i := range rows {
		files.SetDict(string(rows[i].hash[:]), rows[i].dict())
	}
	flags.SetInt("min_request_interval", int64(boardFresh/time.Second))
	root.SetDict("files", &files)
	root.SetDict("flags", &flags)
	root.SetInt("next", int64(next))
	root.SetInt("now", now.Unix())
	return root.Append(nil)
}

func (r *row) dict() *bencode.Dict {
	d := new(bencode.Dict)
	d.SetInt("bid", int64(tracker.CodedBid(r.bid)))
	d.SetInt("bid age", int64(r.age))
	d.SetInt("bid5", int64(tracker.CodedBid(r.bid5)))
	d.SetInt("bidders", int64(r.bidders))
	d.SetInt("complete", int64(r.counts.seeds))
	d.SetInt("downloaded", int64(r.counts.downloaded))
	d.SetInt("incomplete", int64(r.counts.leechers))
	return d
}

// bidScrape answers over UDP: request {header 16, flags 4, n 4, cursor 8,
// padding to 200}, answer {action 4, transaction 4, cursor 8, n × 30}.
func (w *worker) bidScrape(out, in []byte, h *tracker.UDPHeader) []byte {
	q, err := tracker.ParseBidScrapeRequest(in)
	if err != nil || w.server.config.NoBids || w.lists.refuseKey("") != "" {
		return w.fail(out, h.TransactionID, "unknown action")
	}
	w.bidScrapes.Add(1)
	rows, next := page(w.server.board.get(w.server, w.now), q.After, q.Top, 0)
	out = tracker.AppendBidScrapeHeader(out, h.TransactionID, next)
	for i := range rows {
		r := &rows[i]
		out = tracker.AppendBidScrapeEntry(out, &tracker.BidSwarm{
			Swarm: tracker.Swarm{InfoHash: r.hash, Complete: r.counts.seeds, Incomplete: r.counts.leechers},
			Bid:   tracker.CodedBid(r.bid), Bid5: tracker.CodedBid(r.bid5), Bidders: r.bidders,
		})
	}
	return w.count(out)
}
