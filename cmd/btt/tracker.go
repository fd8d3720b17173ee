package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/internal/trackerd"
)

func newTracker(g *global) *cobra.Command {
	var cfg trackerd.Config
	cmd := &cobra.Command{
		Use:     "tracker",
		Short:   "Run a tracker (HTTP and UDP)",
		Example: `  btt tracker --listen 127.0.0.1:6969`,
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := trackerd.New(cfg)
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			url := fmt.Sprintf("http://%s/announce", s.Addr())
			r.Event("listening", "tracker on "+url+" (and udp://"+s.Addr().String()+")", terminal.Fields{"listen": s.Addr().String(), "announce": url})
			if err := s.Serve(cmd.Context()); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:6969", "HOST:PORT to serve HTTP and UDP on")
	f.DurationVar(&cfg.Interval, "interval", 30*time.Minute, "time between two announces of a peer")
	f.StringVar(&cfg.AllowFile, "allow", "", "file of info hashes to serve, one in hex a line; others are refused")
	f.StringVar(&cfg.DenyFile, "deny", "", "file of info hashes to refuse")
	f.BoolVar(&cfg.ServeMetrics, "metrics", false, "serve /metrics and /stats to everybody")
	return cmd
}
