package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

func newSpeed(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "speed",
		Short: "Choose how far to take part in BitTorrent Speed, for all commands",
		Long: `Shows, or changes, how far this home folder takes part in BitTorrent Speed. The
choice is kept: "btt get" and "btt seed" follow it without further flags, and those
that run hear of a change within about a second; one that began as a plain client
opens ledger and wallet then, or says why it cannot. Of commands that run with one
home one uses the wallet; when it ends another takes over. Nothing is chosen at first:
off.

  off    a plain BitTorrent client; peers are told nothing of BTT, nothing is
         sold and nothing is paid
  earn   upload slots are sold to peers that bid BTT; nothing is ever spent
  on     also bids for slots of others by itself, and pays for what was received
         and verified, out of the wallet's balance and within the limits given
         here and in "btt wallet limits"

Peers that do not pay are served in every phase. A way to begin: "earn", look at
"btt receipts" and "btt wallet balance", then "on" with a small --budget. Flags of
a command go before what is kept: --speed takes part, --speed=false does not. Flags
that need Speed, such as --when-paid, wait for it while it is off.`,
		Example: `  btt speed
  btt speed earn --ledger http://127.0.0.1:7700
  btt speed on --budget "5 BTT" --price-cap "10 BTT/GiB"
  btt speed plain film.torrent
  btt speed off`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%s has no command %q", cmd.CommandPath(), args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := g.dir()
			if err != nil {
				return err
			}
			c, err := consent.Load(home)
			if err != nil {
				return err
			}
			return tellChoice(g, cmd, &c)
		},
	}
	cmd.AddCommand(speedPhase(g, consent.Full, "Take part: bid, pay and earn"), speedPhase(g, consent.Earn, "Sell upload slots, and never spend anything"), speedOff(g),
		speedPlain(g, "plain", "Keep torrents out of BitTorrent Speed", true), speedPlain(g, "trade", "Let torrents in again", false))
	return cmd
}

// speedPhase makes the command of a phase that trades.
func speedPhase(g *global, phase consent.Phase, short string) *cobra.Command {
	var url string
	var lim consent.Limits
	var fresh bool
	cmd := &cobra.Command{
		Use: phase.String(), Short: short, Args: exactArgs(0, "no arguments"),
		Long: short + `. What is not given stays as it was chosen before; the
reserve prices hold for commands that start, or first take part, from now on, the
rest at once.`,
	}
	f := cmd.Flags()
	f.StringVar(&url, "ledger", "", "URL of the ledger, http://HOST:PORT or unix:/PATH (needed the first time; default $"+ledgerEnv+")")
	registerLimits(f, &lim)
	f.BoolVar(&fresh, "defaults", false, "forget the limits and prices chosen before")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		url = firstText(url, os.Getenv(ledgerEnv))
		if url != "" { // one that is known already may be down now
			if _, err := dialReached(cmd.Context(), url); err != nil {
				return err
			}
		}
		return decide(g, cmd, phase, func(c *consent.Choice) error {
			c.Ledger = firstText(url, c.Ledger)
			if c.Ledger == "" {
				return usage("name the ledger that holds the BTT with --ledger or in $%s", ledgerEnv)
			}
			if fresh {
				c.Limits = consent.Limits{}
			}
			merge(&c.Limits, &lim)
			_, err := (&transfer{}).with(&c.Limits).terms()
			return err
		})
	}
	return cmd
}

