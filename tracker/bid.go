package tracker

import (
	"math/bits"
	"time"
)

// Bid codes squeeze a bid into 16 bits for UDP answers and server records:
// codes below 2048 are the bid itself; above, 5 bits of exponent and 11 bits
// of mantissa. Codes order as bids do, and a code loses less than 1/2048.
const (
	mantissaBits = 11
	// MaxCodedBid is the largest bid a code holds, µBTT per GiB (4.4 million
	// BTT per GiB); larger bids are told as this one.
	MaxCodedBid = uint64(1<<(mantissaBits+1)-1) << 30
)

// BidCode returns the code of a bid in µBTT per GiB, rounded down.
func BidCode(bid uint64) uint16 {
	bid = min(bid, MaxCodedBid)
	shift := bits.Len64(bid) - mantissaBits - 1
	if shift < 0 {
		return uint16(bid)
	}
	return uint16(shift+1)<<mantissaBits | uint16(bid>>shift)&(1<<mantissaBits-1)
}

// CodedBid returns the smallest bid, in µBTT per GiB, that has the code.
func CodedBid(code uint16) uint64 {
	exponent, mantissa := code>>mantissaBits, uint64(code)&(1<<mantissaBits-1)
	if exponent == 0 {
		return mantissa
	}
	return (mantissa | 1<<mantissaBits) << (exponent - 1)
}

// FarBelow reports whether a peer's own first bid (µBTT per GiB) gives a
// tracker's word the lie (R6.4, A9): the told bid is younger than ten minutes
// and the own one less than half of it.
func FarBelow(told Peer, own uint64) bool {
	return told.HasBid && told.BidAge < 10*time.Minute && own < told.Bid/2
}
