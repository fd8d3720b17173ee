// Package joiner joins torrents that the node never had because bids say that they
// are in demand, fetches them and seeds them for pay (R6.6). It is off unless its
// user names limits.
//
// What a tracker tells by bid scrape only says where to look (R6.3). Money goes by
// steps: a small stake first; more only as far as bids of connected peers, backed by
// money, promise to bring it back ([Stakes]). A torrent for which nobody of its own
// peers bids in time is left with its data, and its tracker is believed less (R6.4).
//
// Package btt runs one Joiner, in one goroutine that ends with its context. The rules
// are in market.Demand and Stakes, both passive and owned by that goroutine.
package joiner
