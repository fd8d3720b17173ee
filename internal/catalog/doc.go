// Package catalog is what a session remembers of its torrents: for each a
// [Record] of what was set and how far it came, and its metadata, in files of
// their own that are replaced as a whole (docs/rfcs/0016-torrents-that-last.md).
//
// internal/session calls it. It has no goroutine and no lock: for one torrent
// its caller writes one file at a time.
package catalog
