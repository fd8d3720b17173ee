package webseed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	maxRedirects   = 5
	maxHeaderBytes = 64 << 10
	// MaxConnections is how many connections one server gets of us.
	MaxConnections = 4

	dialTimeout   = 15 * time.Second
	answerTimeout = 30 * time.Second
)

// errPrivate says that a web address leads into a network where it has no
// business.
var errPrivate = errors.New("address leads from the internet into a private network, or there with a query")

// NewClient makes the HTTP client that all sources of a session share.
func NewClient() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: guard}
	return &http.Client{
		CheckRedirect: redirect,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  answerTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxConnsPerHost:        MaxConnections,
			MaxIdleConnsPerHost:    MaxConnections,
			IdleConnTimeout:        15 * time.Second,
			DisableCompression:     true,
			ReadBufferSize:         64 << 10,
		},
	}
}

// public is the key of a request's context under which guard finds that the
// request may only go to the internet.
type public struct{}

// redirect bounds redirects. One that does not come from this machine's own
// network may not lead there.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d redirects", ErrURL, maxRedirects)
	}
	if req.URL.RawQuery == "" && private(via[0].URL.Hostname()) {
		return nil
	}
	if private(req.URL.Hostname()) {
		return fmt.Errorf("%w: %w", ErrURL, errPrivate) // a connection may be there already
	}
	*req = *req.WithContext(context.WithValue(req.Context(), public{}, true))
	return nil
}

// guard refuses to connect where the request may not go, whatever name the
// address hides behind.
func guard(ctx context.Context, _, address string, _ syscall.RawConn) error {
	if only, _ := ctx.Value(public{}).(bool); !only {
		return nil
	}
	if a, err := netip.ParseAddrPort(address); err == nil && local(a.Addr()) {
		return fmt.Errorf("%w: %w", ErrURL, errPrivate)
	}
	return nil
}

// private says whether a host is named by an address of this machine or of a
// private network.
func private(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && local(a)
}

func local(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast()
}
