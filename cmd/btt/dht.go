package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt/internal/dht"
)

// dhtEnv, set to "off", keeps commands out of the DHT that are not told to join
// it by a flag.
const dhtEnv = "BTT_DHT"

// dhtFlags are the flags about the DHT.
type dhtFlags struct {
	set       *pflag.FlagSet
	on, off   bool
	bootstrap []string
}

func (d *dhtFlags) register(f *pflag.FlagSet) {
	d.set = f
	f.BoolVar(&d.on, "dht", true, "find peers in the DHT too, and serve it (private torrents never do; off with --listen off or $BTT_DHT=off unless given)")
	f.BoolVar(&d.off, "no-dht", false, "stay out of the DHT")
	f.StringArrayVar(&d.bootstrap, "dht-bootstrap", nil, "HOST:PORT of a DHT node to join by, instead of the well-known ones (may be repeated; \"none\" = no such node)")
}

// config returns the node's part in the DHT; nil = none.
func (d *dhtFlags) config(listen, home string) (*dht.Config, error) {
	given := d.set != nil && d.set.Changed("dht") && d.on
	quiet := listen == "off" || os.Getenv(dhtEnv) == "off" && len(d.bootstrap) == 0
	if d.off && (given || len(d.bootstrap) > 0) {
		return nil, usage("--no-dht does not go with --dht or --dht-bootstrap: give one of them")
	}
	if d.off || !d.on || quiet && !given {
		return nil, nil
	}
	c := &dht.Config{}
	for _, b := range d.bootstrap {
		if b == "none" {
			c.Bootstrap = append([]string{}, c.Bootstrap...)
			continue
		}
		if err := dht.CheckBootstrap(b); err != nil {
			return nil, usage("--dht-bootstrap: %v", err)
		}
		c.Bootstrap = append(c.Bootstrap, b)
	}
	if home != "" {
		c.File = filepath.Join(home, "dht")
	}
	return c, nil
}
