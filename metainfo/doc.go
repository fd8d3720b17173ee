// Package metainfo reads, checks and makes the descriptions of torrents: .torrent files
// of version 1 (BEP 3), version 2 and hybrids (BEP 52), the info dictionaries that
// peers exchange (BEP 9), and magnet links (BEP 9, BEP 53). It also knows multitracker
// tiers (BEP 12), web seeds (BEP 17, BEP 19), DHT nodes (BEP 5), private torrents
// (BEP 27), pad files and file attributes (BEP 47), and turns the names a stranger
// wrote into paths that are safe on every system.
//
// All versions come out in one shape: Info.Files is the piece space in order, file after
// file, pad files included, so that the byte at offset o belongs to piece
// o / PieceLength whatever the version. Version 2 torrents, which align files instead of
// padding them, get the pad files they imply.
//
// What is tolerated, because the wild has it: keys in any order, equal keys (the first
// counts), numbers with leading zeros, bytes after the torrent, a flat announce-list, URLs
// with spaces around them and unusable ones (passed over), names that are no UTF-8,
// BitComet's padding files, a missing piece layer of a hybrid, padding after the last
// file. What is not: file trees whose names are out of order (their order is that of the
// files), a hybrid whose versions list different files, layers that do not lead to their
// root, lengths or counts beyond the limits, files with both files and length. Symbolic
// links are never made and never followed.
//
// Callers: internal/session, internal/swarm, internal/disk (through DiskFile) and the
// commands that create and show torrents. The package is pure: no files, no sockets, no
// clock. Parse hashes large torrents in up to three goroutines, which end before it
// returns. Its values may be read by many goroutines once made.
package metainfo
