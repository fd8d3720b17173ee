// Package peer is one connection to a BitTorrent peer: it reads and decodes
// messages, stores the blocks that arrive, keeps the request pipeline full and
// serves what the peer asks for (BEP 3, BEP 6, BEP 10; R1.6).
//
// Ownership: each connection has a reader and a writer goroutine, started by
// [Conn.Start] and ended by [Conn.Close] or the first error. They own nothing
// but the connection's leaf lock. Decisions (what to ask, whom to unchoke) are
// the owner's, internal/swarm: it grants runs of blocks and takes events in
// batches, once per read of the socket and not once per message.
//
// The block path allocates nothing: a block is decoded in the read buffer,
// hashed and copied by the reader goroutine through [Store], and reported as a
// value in the event batch.
package peer
