package ledgerhttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Limits of a connection.
const (
	headerTimeout  = 10 * time.Second // to send the header of a request
	bodyTimeout    = 30 * time.Second // to send all of it
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// ShutdownTimeout is what requests under way get when Serve ends; a
	// submission is answered when its block is on the disk.
	ShutdownTimeout = 5 * time.Second
)

// LoadTLS reads a certificate and its key (PEM) for Serve.
func LoadTLS(certFile, keyFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

// Serve serves h on l, with TLS unless secure is nil, until ctx ends or l fails,
// and closes l. Watch streams end at once then, other requests within
// ShutdownTimeout. It returns nil after the end of ctx.
func Serve(ctx context.Context, l net.Listener, h http.Handler, secure *tls.Config) error {
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	base := context.WithValue(context.WithoutCancel(ctx), streamsKey{}, streams)
	srv := &http.Server{
		Handler: h, TLSConfig: secure, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, BaseContext: func(net.Listener) context.Context { return base },
	}
	srv.RegisterOnShutdown(endStreams)
	served := make(chan error, 1)
	go func() { // ends with Shutdown or Close
		if secure != nil {
			served <- srv.ServeTLS(l, "", "")
		} else {
			served <- srv.Serve(l)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve ledger: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), ShutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return srv.Close()
	}
	return nil
}

// streamsKey finds, in the context of a request, the context that ends with the
// server: streams would outlast any patience.
type streamsKey struct{}

// endWithServer makes of stop a function that also runs when the server of a
// request shuts down; call it in any case.
func endWithServer(ctx context.Context, stop context.CancelFunc) context.CancelFunc {
	streams, ok := ctx.Value(streamsKey{}).(context.Context)
	if !ok {
		return stop
	}
	unhook := context.AfterFunc(streams, stop)
	return func() {
		unhook()
		stop()
	}
}

// receive gives a client its time to send a body, and ends it when called again
// with false.
func receive(w http.ResponseWriter, on bool) {
	var until time.Time
	if on {
		until = time.Now().Add(bodyTimeout)
	}
	_ = http.NewResponseController(w).SetReadDeadline(until) // only a recorder of a test has none
}
