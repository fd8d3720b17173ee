package channel

import "fmt"

// Code says why a side refuses. Codes are part of the protocol.
type Code uint8

// Refusal codes.
const (
	CodeMalformed   Code = 1  // bytes are no message, or one that does not fit this state
	CodeUnknown     Code = 2  // no such channel or lane here
	CodeNetwork     Code = 3  // another ledger
	CodeKeyUsed     Code = 4  // K2 is not on offer (any more); Terms carry another
	CodeDeposit     Code = 5  // deposit outside the range asked for
	CodeLock        Code = 6  // lock time outside the range asked for
	CodeFunding     Code = 7  // T1 does not do what Open said, or its output exists already
	CodeSignature   Code = 8  // a signature does not verify
	CodeLedger      Code = 9  // the ledger refused or cannot be reached
	CodeAmount      Code = 10 // less than owed for the bytes claimed, or beyond the deposit
	CodeStale       Code = 11 // sequence or amount fell
	CodeExpiring    Code = 12 // the lock time is near: no more payments
	CodeClosing     Code = 13 // the channel is being settled
	CodeLane        Code = 14 // lane bound to another tag, or too many lanes
	CodePrice       Code = 15 // price above the bid, or changed out of order
	CodeBanned      Code = 16 // account refused for some time (R12.3)
	CodeUnavailable Code = 17 // this node does not sell or buy now
	CodeLimit       Code = 18 // too many channels
	CodeTimeout     Code = 19 // no payment in time (R12.1)
)

var codeNames = [...]string{
	CodeMalformed: "malformed", CodeUnknown: "unknown", CodeNetwork: "network", CodeKeyUsed: "key-used",
	CodeDeposit: "deposit", CodeLock: "lock", CodeFunding: "funding", CodeSignature: "signature",
	CodeLedger: "ledger", CodeAmount: "amount", CodeStale: "stale", CodeExpiring: "expiring",
	CodeClosing: "closing", CodeLane: "lane", CodePrice: "price", CodeBanned: "banned",
	CodeUnavailable: "unavailable", CodeLimit: "limit", CodeTimeout: "timeout",
}

func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Refusal is the error of a step that was refused; Code goes to the peer.
type Refusal struct {
	Code   Code
	Reason string
}

func (e *Refusal) Error() string { return "channel: " + e.Code.String() + ": " + e.Reason }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}
