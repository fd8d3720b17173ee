package trackerd

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/bttnet/btt/tracker"
)

// MaxListed is how many lines an allow, deny or key file may have.
const MaxListed = 16 << 20

// lists says what is served. A nil map means that there is no such list.
type lists struct {
	allow, deny map[tracker.InfoHash]struct{}
	keys        map[string]struct{}
}

// Reload reads the allow, deny and key files anew and swaps them in at once;
// after an error the old ones stay.
func (s *Server) Reload() error {
	l := new(lists)
	var err error
	if l.allow, err = readHashes(s.config.AllowFile); err != nil {
		return err
	}
	if l.deny, err = readHashes(s.config.DenyFile); err != nil {
		return err
	}
	if s.config.KeyFile != "" {
		l.keys = make(map[string]struct{})
		err = readLines(s.config.KeyFile, func(line string) error {
			l.keys[line] = struct{}{}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.lists.Store(l)
	return nil
}

// readHashes reads infohashes in hex, one a line; "" means no list.
func readHashes(path string) (map[tracker.InfoHash]struct{}, error) {
	if path == "" {
		return nil, nil
	}
	out := make(map[tracker.InfoHash]struct{})
	err := readLines(path, func(line string) error {
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != 20 && len(raw) != 32 {
			return fmt.Errorf("%q is no infohash in hex", line)
		}
		out[tracker.InfoHash(raw[:20])] = struct{}{} // v2 hashes are announced cut
		return nil
	})
	return out, err
}

// readLines calls each line of a file that is neither empty nor a # comment.
func readLines(path string, each func(string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if n > MaxListed {
			return fmt.Errorf("read list %s: more than %d lines", path, MaxListed)
		}
		if err := each(line); err != nil {
			return fmt.Errorf("read list %s, line %d: %w", path, n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read list %s: %w", path, err)
	}
	return nil
}

// refuse says why a torrent is not served, "" if it is. path is the announce
// URL's, for trackers with keys.
func (l *lists) refuse(h *tracker.InfoHash, path string) string {
	if reason := l.refuseKey(path); reason != "" {
		return reason
	}
	if l.allow != nil {
		if _, ok := l.allow[*h]; !ok {
			return "this torrent is not served here"
		}
	}
	if l.deny != nil {
		if _, ok := l.deny[*h]; ok {
			return "this torrent is not served here"
		}
	}
	return ""
}

// refuseKey checks the key in a path, on trackers that have keys.
func (l *lists) refuseKey(path string) string {
	if l.keys == nil {
		return ""
	}
	key, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if _, ok := l.keys[key]; !ok {
		return "unknown key: use the announce URL of your account"
	}
	return ""
}
