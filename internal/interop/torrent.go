package interop

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Torrent is a .torrent file and what it describes.
type Torrent struct {
	File     string // path of the .torrent
	InfoHash string // hex, version 1
	Name     string // file or folder inside a data folder
	Magnet   string // with the trackers it was made for
}

// Content is a tree of files by slash-separated path and size in bytes. One
// entry without a slash makes a single-file torrent.
type Content map[string]int64

// WriteContent fills dir with c; the bytes follow from seed and path alone.
func WriteContent(dir string, c Content, seed string) error {
	for path, size := range c {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return fmt.Errorf("make content folder: %w", err)
		}
		f, err := os.Create(full)
		if err != nil {
			return fmt.Errorf("make content file: %w", err)
		}
		source := rand.NewChaCha8(sha256.Sum256([]byte(seed + "\x00" + path)))
		_, err = io.CopyN(f, source, size)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write content file: %w", err)
		}
	}
	return nil
}

// HashTree returns the SHA-256 of each file below dir by slash-separated path.
func HashTree(dir string) (map[string]string, error) {
	sums := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		sums[filepath.ToSlash(rel)] = hex.EncodeToString(h.Sum(nil))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hash files of %s: %w", dir, err)
	}
	return sums, nil
}

// MakeTorrent runs mktorrent over path (pieces of 1<<pieceBits bytes) and reads the result.
func MakeTorrent(path, file string, pieceBits int, trackers ...string) (*Torrent, error) {
	args := []string{"-l", strconv.Itoa(pieceBits), "-d", "-o", file}
	for _, t := range trackers {
		args = append(args, "-a", t)
	}
	out, err := exec.Command("mktorrent", append(args, path)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run mktorrent: %w: %s", err, out)
	}
	return ReadTorrent(file, filepath.Base(path), trackers...)
}

// ReadTorrent finds the infohash of a .torrent by the span of its info value,
// with no code of the client under test.
func ReadTorrent(file, name string, trackers ...string) (*Torrent, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read torrent: %w", err)
	}
	if len(b) == 0 || b[0] != 'd' {
		return nil, fmt.Errorf("read torrent %s: not a dictionary", file)
	}
	for i := 1; i < len(b) && b[i] != 'e'; {
		key := valueEnd(b, i)
		end := valueEnd(b, key)
		if key < 0 || end < 0 {
			break
		}
		if string(b[i:key]) == "4:info" {
			sum := sha1.Sum(b[key:end])
			t := &Torrent{File: file, InfoHash: hex.EncodeToString(sum[:]), Name: name}
			t.Magnet = "magnet:?xt=urn:btih:" + t.InfoHash + "&dn=" + url.QueryEscape(name)
			for _, tracker := range trackers {
				t.Magnet += "&tr=" + url.QueryEscape(tracker)
			}
			return t, nil
		}
		i = end
	}
	return nil, fmt.Errorf("read torrent %s: no info dictionary", file)
}

// valueEnd returns the index after the bencoded value at b[i:], -1 if broken.
func valueEnd(b []byte, i int) int {
	if i < 0 || i >= len(b) {
		return -1
	}
	switch b[i] {
	case 'i':
		if n := bytes.IndexByte(b[i:], 'e'); n > 0 {
			return i + n + 1
		}
		return -1
	case 'd', 'l':
		for i++; i >= 0 && i < len(b) && b[i] != 'e'; {
			i = valueEnd(b, i)
		}
		if i < 0 || i >= len(b) {
			return -1
		}
		return i + 1
	}
	colon := bytes.IndexByte(b[i:min(len(b), i+20)], ':')
	if colon < 0 {
		return -1
	}
	n, err := strconv.Atoi(string(b[i : i+colon]))
	if end := i + colon + 1 + n; err == nil && n >= 0 && end <= len(b) {
		return end
	}
	return -1
}

// NameNode adds a node of the DHT to a .torrent without trackers (BEP 5).
func NameNode(file string, node netip.AddrPort) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read torrent: %w", err)
	}
	if len(b) == 0 || b[len(b)-1] != 'e' {
		return fmt.Errorf("read torrent %s: not a dictionary", file)
	}
	ip := node.Addr().String()
	b = fmt.Appendf(b[:len(b)-1], "5:nodesll%d:%si%deeee", len(ip), ip, node.Port())
	return os.WriteFile(file, b, 0o644)
}
