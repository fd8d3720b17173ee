// Package lanes hashes up to sixteen messages of equal length at once, one in each 32-bit
// lane of the processor's widest registers: SHA-1 for the pieces of version 1, SHA-256 for
// the trees of version 2 (BEP 52). One message can not be hashed faster that way, several
// can: on a processor with AVX-512 a core hashes several times the bytes that
// crypto/sha1 and crypto/sha256 do with instructions made for them.
//
// Both is another thing: one message hashed by SHA-1 and SHA-256 together, for hybrids, with the
// SHA instructions of a core.
//
// Fast and FastBoth say whether the processor can; where it can not, everything here gives
// the same answers by the standard library, one message after the other. The machine code is
// written by internal/lanes/gen.
//
// Callers: metainfo (hash trees) and internal/disk (checking and making torrents). The
// package is pure and starts no goroutines; a value must be used by one at a time.
package lanes

//go:generate go run ./gen