func speedOff(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "off", Short: "Be a plain BitTorrent client", Args: exactArgs(0, "no arguments"),
		Long: `Takes all torrents out of BitTorrent Speed, those of running commands too, also
of ones that were started with --speed. What was earned and what is owed is
settled when they end. The wallet and the limits stay as they are.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return decide(g, cmd, consent.Off, func(*consent.Choice) error { return nil })
		},
	}
}

// decide changes the phase and shows what is kept now.
func decide(g *global, cmd *cobra.Command, phase consent.Phase, f func(*consent.Choice) error) error {
	home, err := g.dir()
	if err != nil {
		return err
	}
	c, err := consent.Change(home, phase == consent.Off, func(c *consent.Choice) error {
		c.Decide(phase, time.Now())
		return f(c)
	})
	if err != nil {
		return err
	}
	return tellChoice(g, cmd, &c)
}

func speedPlain(g *global, name, short string, plain bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " FILE.torrent|MAGNET|INFOHASH...", Short: short,
		Long: short + `, whatever the phase: they neither bid nor pay nor sell, and their peers are
told nothing. Running commands follow.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("%s needs a torrent file, magnet link or info hash", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var hashes []metainfo.InfoHash
			for _, a := range args {
				list, err := hashesOf(a)
				if err != nil {
					return err
				}
				hashes = append(hashes, list...)
			}
			home, err := g.dir()
			if err != nil {
				return err
			}
			c, err := consent.Change(home, false, func(c *consent.Choice) error {
				for _, h := range hashes {
					c.SetPlain(h, plain)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return tellChoice(g, cmd, &c)
		},
	}
}

// hashesOf reads which torrent is meant: a hybrid goes by two hashes.
func hashesOf(text string) ([]metainfo.InfoHash, error) {
	if h, err := metainfo.ParseInfoHash(text); err == nil {
		return []metainfo.InfoHash{h}, nil
	}
	if strings.HasPrefix(strings.ToLower(text), "magnet:") {
		m, err := metainfo.ParseMagnet(text)
		if err != nil {
			return nil, err
		}
		a := btt.FromMagnet(m)
		return namesOf(&a), nil
	}
	t, err := readTorrent(text)
	if err != nil {
		return nil, err
	}
	return t.Swarms(), nil
}

// namesOf are the hashes by which a torrent may be known that is to be added.
func namesOf(a *btt.Add) []metainfo.InfoHash {
	if a.Torrent != nil {
		return a.Torrent.Swarms()
	}
	names := []metainfo.InfoHash{a.InfoHash}
	if v2 := metainfo.InfoHashV2(a.InfoHashV2).Truncated(); !v2.IsZero() && v2 != names[0] {
		names = append(names, v2)
	}
	return names
}

// phaseTexts say what a phase means, to those who chose it.
var phaseTexts = map[consent.Phase]string{
	consent.Off:  "off: a plain client; nothing is told, sold or paid (btt help speed)",
	consent.Earn: "earn: upload slots are sold to peers that bid BTT; nothing is spent",
	consent.Full: "on: bids by itself, and pays for what was received and verified",
}

// tellChoice shows what is kept.
func tellChoice(g *global, cmd *cobra.Command, c *consent.Choice) error {
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	lines := []string{"BitTorrent Speed is " + phaseTexts[c.Phase]}
	if c.Ledger != "" {
		lines = append(lines, "ledger: "+printable(c.Ledger))
	}
	for _, s := range texts(&c.Limits) {
		if *s.text != "" {
			lines = append(lines, s.name+": "+printable(*s.text))
		}
	}
	if n := len(c.Plain); n > 0 {
		lines = append(lines, fmt.Sprintf("info hashes that stay out in any case: %d", n))
	}
	f := terminal.Fields{"phase": c.Phase, "ledger": c.Ledger, "limits": c.Limits, "plain": append([]metainfo.InfoHash{}, c.Plain...)}
	if home, err := g.dir(); err == nil {
		if process, used := purse.InUse(filepath.Join(home, "wallet")); used {
			f["wallet_process"] = process
			by := "another program"
			if process > 0 {
				by = fmt.Sprintf("process %d", process)
			}
			lines = append(lines, "the wallet is in use by "+by+": of running commands that one takes part, and when it ends the next")
		}
	}
	r.Event("speed", strings.Join(lines, "\n"), f)
	return nil
}

// setting is one of the limits by the name of its flag.
type setting struct {
	name string
	text *string
}

func texts(l *consent.Limits) []setting {
	return []setting{{"spend-rate", &l.SpendRate}, {"bids", &l.Bids}, {"price-cap", &l.PriceCap}, {"budget", &l.Budget},
		{"reserve", &l.Reserve}, {"reserve-growth", &l.ReserveGrowth}, {"reserve-cap", &l.ReserveCap}}
}

func registerLimits(f *pflag.FlagSet, l *consent.Limits) {
	var t transfer // of whose flags these are some
	var all pflag.FlagSet
	t.register(&all)
	for _, s := range texts(l) {
		f.StringVar(s.text, s.name, "", strings.TrimPrefix(all.Lookup(s.name).Usage, "with --speed: "))
	}
}

// merge takes over what is given. A fixed reserve price and one that grows
// exclude each other.
func merge(to, from *consent.Limits) {
	if from.Reserve != "" || from.ReserveGrowth != "" {
		to.Reserve, to.ReserveGrowth, to.ReserveCap = "", "", ""
	}
	into := texts(to)
	for i, s := range texts(from) {
		if *s.text != "" {
			*into[i].text = *s.text
		}
	}
}

func firstText(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// errChoice marks what is wrong with what "btt speed" keeps.
func errChoice(err error) error {
	return fmt.Errorf("what \"btt speed\" keeps: %w", err)
}
