package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
	"github.com/bttnet/btt/internal/terminal"
)

// serveFlags say where a ledger is served.
type serveFlags struct {
	listen    []string
	cert, key string
}

func ledgerServe(g *global, dir *string) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the ledger",
		Long: `Runs the ledger until Ctrl-C. --listen may be repeated: a unix socket for programs
of this machine beside a port for others. With a certificate all ports speak HTTPS;
users trust one of your own making with BTT_LEDGER_CA=FILE.

What one address may ask in a second, and how many may wait or watch, is bounded;
who asks too much is told to wait. Closes of channels go before everything else
when the ledger is full.`,
		Example: `  btt ledger serve --dir ledger --listen 127.0.0.1:7700
  btt ledger serve --dir ledger --listen :7700 --tls-cert cert.pem --tls-key key.pem --listen unix:/run/btt/ledger.sock`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), g.reporter(cmd.OutOrStdout()), *dir)
		},
	}
	cmd.Flags().StringArrayVar(&f.listen, "listen", []string{"127.0.0.1:7700"}, "HOST:PORT or unix:/PATH to serve on (may be repeated)")
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "file of the certificate (PEM), for HTTPS")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "file of the certificate's key (PEM)")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return cmd
}

// entrance is one address that a ledger is served on.
type entrance struct {
	net.Listener
	url    string
	secure *tls.Config
}

func (f *serveFlags) run(ctx context.Context, r *terminal.Reporter, dir string) error {
	if _, err := os.Stat(genesisPath(dir)); err != nil {
		return fmt.Errorf("no ledger in %s (make one with: btt ledger init --dir %s): %w", dir, dir, os.ErrNotExist)
	}
	var secure *tls.Config
	if f.cert != "" {
		var err error
		if secure, err = ledgerhttp.LoadTLS(f.cert, f.key); err != nil {
			return err
		}
	}
	fatal := make(chan error, 1)
	s, err := ledgerd.Open(ledgerd.Config{Dir: dir, Fatal: func(err error) { fatal <- err }})
	if err != nil {
		return err
	}
	entrances, err := f.entrances(secure)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	for _, e := range entrances {
		r.Event("listening", "ledger "+s.Network().String()+" on "+e.url, terminal.Fields{"network": s.Network(), "url": e.url, "operator": s.Operator()})
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	handler := ledgerhttp.Handler(s.Client())
	served := make(chan error, len(entrances))
	for _, e := range entrances {
		go func() { served <- ledgerhttp.Serve(serving, e, handler, e.secure) }() // ends with serving
	}
	waiting := len(entrances)
	select {
	case err = <-fatal:
		err = fmt.Errorf("ledger stopped: %w", err)
	case err = <-served:
		waiting--
	}
	stop()
	for range waiting {
		err = errors.Join(err, <-served)
	}
	return errors.Join(err, s.Close())
}

// entrances listens on all addresses, or on none.
func (f *serveFlags) entrances(secure *tls.Config) (list []entrance, err error) {
	for _, listen := range f.listen {
		e := entrance{secure: secure, url: listen}
		path, local := strings.CutPrefix(listen, "unix:")
		if local {
			e.secure = nil
			e.Listener, err = net.Listen("unix", path)
		} else {
			e.Listener, err = net.Listen("tcp", listen)
		}
		if err != nil {
			for _, open := range list {
				open.Close()
			}
			return nil, fmt.Errorf("listen on %s (is another ledger running there?): %w", listen, err)
		}
		switch {
		case local:
		case secure != nil:
			e.url = "https://" + e.Addr().String()
		default:
			e.url = "http://" + e.Addr().String()
		}
		list = append(list, e)
	}
	return list, nil
}
