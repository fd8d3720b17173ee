package ledgerhttp

import (
	"encoding/hex"
	"errors"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// statusAnswer is ledger.Status with the application hash, and with totals as
// integers of µBTT: over the years more may be minted in all than the supply,
// which the text form of an amount cannot say.
type statusAnswer struct {
	ledger.Status
	Totals  totalsAnswer `json:"totals"`
	AppHash string       `json:"app_hash"`
}

type totalsAnswer struct {
	Minted  int64 `json:"minted"`
	Burned  int64 `json:"burned"`
	Unspent int64 `json:"unspent"`
}

func newStatusAnswer(s ledger.Status) statusAnswer {
	t := s.Totals
	return statusAnswer{Status: s, AppHash: hex.EncodeToString(s.AppHash[:]), Totals: totalsAnswer{int64(t.Minted), int64(t.Burned), int64(t.Unspent)}}
}

// status checks what a server sent.
func (a *statusAnswer) status() (ledger.Status, error) {
	s := a.Status
	if n, err := hex.Decode(s.AppHash[:], []byte(a.AppHash)); len(a.AppHash) != 64 || err != nil || n != 32 {
		return ledger.Status{}, errors.New("the answer holds a bad hash")
	}
	if t := a.Totals; t.Minted < 0 || t.Burned < 0 || t.Unspent < 0 {
		return ledger.Status{}, errors.New("the answer holds a negative sum")
	}
	s.Totals = ledger.Totals{Minted: amount.Amount(a.Totals.Minted), Burned: amount.Amount(a.Totals.Burned), Unspent: amount.Amount(a.Totals.Unspent)}
	return s, nil
}
