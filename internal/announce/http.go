package announce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/bttnet/btt/tracker"
)

// ErrRedirect means that a tracker sent us somewhere we do not go.
var ErrRedirect = errors.New("tracker redirects too often or into a private network")

// newHTTPClient has no cookie jar, few idle connections (announces are half an
// hour apart) and bounded everything.
//
// family is "4" or "6" for a client that speaks to addresses of one family, ""
// for whichever answers first.
func newHTTPClient(c Config, family string) *http.Client {
	dialer := &net.Dialer{Timeout: c.HTTPTimeout / 2}
	return &http.Client{
		Timeout:       c.HTTPTimeout,
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) {
				return c.proxyFor(r)
			},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return dialer.DialContext(ctx, network+family, addr)
			},
			TLSHandshakeTimeout:    c.HTTPTimeout / 2,
			ResponseHeaderTimeout:  c.HTTPTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        15 * time.Second,
			ForceAttemptHTTP2:      true,
		},
	}
}

// proxyFor is the proxy of a request; nil = none.
func (c *Config) proxyFor(r *http.Request) (*url.URL, error) {
	switch {
	case isLocal(r.URL.Hostname()):
		return nil, nil
	case c.Proxy != nil:
		return c.Proxy(r)
	}
	return http.ProxyFromEnvironment(r)
}

// isLocal reports whether a host name is this machine.
func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isPrivate reports whether a host names this machine or a private network.
func isPrivate(host string) bool {
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	return isLocal(host) || err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// checkRedirect lets a tracker redirect a few times, not down from https, and
// not from the internet into the user's own network.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects,
		first.Scheme == "https" && r.URL.Scheme != "https",
		isPrivate(r.URL.Hostname()) && !isPrivate(first.Hostname()):
		return ErrRedirect
	}
	return nil
}

// get fetches at most tracker.MaxResponse bytes.
func (a *Announcer) get(ctx context.Context, url string) ([]byte, error) {
	return a.getBy(ctx, a.http, url)
}

func (a *Announcer) getBy(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", a.config.UserAgent)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tracker.MaxResponse+1))
	if err != nil {
		return nil, err
	}
	if len(body) > tracker.MaxResponse {
		return nil, fmt.Errorf("read answer: %w", tracker.ErrTooLarge)
	}
	if resp.StatusCode != http.StatusOK && (len(body) == 0 || body[0] != 'd') {
		// Some trackers send a bencoded reason with an error status.
		return nil, fmt.Errorf("HTTP status %s", resp.Status)
	}
	return body, nil
}

// announceHTTP sends the bid parameters to trackers that never answered yet or
// answered with a bid key: unknown parameters are skipped by all known ones.
func (a *Announcer) announceHTTP(ctx context.Context, raw string, r *tracker.Request) (*tracker.Response, error) {
	known := a.memory.get(raw)
	bids := (r.Bid != 0 || r.Top > 0) && (known.bids || !known.answered || time.Now().After(known.plain))
	buf, err := r.AppendURL(make([]byte, 0, 512), raw, bids)
	if err != nil {
		return nil, err
	}
	resp, err := a.overFamilies(ctx, raw, string(buf))
	if err == nil && bids {
		a.memory.update(raw, func(k *ability) { k.learn(resp.SpeaksBids) })
	}
	return resp, err
}

// clients are those to announce by: one for each family where the tracker and
// the machine have both, so that it learns both of our addresses (BEP 7).
func (a *Announcer) clients(ctx context.Context, raw string) []*http.Client {
	one := []*http.Client{a.http}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
	if err != nil || a.udp.conn4 == nil || a.udp.conn6 == nil {
		return one
	}
	if _, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		return one
	}
	if proxy, err := a.config.proxyFor(req); proxy != nil || err != nil {
		return one
	}
	ips, err := a.lookUp(ctx, "ip", req.URL.Hostname())
	four := slices.ContainsFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() })
	six := slices.ContainsFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is6() })
	if err != nil || !four || !six {
		return one
	}
	return []*http.Client{a.http4, a.http6}
}

// overFamilies announces over each family and joins the answers.
func (a *Announcer) overFamilies(ctx context.Context, raw, full string) (*tracker.Response, error) {
	return joinFamilies(ctx, a.clients(ctx, raw), a.udp.base/5, func(ctx context.Context, c *http.Client) (*tracker.Response, error) {
		body, err := a.getBy(ctx, c, full)
		if err != nil {
			return nil, bare(err)
		}
		resp, err := tracker.ParseResponse(body)
		if err != nil {
			return nil, bare(err)
		}
		return resp, nil
	})
}

// Scrape asks an HTTP or UDP tracker for counts, at most MaxScrape torrents.
func (a *Announcer) Scrape(ctx context.Context, raw string, hashes []tracker.InfoHash) ([]tracker.Swarm, error) {
	swarms, err := a.scrape(ctx, raw, hashes)
	if err != nil {
		return nil, failure("scrape", raw, err)
	}
	return swarms, nil
}

func (a *Announcer) scrape(ctx context.Context, raw string, hashes []tracker.InfoHash) ([]tracker.Swarm, error) {
	if a.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if len(raw) > tracker.MaxURL {
		return nil, tracker.ErrURL
	}
	u, err := url.Parse(raw)
	if err == nil && u.Scheme == "udp" {
		return a.scrapeUDP(ctx, u, hashes)
	}
	base, err := tracker.ScrapeURL(raw, "scrape")
	if err != nil {
		return nil, err
	}
	buf, err := tracker.AppendScrapeURL(nil, base, hashes)
	if err != nil {
		return nil, err
	}
	body, err := a.get(ctx, string(buf))
	if err != nil {
		return nil, err
	}
	return tracker.ParseScrape(body)
}

// BidScrape asks an HTTP or UDP tracker for the torrents with the best bids
// (R6.5); path is Response.BidScrape of an announce to an HTTP one, empty for
// the usual name, and not used over UDP. An HTTP answer is ordered by infohash
// and tells the bids' ages; a UDP one is ordered best first, holds at most
// tracker.MaxUDPBidScrape torrents and cannot be asked for q.Hashes
// (ErrNamedBids); q.MinBid may leave a UDP page empty before the last. Pages follow one another by BidPage.Next in q.After.
func (a *Announcer) BidScrape(ctx context.Context, raw, path string, q *tracker.BidQuery) (*tracker.BidPage, error) {
	page, err := a.bidScrape(ctx, raw, path, q)
	if err != nil {
		return nil, failure("bid scrape", raw, err)
	}
	return page, nil
}

func (a *Announcer) bidScrape(ctx context.Context, raw, path string, q *tracker.BidQuery) (*tracker.BidPage, error) {
	if a.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if len(raw) > tracker.MaxURL {
		return nil, tracker.ErrURL
	}
	u, err := url.Parse(raw)
	if err == nil && u.Scheme == "udp" {
		return a.bidScrapeUDP(ctx, u, q)
	}
	if path == "" {
		path = "bidscrape"
	}
	base, err := tracker.ScrapeURL(raw, path)
	if err != nil {
		return nil, err
	}
	buf, err := tracker.AppendBidScrapeURL(nil, base, q)
	if err != nil {
		return nil, err
	}
	body, err := a.get(ctx, string(buf))
	if err != nil {
		return nil, err
	}
	return tracker.ParseBidScrape(body)
}
