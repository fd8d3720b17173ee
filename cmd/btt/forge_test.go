package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// forgedPiece is the piece length of forged torrents.
const forgedPiece = 16 << 10

// forge encodes a torrent of one piece by hand, so that its names may be such
// as no library writes, and returns the files' contents. One file without "="
// makes a torrent of a single file.
func forge(name string, files []string) (torrent []byte, contents []string) {
	var list bytes.Buffer
	for _, f := range files {
		path, data, ok := strings.Cut(f, "=")
		if !ok {
			return assemble(name, fmt.Sprintf("6:lengthi%de", len(f)), []string{f}), []string{f}
		}
		fmt.Fprintf(&list, "d6:lengthi%de4:pathl", len(data))
		for part := range strings.SplitSeq(path, "|") {
			fmt.Fprintf(&list, "%d:%s", len(part), part)
		}
		list.WriteString("ee")
		contents = append(contents, data)
	}
	return assemble(name, "5:filesl"+list.String()+"e", contents), contents
}

func assemble(name, files string, contents []string) []byte {
	sum := sha1.Sum([]byte(strings.Join(contents, "")))
	return fmt.Appendf(nil, "d4:infod%s4:name%d:%s12:piece lengthi%de6:pieces20:%see", files, len(name), name, forgedPiece, sum[:])
}

// cmdReseal changes one bit of a transaction in block NUMBER of a ledger's log
// and makes the checksums right again: a lie that only the books can find.
func cmdReseal(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "reseal LOG NUMBER")
	number, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	const lead, tail = 12, 4 // magic, length, checksum; checksum of the body
	at := 0
	for ; number > 1; number-- {
		at += lead + int(binary.BigEndian.Uint32(b[at+4:])) + tail
	}
	body := b[at+lead:][:binary.BigEndian.Uint32(b[at+4:])]
	body[len(body)-1] ^= 1
	binary.BigEndian.PutUint32(b[at+lead+len(body):], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}
