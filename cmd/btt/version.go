package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/terminal"
)

// version is set by release builds.
var version = "0.1.0-dev"

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the program's version", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rev := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						rev = s.Value[:min(12, len(s.Value))]
					}
				}
			}
			text := "btt " + version
			if rev != "" {
				text += " (" + rev + ")"
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("version", text, terminal.Fields{"version": version, "revision": rev})
			return nil
		},
	}
}
