package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/terminal"
)

// errPartly says that some of what was asked for is done.
var errPartly = errors.New("not all of it is done")

func newChannel(g *global) *cobra.Command {
	w := &purseFlags{global: g}
	cmd := group(&cobra.Command{
		Use:   "channel",
		Short: "See and end payment channels",
		Long: `A payment channel is a deposit from which this node pays one provider, or from which
somebody pays this node. Channels open and close by themselves. These commands are for
looking, and for a machine that is to be switched off for long:

  btt channel list      all channels, what they hold and when it comes back
  btt channel close     hand in what was earned; ask the ledger what became of deposits
  btt channel refund    take deposits back whose lock is over

A deposit comes back when its provider settles, which it does when this node goes
away, or after the lock by "refund". Channels are named by the first digits of their
id. A running node does all of this by itself; close and refund need it stopped.`,
	})
	w.register(cmd)
	cmd.AddCommand(channelList(w), channelShow(w), channelEnd(w, false), channelEnd(w, true))
	return cmd
}

func channelList(w *purseFlags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List open channels", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
				list, err := p.Channels(cmd.Context())
				if err != nil {
					return err
				}
				n := 0
				for i := range list {
					if c := &list[i]; all || !c.Stage.Final() {
						r.Event("channel", channelText(c), channelFields(c))
						n++
					}
				}
				if n == 0 {
					r.Event("none", "no open channels", terminal.Fields{"ended": len(list)})
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those that ended too")
	return cmd
}

func channelShow(w *purseFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show CHANNEL", Short: "Show all that is known of a channel", Args: exactArgs(1, "a channel's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
				c, err := findChannel(cmd.Context(), p, args[0])
				if err != nil {
					return err
				}
				other := map[channel.Role]string{channel.RolePayer: "provider", channel.RolePayee: "requester"}[c.Role]
				text := fmt.Sprintf("%s\n  this node      %v\n  %-13s  %s\n  stage          %v\n  deposit        %s in %v\n  paid           %s (at most %s)\n  lock ends      ledger time %d",
					channelText(&c), c.Role, other, c.Account, c.Stage, c.Deposit, c.Funding, c.Paid, c.AtMost, c.LockTime)
				if !c.Returns.IsZero() {
					text += ", about " + c.Returns.Local().Format(time.DateTime)
				}
				r.Event("channel", text, channelFields(&c))
				return nil
			})
		},
	}
}

// findChannel finds a channel by the beginning of its id.
func findChannel(ctx context.Context, p *btt.Wallet, name string) (btt.Channel, error) {
	name = strings.ToLower(name)
	if _, err := hex.DecodeString(name + strings.Repeat("0", len(name)%2)); err != nil || name == "" || len(name) > 2*channel.IDSize {
		return btt.Channel{}, usage("%q is no channel id; see: btt channel list", name)
	}
	list, err := p.Channels(ctx)
	if err != nil {
		return btt.Channel{}, err
	}
	var found []btt.Channel
	for _, c := range list {
		if strings.HasPrefix(c.ID.String(), name) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return btt.Channel{}, fmt.Errorf("%s: %w", name, payments.ErrNoChannel)
	case 1:
		return found[0], nil
	}
	return btt.Channel{}, usage("%s is the beginning of %d channels; give more digits", name, len(found))
}

// channelEnd is close (all roles) or refund (deposits of ours only).
func channelEnd(w *purseFlags, refund bool) *cobra.Command {
	var all bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "close [CHANNEL]", Short: "Settle channels now", Args: cobra.MaximumNArgs(1),
		Long: `Hands in what this node earned in the channel. Of a deposit of this node it asks the
ledger what became of it: settled by the provider, due for a refund (then it is taken),
or locked still; then it says until when, and ends with exit code 3. The provider
settles by itself some minutes after this node went away.`,
	}
	if refund {
		cmd.Use, cmd.Short = "refund [CHANNEL]", "Take deposits back whose lock is over"
		cmd.Long = `Submits the refund (T2) of a deposit whose lock is over; the ledger gives all of it
back unless the provider settled first. While the lock holds it says until when, and
ends with exit code 3; with --wait it waits.`
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) == 1) {
			return usage("%s needs a channel or --all", cmd.CommandPath())
		}
		if err := w.needLedger("channels end on the ledger"); err != nil {
			return err
		}
		return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
			list, err := chosen(cmd.Context(), p, args, refund)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), max(wait, time.Minute))
			defer cancel()
			return endChannels(ctx, p, r, list, wait > 0)
		})
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that are open")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for locks to end, such as 3h")
	return cmd
}

// chosen are the channels that a command line names.
func chosen(ctx context.Context, p *btt.Wallet, args []string, refund bool) ([]btt.Channel, error) {
	if len(args) == 1 {
		c, err := findChannel(ctx, p, args[0])
		switch {
		case err != nil:
			return nil, err
		case refund && c.Role == channel.RolePayee:
			return nil, usage("in channel %v this node is paid: hand in what it earned with: btt channel close %v", c.ID, c.ID)
		}
		return []btt.Channel{c}, nil
	}
	list, err := p.Channels(ctx)
	var out []btt.Channel
	for _, c := range list {
		if !c.Stage.Final() && (!refund || c.Role == channel.RolePayer) {
			out = append(out, c)
		}
	}
	return out, err
}

// lookEvery is the time between two looks at channels that are waited for.
const lookEvery = 2 * time.Second

// endChannels settles channels; with wait, until all ended or ctx does.
func endChannels(ctx context.Context, p *btt.Wallet, r *terminal.Reporter, list []btt.Channel, wait bool) error {
	if len(list) == 0 {
		r.Event("none", "no open channels", terminal.Fields{"ended": 0})
		return nil
	}
	for {
		var left []btt.Channel
		for _, c := range list {
			if c.Stage.Final() {
				r.Event("channel", channelText(&c), channelFields(&c))
				continue
			}
			now, err := p.Settle(ctx, c.ID)
			switch {
			case errors.Is(err, btt.ErrNotYet):
				left = append(left, now)
			case err != nil:
				return err
			default:
				r.Event("channel", channelText(&now), channelFields(&now))
			}
		}
		if list = left; len(list) == 0 {
			return nil
		}
		if wait {
			select {
			case <-time.After(lookEvery):
				continue
			case <-ctx.Done():
			}
		}
		break
	}
	for i := range list {
		r.Event("channel", channelText(&list[i]), channelFields(&list[i]))
	}
	return fmt.Errorf("%w: %s locked still; the first is free at %s", errPartly, count(len(list), "deposit"), soonest(list).Local().Format(time.DateTime))
}

func soonest(list []btt.Channel) time.Time {
	first := list[0].Returns
	for _, c := range list {
		if c.Returns.Before(first) {
			first = c.Returns
		}
	}
	return first
}
