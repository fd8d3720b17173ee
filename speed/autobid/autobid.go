// Package autobid turns a wallet into bids: the white paper's bid formula
// inside guards that keep it from over-committing or stranding a wallet, and
// the policy that decides when a changed bid is worth telling to a peer.
//
// It is called by package speed (one Bidder per peer connection), by
// internal/swarm (one Price per torrent and second or so) and by the
// simulator. It is pure: no goroutine, no clock; time is an argument.
//
// Requirements: R8.1-R8.8, R8.14, R9.3; readings A6, A7, A8. The reasons for
// the guards: with a spending rate of 1 and equal wallets, ties make every
// winner pay its whole bid, and one repeated piece or one fee then leaves
// bytes to fetch and nothing to pay them with.
package autobid

import (
	"math/bits"

	"github.com/bttnet/btt/amount"
)

// PPM is the denominator of every share in this package: parts per million.
const PPM = 1_000_000

// Defaults of Config.
const (
	// DefaultSpendRate is the paper's first version: the whole budget (R8.4).
	DefaultSpendRate = PPM
	// DefaultKeepBack is the part of the balance the formula never counts:
	// fees, pieces fetched twice, rounding.
	DefaultKeepBack = 30_000
)

// floorDivisor sets the floor on bytes left: size / floorDivisor, that is 1 %.
const floorDivisor = 100

// NoBudget is a Torrent.Budget that limits nothing.
const NoBudget = amount.Supply

// Config holds what the user may set for all torrents (R9.3, R9.5). The zero
// value never bids; start from Default.
type Config struct {
	// SpendRate is the paper's aggressiveness in parts per million, 0 to PPM.
	// Greater values count as PPM.
	SpendRate uint32
	// KeepBack is the share of the balance, and of a torrent's budget, left out
	// of account, in parts per million, 0 to PPM.
	KeepBack uint32
	// Cap is the highest price ever bid, in µBTT per GiB; 0 means
	// amount.MaxPrice.
	Cap amount.Price
}

// Default returns the configuration of a fresh node.
func Default() Config {
	return Config{SpendRate: DefaultSpendRate, KeepBack: DefaultKeepBack}
}

// Torrent is what the formula has to know of one torrent.
type Torrent struct {
	// Left is the number of wanted bytes not yet verified. At 0 there is no
	// bid (R8.14).
	Left int64
	// Size is the total length and PieceLength the length of a piece, both in
	// bytes; they set the floor on bytes left.
	Size, PieceLength int64
	// Share is this torrent's part of the balance, in parts per million. The
	// shares of all bidding torrents must sum to at most PPM (A7, Shares).
	Share uint32
	// Budget is the most that may still be spent on this torrent, in µBTT;
	// NoBudget for no separate limit. The zero value spends nothing.
	Budget amount.Amount
}

// Price returns the bid for one torrent in µBTT per GiB, rounded down, or 0
// for "do not bid":
//
//	bid = rate × share × (1 - keep-back) × balance / (bytes left / 1024)
//
// in BTT per KiB, restated in µBTT per GiB (R8.2, A6). The spendable sum is at
// most (1 - keep-back) × t.Budget: a budget that binds is the wallet of this
// torrent, and equal budgets are the same trap as equal wallets. Bytes left count as at least one piece and 1 % of the size.
// balance is the free balance plus what is unspent in own channels (A7).
// The arithmetic is exact in 128 bits.
func Price(c Config, balance amount.Amount, t Torrent) amount.Price {
	if balance <= 0 || t.Left <= 0 || t.Budget <= 0 {
		return 0
	}
	factor := uint64(min(c.SpendRate, PPM)) * uint64(min(t.Share, PPM)) * uint64(PPM-min(c.KeepBack, PPM))
	hi, lo := bits.Mul64(uint64(balance), factor)
	spend, _ := bits.Div64(hi, lo, PPM*PPM*PPM) // < balance, so it fits
	hi, lo = bits.Mul64(uint64(t.Budget), uint64(PPM-min(c.KeepBack, PPM)))
	budget, _ := bits.Div64(hi, lo, PPM)
	spend = min(spend, budget)

	limit := c.Cap
	if limit <= 0 || limit > amount.MaxPrice {
		limit = amount.MaxPrice
	}
	left := uint64(max(t.Left, t.PieceLength, t.Size/floorDivisor))
	hi, lo = bits.Mul64(spend, 1<<30)
	if hi >= left {
		return limit
	}
	price, _ := bits.Div64(hi, lo, left)
	return amount.Price(min(price, uint64(limit)))
}

// Shares scales weights in place so that they are shares in parts per million
// with a sum of at most PPM, rounded down: the budget split of A7. A list that
// sums to 0 is left as it is; a sum of at most PPM is left as it is as well,
// so that a user may hold money back.
func Shares(weights []uint32) {
	var sum uint64
	for _, w := range weights {
		sum += uint64(w)
	}
	if sum <= PPM {
		return
	}
	for i, w := range weights {
		weights[i] = uint32(uint64(w) * PPM / sum)
	}
}
