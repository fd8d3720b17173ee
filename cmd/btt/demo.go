package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/demo"
)

func newDemo(g *global) *cobra.Command {
	var o demo.Options
	var size, up string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole economy on this machine, in under a minute",
		Long: `Starts a ledger, a tracker, a seed that sells two upload slots, three requesters
with different wallets and one plain peer, all in this process over loopback.
Everything is real: TCP, files, signatures, fsync. At the end the channels are
settled and every sum is checked to the last µBTT, on the ledger, in the
channels and in the receipts; if one is wrong the exit code is not 0.

Scenarios:
` + demo.Scenarios() + `
Choke rounds come every 2 s here instead of every 15 s, so that there is
something to see.`,
		Example: `  btt demo
  btt demo --scenario dying
  btt demo --peers 12 --size 8MiB`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Size, err = rate("--size", size); err != nil {
				return err
			}
			if o.Upload, err = rate("--limit-up", up); err != nil {
				return err
			}
			if err := demoZeros(cmd, &o); err != nil {
				return err
			}
			o.Log = g.log()
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			_, err = demo.Run(cmd.Context(), o, r)
			if errors.Is(err, demo.ErrOptions) {
				return usage("%v", err)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&size, "size", "", "size of the shared file (default 32MiB)")
	f.StringVar(&up, "limit-up", "", "the seed's upload limit per second (default 5MiB)")
	f.StringVar(&o.Scenario, "scenario", "auction", "what to show, see above")
	f.IntVar(&o.Peers, "peers", 0, fmt.Sprintf("peers that download, 1 to %d (default those of the scenario)", demo.MaxPeers))
	f.StringVar(&o.Dir, "dir", "", "keep the files, wallets and ledger in this folder")
	f.DurationVar(&o.Timeout, "timeout", 0, fmt.Sprintf("give up after this time (default %v, more for many peers or much data)", demo.DefaultTimeout))
	return cmd
}

// demoZeros refuses a zero that was asked for: in [demo.Options] it stands for the
// default, which nobody who says 0 means.
func demoZeros(cmd *cobra.Command, o *demo.Options) error {
	for _, x := range []struct {
		flag, least string
		zero        bool
	}{
		{"peers", fmt.Sprintf("1 to %d", demo.MaxPeers), o.Peers == 0},
		{"size", "1 byte or more, as in --size 8MiB", o.Size == 0},
		{"limit-up", "1 byte per second or more, as in --limit-up 2MiB", o.Upload == 0},
		{"timeout", "more than nothing, as in --timeout 30s", o.Timeout <= 0},
	} {
		if x.zero && cmd.Flags().Changed(x.flag) {
			return usage("--%s must be %s; leave it out for the default", x.flag, x.least)
		}
	}
	return nil
}
