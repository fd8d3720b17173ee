// Package bencode reads and writes bencode (BEP 3), the data format of .torrent
// files, tracker answers, DHT queries and extension messages.
//
// Reading is a flat token scan without reflection: Parse walks the input once and
// leaves one 16-byte token per item in a slice that Doc reuses, so that a warm Doc
// parses without allocating. Values are cheap views into the input. Strict mode (the
// default) accepts canonical bencode alone: sorted unique keys, no leading zeros, no
// negative zero, nothing after the value. Lenient mode accepts what old clients wrote.
//
// Writing is append style (AppendInt, AppendString, …); Dict collects entries in any
// order and writes them canonically.
//
// Callers: metainfo, wire, speed, tracker, the DHT and resume data. The package is pure:
// no I/O, no clock, no goroutine. A Doc belongs to one goroutine while it parses; a
// parsed Doc may be read by many.
package bencode
