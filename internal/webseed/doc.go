// Package webseed reads parts of a torrent from web servers that hold its files
// (BEP 19, "url-list").
//
// A [Source] is one URL. It is passive: [Source.Open] runs in the goroutine of
// its caller, internal/swarm, which leases pieces to a source as to a peer,
// checks what came against the torrent's hashes, and leaves a source that lied.
//
// URLs come from strangers. [NewClient] follows few redirects, answers to
// nobody's cookies, and goes neither from the internet into this machine or a
// private network nor there with a query, for that is how a torrent could press
// a button of the user's router.
package webseed
