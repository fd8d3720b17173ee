package heads

import (
	"errors"

	"github.com/bttnet/btt/ledger/books"
)

// serious reports whether an error says that the history does not hold; all
// others are of the network.
func serious(err error) bool {
	_, fork := errors.AsType[*books.ForkError](err)
	return fork || errors.Is(err, books.ErrHead) || errors.Is(err, books.ErrProof) || errors.Is(err, books.ErrOlder) ||
		errors.Is(err, books.ErrNoProofs) || errors.Is(err, ErrOperator) || errors.Is(err, ErrHidden)
}

// weight orders what does not hold. What has more than 0 stays, whatever the ledger shows
// later; a fork comes first, for it can be shown to anybody.
func weight(err error) int {
	if _, fork := errors.AsType[*books.ForkError](err); fork {
		return 2
	}
	if errors.Is(err, ErrHidden) {
		return 1
	}
	return 0
}
