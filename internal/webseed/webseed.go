package webseed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Errors of a source. After ErrGone the file is not there and asking again is
// of no use; others may pass.
var (
	ErrGone   = errors.New("web seed does not have the file")
	ErrRange  = errors.New("web seed does not serve parts of files")
	ErrAnswer = errors.New("web seed answers with something else than was asked")
	ErrURL    = errors.New("web seed address is not allowed")
	ErrStall  = errors.New("web seed sends nothing")
)

// stallAfter is how long a server may send nothing.
const stallAfter = 30 * time.Second

// Busy is a server's wish to be asked later.
type Busy struct {
	Status int
	After  time.Duration // 0 = it does not say
}

// Error implements error.
func (b *Busy) Error() string { return fmt.Sprintf("web seed answers with status %d", b.Status) }

// File is a file of the torrent, in the order of the piece space.
type File struct {
	// Path is that of the torrent, unchanged, the torrent's name first.
	Path   []string
	Length int64
	Pad    bool // zeros that no server has
}

// Config describes a source.
type Config struct {
	URL    string
	Files  []File
	Single bool // the torrent is one file: URL may be the file's own
	Client *http.Client
	Agent  string // User-Agent
}

// Source is a web server that has the torrent's files. It is safe for
// concurrent use.
type Source struct {
	cfg    Config
	base   *url.URL
	starts []int64 // of each file in the piece space; one more for the end
}

// New checks the address of a source. Errors wrap [ErrURL].
func New(cfg Config) (*Source, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("use web seed %q: %w", cfg.URL, ErrURL)
	}
	s := &Source{cfg: cfg, base: u, starts: make([]int64, 1, len(cfg.Files)+1)}
	for i := range cfg.Files {
		s.starts = append(s.starts, s.starts[i]+cfg.Files[i].Length)
	}
	return s, nil
}

// String is the address.
func (s *Source) String() string { return s.cfg.URL }

// address is where a file lies (BEP 19): the URL itself, or below it where it
// ends with a slash or the torrent has several files.
func (s *Source) address(file int) *url.URL {
	u := *s.base
	if s.cfg.Single && !strings.HasSuffix(u.Path, "/") {
		return &u
	}
	path, raw := strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.EscapedPath(), "/")
	for _, p := range s.cfg.Files[file].Path {
		path += "/" + p
		raw += "/" + url.PathEscape(p)
	}
	u.Path, u.RawPath = path, raw
	return &u
}

// Open reads n bytes of the piece space from offset on. Padding comes as zeros
// without asking anybody. The reader must be closed; it fails with [ErrStall]
// when nothing comes for 30 s, and when ctx ends.
func (s *Source) Open(ctx context.Context, offset, n int64) io.ReadCloser {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &reader{source: s, ctx: ctx, cancel: cancel, at: offset, end: offset + n}
	r.stall = time.AfterFunc(stallAfter, func() { cancel(ErrStall) })
	return r
}

// reader reads a run of the piece space, one request for each file in it.
type reader struct {
	source  *Source
	ctx     context.Context
	cancel  context.CancelCauseFunc
	stall   *time.Timer
	at, end int64
	body    io.ReadCloser // of the file at, nil between files
	left    int64         // of the file
	zeros   bool          // it is padding
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.at >= r.end {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, r.cause(err)
		}
	}
	p = p[:min(int64(len(p)), r.left)]
	n, err := len(p), error(nil)
	if r.zeros {
		clear(p)
	} else if n, err = r.body.Read(p); err == io.EOF && int64(n) < r.left {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	if n > 0 {
		r.stall.Reset(stallAfter)
	}
	r.at += int64(n)
	r.left -= int64(n)
	if r.left == 0 && err == nil {
		r.drop()
	}
	return n, r.cause(err)
}

// cause prefers why the reading was ended over what it ended with.
func (r *reader) cause(err error) error {
	if err == nil || r.ctx.Err() == nil {
		return err
	}
	return context.Cause(r.ctx)
}

// next asks for the part that lies in the file at r.at.
func (r *reader) next() error {
	s := r.source
	i := sort.Search(len(s.cfg.Files), func(i int) bool { return s.starts[i+1] > r.at })
	if i == len(s.cfg.Files) {
		return io.ErrUnexpectedEOF
	}
	r.left = min(r.end, s.starts[i+1]) - r.at
	if r.zeros = s.cfg.Files[i].Pad; r.zeros {
		return nil
	}
	body, err := s.get(r.ctx, i, r.at-s.starts[i], r.left)
	if err != nil {
		r.left = 0
		return err
	}
	r.body = body
	return nil
}

// drop ends the file's answer. What is left of it is at most what the server
// sent too much.
func (r *reader) drop() {
	if r.body != nil {
		_, _ = r.body.Read(make([]byte, 1)) // the end, so that the connection serves again
		_ = r.body.Close()
		r.body = nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.stall.Stop()
	r.cancel(context.Canceled)
	if r.body != nil {
		return r.body.Close()
	}
	return nil
}

// get asks for a part of a file and checks that this is what comes.
func (s *Source) get(ctx context.Context, file int, from, n int64) (io.ReadCloser, error) {
	u := s.address(file)
	if u.RawQuery != "" {
		if private(u.Hostname()) {
			return nil, fmt.Errorf("ask web seed: %w: %w", ErrURL, errPrivate)
		}
		ctx = context.WithValue(ctx, public{}, true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask web seed: %w", err)
	}
	req.Header.Set("User-Agent", s.cfg.Agent)
	req.Header.Set("Accept-Encoding", "identity")
	whole := from == 0 && n == s.cfg.Files[file].Length
	if !whole {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+n-1))
	}
	res, err := s.cfg.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask web seed: %w", err)
	}
	if err := check(res, from, n, s.cfg.Files[file].Length); err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	return res.Body, nil
}

// check says whether an answer holds the bytes [from, from+n) of a file.
func check(res *http.Response, from, n, size int64) error {
	switch code := res.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone || code == http.StatusForbidden || code == http.StatusUnauthorized:
		return fmt.Errorf("%w: status %d", ErrGone, code)
	case code == http.StatusOK && n == size, code == http.StatusPartialContent:
	case code == http.StatusOK:
		return ErrRange
	default:
		seconds, _ := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
		return &Busy{Status: code, After: time.Duration(seconds) * time.Second}
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fmt.Errorf("%w: encoding %q", ErrAnswer, e)
	}
	if res.StatusCode == http.StatusPartialContent {
		if first, last, total, ok := parseRange(res.Header.Get("Content-Range")); !ok || first != from || last != from+n-1 || total >= 0 && total != size {
			return fmt.Errorf("%w: range %q", ErrAnswer, res.Header.Get("Content-Range"))
		}
	}
	if res.ContentLength >= 0 && res.ContentLength != n {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrAnswer, res.ContentLength, n)
	}
	return nil
}

// parseRange reads "bytes 0-99/1234"; total is -1 where it is "*".
func parseRange(text string) (first, last, total int64, ok bool) {
	rest, found := strings.CutPrefix(text, "bytes ")
	span, size, found2 := strings.Cut(rest, "/")
	from, to, found3 := strings.Cut(span, "-")
	if !found || !found2 || !found3 {
		return 0, 0, 0, false
	}
	a, err1 := strconv.ParseUint(from, 10, 63)
	b, err2 := strconv.ParseUint(to, 10, 63)
	total = -1
	if size != "*" {
		t, err := strconv.ParseUint(size, 10, 63)
		if err != nil {
			return 0, 0, 0, false
		}
		total = int64(t)
	}
	return int64(a), int64(b), total, err1 == nil && err2 == nil && a <= b
}
