package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/internal/trackerd"
)

// trackerGC is the garbage collector's percentage of the tracker command. Its
// memory is a few large arrays without pointers, which cost next to nothing
// to mark: rare collections save no time and double the memory.
const trackerGC = 25

func newTracker(g *global) *cobra.Command {
	var cfg trackerd.Config
	var proxies []string
	var metrics string
	cmd := &cobra.Command{
		Use:   "tracker",
		Short: "Run a tracker (HTTP and UDP)",
		Long: `Serves announces and scrapes by HTTP and UDP on one port, and the bids of
BitTorrent Speed. SIGHUP reads the files of --allow, --deny and --keys anew.`,
		Example: `  btt tracker --listen 127.0.0.1:6969
  btt tracker --listen :6969 --deny refused.txt --metrics-listen 127.0.0.1:9100
  btt tracker --listen 127.0.0.1:6969 --proxy 127.0.0.1/32 --keys members.txt`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.NoUDP && cfg.NoHTTP {
				return usage("--no-udp and --no-http leave nothing to serve")
			}
			if err := errors.Join(checkListen("--listen", cfg.Listen), checkListen("--metrics-listen", metrics)); err != nil {
				return err
			}
			for _, p := range proxies {
				net, err := netip.ParsePrefix(p)
				if err != nil {
					return usage("--proxy %q is no network such as 10.0.0.0/8", p)
				}
				cfg.TrustedProxies = append(cfg.TrustedProxies, net)
			}
			if err := checkTracker(cmd.Flags(), &cfg); err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return runTracker(cmd.Context(), cfg, metrics, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:6969", "HOST:PORT to serve HTTP and UDP on; no HOST = all addresses of both families")
	f.DurationVar(&cfg.Interval, "interval", trackerd.DefaultInterval, "time between two announces of a peer")
	f.DurationVar(&cfg.MinInterval, "min-interval", 0, "least time between two announces (default half of --interval)")
	f.DurationVar(&cfg.BidInterval, "bid-interval", 0, "time until a changed bid is welcome (default --min-interval)")
	f.DurationVar(&cfg.IDLifetime, "id-lifetime", trackerd.DefaultIDLifetime, "how long a UDP connection id is good; some clients keep them longer than BEP 15 says")
	f.IntVar(&cfg.Workers, "workers", 0, "UDP sockets, each with a thread of its own, for each address family (default one a processor)")
	f.IntVar(&cfg.MaxPeers, "max-peers", trackerd.DefaultMaxPeers, "peers kept at most")
	f.StringVar(&cfg.AllowFile, "allow", "", "file of info hashes to serve, one in hex a line; others are refused")
	f.StringVar(&cfg.DenyFile, "deny", "", "file of info hashes to refuse")
	f.StringVar(&cfg.KeyFile, "keys", "", "private tracker: file of keys, one a line; announces go to /KEY/announce (BEP 27)")
	f.StringArrayVar(&proxies, "proxy", nil, "network of proxies whose X-Forwarded-For is believed (may be repeated)")
	f.BoolVar(&cfg.NoBids, "no-bids", false, "keep no bids and tell none")
	f.BoolVar(&cfg.NoUDP, "no-udp", false, "serve HTTP only")
	f.BoolVar(&cfg.NoHTTP, "no-http", false, "serve UDP only")
	f.BoolVar(&cfg.ServeMetrics, "metrics", false, "serve /metrics (Prometheus) and /stats (JSON) to everybody")
	f.StringVar(&metrics, "metrics-listen", "", "HOST:PORT to serve /metrics and /stats on, apart from the tracker")
	return cmd
}

// checkTracker refuses flags that mean nothing beside another one, and numbers that mean
// nothing; left out they are the defaults.
func checkTracker(f *pflag.FlagSet, c *trackerd.Config) error {
	for _, x := range [][2]string{{"no-bids", "bid-interval"}, {"no-udp", "workers"}, {"no-udp", "id-lifetime"}, {"no-http", "metrics"}, {"no-http", "proxy"}} {
		if meant(f, x[0]) && meant(f, x[1]) {
			return usage("--%s does not go with --%s: it would mean nothing", x[1], x[0])
		}
	}
	for name, d := range map[string]time.Duration{"interval": c.Interval, "min-interval": c.MinInterval, "bid-interval": c.BidInterval, "id-lifetime": c.IDLifetime} {
		if f.Changed(name) && d <= 0 {
			return usage("--%s is a time above 0, such as 30m", name)
		}
	}
	for name, n := range map[string]int{"workers": c.Workers, "max-peers": c.MaxPeers} {
		if f.Changed(name) && n <= 0 {
			return usage("--%s is 1 at least; leave it out for the default", name)
		}
	}
	if c.MinInterval > c.Interval {
		return usage("--min-interval %v is longer than --interval %v", c.MinInterval, c.Interval)
	}
	return nil
}

// served names what a tracker serves at an address: the URL to announce to, and a text with all.
func served(c *trackerd.Config, addr string) (announce, all string) {
	announce = fmt.Sprintf("http://%s/announce", addr)
	switch {
	case c.NoHTTP:
		announce = fmt.Sprintf("udp://%s/announce", addr)
	case !c.NoUDP:
		return announce, fmt.Sprintf("%s (and udp://%s)", announce, addr)
	}
	return announce, announce
}

func runTracker(ctx context.Context, cfg trackerd.Config, metrics string, r *terminal.Reporter) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(trackerGC)
	}
	s, err := trackerd.New(cfg)
	if err != nil {
		return err
	}
	announce, all := served(&cfg, s.Addr().String())
	f := terminal.Fields{"listen": s.Addr().String(), "announce": announce}
	if metrics != "" {
		l, err := net.Listen("tcp", metrics)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		server := &http.Server{Handler: s.MetricsHandler(), ReadHeaderTimeout: 10 * time.Second}
		defer server.Close()
		go server.Serve(l) // ends with Close
		f["metrics"] = fmt.Sprintf("http://%s/metrics", l.Addr())
	}
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP) // before it is told that it listens: it would end a tracker
	defer signal.Stop(reloads)
	r.Event("listening", "tracker on "+all, f)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }() // ends with ctx
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-reloads:
			if err := s.Reload(); err != nil {
				r.Warn("warning", "lists are not read anew: "+plain(err), terminal.Fields{"error": err.Error()})
				continue
			}
			r.Event("reloaded", "lists are read anew", nil)
		}
	}
}
