package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by release builds.
var version = "0.1.0-dev"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the program's version", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rev := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						rev = " (" + s.Value[:min(12, len(s.Value))] + ")"
					}
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "btt %s%s\n", version, rev)
			return nil
		},
	}
}
