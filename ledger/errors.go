package ledger

import (
	"errors"
	"fmt"
)

// Code is the stable name of a reason for refusal; it never changes meaning.
type Code string

const (
	CodeMalformed Code = "malformed"        // bytes that DecodeTx refuses, or a shape no kind has
	CodeOversized Code = "oversized"        // over MaxTxBytes or a count limit
	CodeDuplicate Code = "duplicate-input"  // the same outpoint twice (LR1)
	CodeNegative  Code = "negative"         // an amount of 0 or less
	CodeDust      Code = "dust"             // an output under Params.MinOutput
	CodeOverflow  Code = "overflow"         // a sum above the supply
	CodeOverCap   Code = "over-cap"         // a mint above the supply not yet on the ledger (LR10)
	CodeBalance   Code = "unbalanced"       // inputs and outputs differ
	CodeKey       Code = "bad-key"          // a 2-of-2 key that is no point of the curve
	CodeMissing   Code = "missing-input"    // an input never made, or spent long ago
	CodeConflict  Code = "conflict"         // an input spent by another transaction (By)
	CodeKnown     Code = "known"            // already committed or parked; Submit answers with a receipt instead
	CodeWitness   Code = "bad-witness"      // witnesses that do not fit the locks
	CodeSignature Code = "bad-signature"    // a signature that does not verify, also one made for another network
	CodeNotFinal  Code = "not-final"        // locked, and not of the form that may be parked (LR4)
	CodeReleased  Code = "not-released"     // an input of the genesis before its time (Grant.NotBefore)
	CodeLockFar   Code = "lock-too-far"     // lock time beyond Params.MaxLock (LR4)
	CodeStale     Code = "stale-sequence"   // sequence not above the parked one (LR5)
	CodeReplaced  Code = "too-many-updates" // MaxReplacements used up (LR5)
	CodeParkFull  Code = "parking-full"     // Params.MaxParked reached
	CodeMinted    Code = "reference-used"   // a mint reference seen before (LR9)
	CodeBusy      Code = "busy"             // the node cannot take it now; submit the same bytes again later
)

// Rejection is the error of a refused transaction. Branch on Code.
type Rejection struct {
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
	By     TxID   `json:"by,omitzero"` // CodeConflict: the spender when known
}

// Error names the code and the cause.
func (r *Rejection) Error() string {
	if !r.By.IsZero() {
		return fmt.Sprintf("transaction refused (%s): %s by %s", r.Code, r.Reason, r.By)
	}
	return fmt.Sprintf("transaction refused (%s): %s", r.Code, r.Reason)
}

// Is makes errors.Is match rejections by code alone.
func (r *Rejection) Is(target error) bool {
	t, ok := target.(*Rejection)
	return ok && t.Code == r.Code
}

// CodeOf returns the code of the Rejection in err, or "".
func CodeOf(err error) Code {
	if r, ok := errors.AsType[*Rejection](err); ok {
		return r.Code
	}
	return ""
}

func refuse(code Code, format string, args ...any) *Rejection {
	return &Rejection{Code: code, Reason: fmt.Sprintf(format, args...)}
}

var (
	// ErrNotFound means a transaction that the ledger does not know (any more).
	ErrNotFound = errors.New("transaction not known to the ledger")
	// ErrCursorGone means that a ledger no longer has the events after a cursor:
	// read the state with Unspent and Outpoint, then watch from Status.Cursor.
	ErrCursorGone = errors.New("events after this cursor are no longer kept; read the coins again and watch from the newest cursor")
	// ErrFilter means a filter with more than MaxFilter entries.
	ErrFilter = errors.New("the filter has too many entries; watch fewer at a time")
	// ErrHalted means that conservation failed (LR10): the state takes no more
	// blocks, an operator must compare it with another node.
	ErrHalted = errors.New("ledger halted: sums do not add up; compare this node's history with another node before restarting it")
	// ErrGenesis means a genesis that no network can start from.
	ErrGenesis = errors.New("invalid genesis")
	// ErrSnapshot means snapshot bytes that are damaged or of another network.
	ErrSnapshot = errors.New("invalid ledger snapshot")
)
