package ledgerd

import (
	"testing"
	"time"

	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestConformance runs the contract of ledger.Client over every transport.
func TestConformance(t *testing.T) {
	for _, transport := range []string{"in process", "http", "https", "unix socket"} {
		t.Run(transport, func(t *testing.T) {
			ledgertest.RunClient(t, func(t *testing.T) ledgertest.Harness {
				clk := newClock()
				dir := t.TempDir()
				cfg := testConfig(t, dir, clk)
				cfg.Genesis = ledgertest.Genesis()
				s := openServer(t, cfg)
				return ledgertest.Harness{
					Client: connect(t, s, transport, dir),
					Advance: func(seconds uint64) {
						for seconds > 0 {
							step := min(seconds, s.params.Clamp)
							seconds -= step
							clk.advance(time.Duration(step) * time.Second)
							if err := s.Beat(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
					},
				}
			})
		})
	}
}
