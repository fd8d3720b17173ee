package ledgerd

import (
	"fmt"
	"io"
)

// Snapshot audits the log of a directory as Audit does and writes the state to
// which it comes (ledger.WriteSnapshot; ledger.ReadSnapshot reads it). Equal
// histories give equal bytes. Nothing is written of a log that is not right.
func Snapshot(dir string, w io.Writer) (Report, error) {
	a, err := audit(dir, nil)
	if err == nil {
		err = a.state.WriteSnapshot(w, a.store)
	}
	if err != nil {
		return Report{}, fmt.Errorf("snapshot of %s: %w", dir, err)
	}
	return a.report, nil
}
