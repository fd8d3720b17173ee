// Package mse is message stream encryption, also called protocol encryption:
// the obfuscated handshake of BitTorrent connections and the RC4 stream that
// may follow it. It hides the protocol from networks that slow it down; it is
// no protection against someone who knows the info hash.
//
// internal/session calls [Initiate] on outgoing and [Accept] on incoming
// connections before the BitTorrent handshake; internal/peer then uses what
// they return. When both sides agree on plaintext that is the TCP connection
// itself, so that nothing stands between it and vectored writes; with RC4 it is
// a [Stream].
//
// The package starts no goroutine. Both calls block for at most
// [HandshakeTimeout] and read not one byte further than the handshake.
//
// Serves R1.6. The protocol has no BEP; facts are from its public description:
// Diffie-Hellman over a prime of 768 bits, keys by SHA-1 over the shared
// secret and the info hash (SKEY), RC4 with the first 1024 bytes dropped.
package mse
