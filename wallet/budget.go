package wallet

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"

	"github.com/bttnet/btt/amount"
)

// WholeShare is the denominator of Budget.KeepBack: shares are in 1/1000.
const WholeShare = 1000

// Unlimited switches one limit of a Budget off: nobody owns more than this.
const Unlimited = amount.Supply

// Budget bounds what a node spends without asking (R15.2-R15.4). A zero limit
// allows nothing; Unlimited switches a limit off. All limits hold together.
type Budget struct {
	PerDay     amount.Amount `json:"per_day"`     // in any 24 hours
	PerTorrent amount.Amount `json:"per_torrent"` // over the life of a torrent
	PerChannel amount.Amount `json:"per_channel"` // locked in one payment channel
	KeepBack   int           `json:"keep_back"`   // share of the whole balance never spent, 0..WholeShare in 1/1000
}

// MaxBudgetText is the longest text, in bytes, that ParseBudget reads.
const MaxBudgetText = 1024

// ErrBudget says that a text is no budget.
var ErrBudget = errors.New("wallet: not a list of spending limits; set them again")

// ParseBudget reads the JSON form of a Budget: every limit must be there and
// nothing else, so that no limit is lost by a slip of the pen. Errors wrap
// ErrBudget.
func ParseBudget(text []byte) (Budget, error) {
	var fields map[string]json.RawMessage
	if len(text) > MaxBudgetText || json.Unmarshal(text, &fields) != nil {
		return Budget{}, ErrBudget
	}
	var b Budget
	into := map[string]any{"per_day": &b.PerDay, "per_torrent": &b.PerTorrent, "per_channel": &b.PerChannel, "keep_back": &b.KeepBack}
	for name, raw := range fields {
		if into[name] == nil {
			return Budget{}, fmt.Errorf("%w (unknown limit %q)", ErrBudget, name)
		}
		if err := json.Unmarshal(raw, into[name]); err != nil || string(raw) == "null" {
			return Budget{}, fmt.Errorf("%w (limit %q)", ErrBudget, name)
		}
	}
	if len(fields) != len(into) {
		return Budget{}, fmt.Errorf("%w (a limit is missing)", ErrBudget)
	}
	if err := b.Check(); err != nil {
		return Budget{}, fmt.Errorf("%w: %w", ErrBudget, err)
	}
	return b, nil
}

// Raises reports whether c allows more than b in any respect: what a node asks
// the password for.
func (b Budget) Raises(c Budget) bool {
	return c.PerDay > b.PerDay || c.PerTorrent > b.PerTorrent || c.PerChannel > b.PerChannel || c.KeepBack < b.KeepBack
}

// Kept returns the share of the whole balance that is never spent, rounded up;
// whole is clamped to what can exist.
func (b Budget) Kept(whole amount.Amount) amount.Amount {
	b.KeepBack = min(max(b.KeepBack, 0), WholeShare)
	return b.kept(min(max(whole, 0), amount.Supply))
}

// DefaultBudget is what a new wallet starts with: small enough that a mistake is
// no loss, large enough that downloads work.
func DefaultBudget() Budget {
	return Budget{PerDay: 500 * amount.BTT, PerTorrent: 200 * amount.BTT, PerChannel: 50 * amount.BTT, KeepBack: 100}
}

// Check refuses a budget with a limit outside its range.
func (b Budget) Check() error {
	for _, l := range []struct {
		name string
		max  amount.Amount
	}{{"per day", b.PerDay}, {"per torrent", b.PerTorrent}, {"per channel", b.PerChannel}} {
		if l.max < 0 || l.max > Unlimited {
			return fmt.Errorf("wallet: check budget: limit %s is out of range", l.name)
		}
	}
	if b.KeepBack < 0 || b.KeepBack > WholeShare {
		return fmt.Errorf("wallet: check budget: keep-back share %d is not within 0..%d", b.KeepBack, WholeShare)
	}
	return nil
}

// Spending is where a wallet stands when it is asked to spend: the caller counts.
type Spending struct {
	Free    amount.Amount // spendable now
	Locked  amount.Amount // in channels, still ours
	Day     amount.Amount // spent in the last 24 hours
	Torrent amount.Amount // spent on this torrent so far
	Channel amount.Amount // locked in this channel so far
}

// Limit names which bound refused a payment.
type Limit string

// The bounds, from the most particular to the most general.
const (
	LimitChannel  Limit = "per channel"
	LimitTorrent  Limit = "per torrent"
	LimitDay      Limit = "per day"
	LimitKeepBack Limit = "keep-back share"
	LimitBalance  Limit = "balance"
)

// LimitError is a payment that a budget refused.
type LimitError struct {
	Limit Limit
	Want  amount.Amount // what was asked
	Left  amount.Amount // what the limit still allows
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("wallet: limit %q allows %s more, %s asked; raise the limit or wait", string(e.Limit), e.Left, e.Want)
}

// ErrSpending says that the caller's counts make no sense (a negative sum).
var ErrSpending = errors.New("wallet: check budget: sums are out of range")

// Allow returns nil when want may be spent, else a *LimitError that names the
// tightest limit, or ErrSpending.
func (b Budget) Allow(want amount.Amount, s Spending) error {
	left, limit, err := b.Left(s)
	if err != nil {
		return err
	}
	if want < 0 {
		return ErrSpending
	}
	if want > left {
		return &LimitError{Limit: limit, Want: want, Left: left}
	}
	return nil
}

// Left returns how much may still be spent and which limit says so.
func (b Budget) Left(s Spending) (amount.Amount, Limit, error) {
	if err := b.Check(); err != nil {
		return 0, "", err
	}
	for _, a := range []amount.Amount{s.Free, s.Locked, s.Day, s.Torrent, s.Channel} {
		if a < 0 || a > amount.Supply {
			return 0, "", ErrSpending
		}
	}
	whole, err := s.Free.Add(s.Locked)
	if err != nil {
		return 0, "", ErrSpending
	}
	left, limit := s.Free, LimitBalance
	for _, l := range []struct {
		limit     Limit
		max, used amount.Amount
	}{
		{LimitKeepBack, s.Free, b.kept(whole)},
		{LimitDay, b.PerDay, s.Day},
		{LimitTorrent, b.PerTorrent, s.Torrent},
		{LimitChannel, b.PerChannel, s.Channel},
	} {
		rest := max(l.max-l.used, 0)
		if rest < left {
			left, limit = rest, l.limit
		}
	}
	return left, limit, nil
}

// kept returns the share of whole that stays, rounded up. KeepBack is at most
// WholeShare, so the quotient fits.
func (b Budget) kept(whole amount.Amount) amount.Amount {
	hi, lo := bits.Mul64(uint64(whole), uint64(b.KeepBack))
	lo, carry := bits.Add64(lo, WholeShare-1, 0)
	q, _ := bits.Div64(hi+carry, lo, WholeShare)
	return amount.Amount(q)
}
