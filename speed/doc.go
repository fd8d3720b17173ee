// Package speed is the BEP 10 extension btt_speed, version 1: the messages by
// which peers bid for unchoke slots, answer bids, announce reserve prices,
// prove possession and carry payment channels; the session machine of one peer
// connection; and the penalties for peers that win slots and do not pay.
//
// The format is specified in docs/beps/speed.rst; test vectors are
// testdata/vectors/speed.json.
//
// internal/swarm calls it: one [Session] per peer connection that named the
// extension, owned by the swarm's goroutine; one [Penalties] per session of
// the client, owned by internal/session. The package is pure: no I/O, no
// clock, no random source, no goroutine; none of its types may be used by two
// goroutines at once.
//
// Requirements: R5.3-R5.6, R7.7-R7.10, R8.5-R8.8, R10.14-R10.16, R11 (as the
// carrier of channel messages), R12.1-R12.3; readings A6, A8, A13, A15, A25.
package speed
