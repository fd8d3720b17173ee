package ledgerd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/bttnet/btt/ledger"
)

// The block log is the ledger: a file of block records, nothing before, between
// or after them. All numbers are big endian.
//
//	magic       4   "BLK1"
//	length      4   of the body
//	check       4   CRC-32C of the 8 bytes above
//	body:
//	  header  120   ledger.Header: height, previous hash, times, roots
//	  raws     32   RFC 6962 tree hash of the raw transactions
//	  count     4   transactions
//	  signature 65  operator's, over the seal of header and raws
//	  count times: length 4, raw transaction
//	check       4   CRC-32C of the body
//
// The previous hash of block 1 is the network. The checksums find a torn or
// rotten disk; the hash chain, the roots and the signatures find a lie (A31).
const (
	frameMagic = "BLK1"
	frameLead  = 4 + 4 + 4
	frameFixed = ledger.HeaderSize + 32 + 4 + 65
	frameTail  = 4
	sealTag    = "ledgerd/block"
)

// Limits of one block. MaxBlockBytes bounds the body of a record; a commit takes
// no more than MaxBlockTransactions.
const (
	MaxBlockTransactions = 1 << 13
	MaxBlockBytes        = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged says that the block log holds something that no crash can leave
// behind: refuse to start, restore the file from a copy.
var ErrDamaged = errors.New("block log is damaged")

// errTorn marks the unfinished record that a crash leaves at the end of the log.
var errTorn = errors.New("block log ends in an unfinished record")

// block is one record of the log.
type block struct {
	Header    ledger.Header
	RawsRoot  [32]byte // treeHash of Raws: covers the witnesses, which ids leave out
	Signature ledger.Signature
	Raws      [][]byte
	offsets   []int64 // of each raw transaction in the file
}

// seal is what the operator signs for a block.
func (b *block) seal(network ledger.Network) [32]byte {
	tag := sha256.Sum256([]byte(sealTag))
	hash := b.Header.Hash(network)
	var buf [128]byte
	list := append(append(buf[:0], tag[:]...), tag[:]...)
	list = append(append(list, hash[:]...), b.RawsRoot[:]...)
	return sha256.Sum256(list)
}

// treeHash is the RFC 6962 Merkle tree hash of raw transactions, so that one
// transaction can be proven to be in a block without the others.
func treeHash(raws [][]byte) [32]byte {
	if len(raws) == 0 {
		return sha256.Sum256(nil)
	}
	level := make([][32]byte, len(raws))
	var buf []byte
	for i, raw := range raws {
		buf = append(append(buf[:0], 0), raw...)
		level[i] = sha256.Sum256(buf)
	}
	var node [65]byte
	node[0] = 1
	for len(level) > 1 {
		next := level[:0]
		for i := 0; i+1 < len(level); i += 2 {
			copy(node[1:], level[i][:])
			copy(node[33:], level[i+1][:])
			next = append(next, sha256.Sum256(node[:]))
		}
		if len(level)%2 == 1 {
			next = append(next, level[len(level)-1])
		}
		level = next
	}
	return level[0]
}

// appendFrame appends the record of b to dst and notes the offset of each raw
// transaction, counted from the start of the record.
func appendFrame(dst []byte, b *block) []byte {
	start := len(dst)
	size := frameFixed
	for _, raw := range b.Raws {
		size += 4 + len(raw)
	}
	dst = append(dst, frameMagic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	body := len(dst)
	dst = append(dst, b.Header.Encode()...)
	dst = append(dst, b.RawsRoot[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Raws)))
	dst = append(dst, b.Signature[:]...)
	b.offsets = b.offsets[:0]
	for _, raw := range b.Raws {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(raw)))
		b.offsets = append(b.offsets, int64(len(dst)-start))
		dst = append(dst, raw...)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[body:], castagnoli))
}

// logReader reads block records in order from a log of known size.
type logReader struct {
	src    io.Reader
	size   int64 // of the whole log
	offset int64 // of the next record
	buf    []byte
}

// next reads one record. It returns io.EOF at a clean end, errTorn when the rest
// of the log is what a crash during one append can leave, and ErrDamaged for
// everything else. offset stays at the start of a record that is not whole. The
// block and its transactions are valid until the next call.
func (r *logReader) next() (*block, error) {
	rest := r.size - r.offset
	if rest == 0 {
		return nil, io.EOF
	}
	r.buf = grow(r.buf, int(min(rest, frameLead)))
	if _, err := io.ReadFull(r.src, r.buf); err != nil {
		return nil, fmt.Errorf("read block log at %d: %w", r.offset, err)
	}
	if rest < frameLead {
		return nil, errTorn
	}
	lead := [frameLead]byte(r.buf)
	if string(lead[:4]) != frameMagic || crc32.Checksum(lead[:8], castagnoli) != binary.BigEndian.Uint32(lead[8:]) {
		return nil, r.unreadable(rest, lead[:])
	}
	size := int64(binary.BigEndian.Uint32(lead[4:]))
	if size < frameFixed || size > MaxBlockBytes {
		return nil, fmt.Errorf("%w: record at %d claims %d bytes", ErrDamaged, r.offset, size)
	}
	whole := min(rest-frameLead, size+frameTail)
	r.buf = grow(r.buf, int(whole))
	if _, err := io.ReadFull(r.src, r.buf); err != nil {
		return nil, fmt.Errorf("read block log at %d: %w", r.offset, err)
	}
	if whole < size+frameTail {
		return nil, errTorn
	}
	body := r.buf[:size]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(r.buf[size:]) {
		if rest == frameLead+whole && unwritten(r.offset+frameLead, r.buf) {
			return nil, errTorn
		}
		return nil, fmt.Errorf("%w: checksum of the record at %d does not fit", ErrDamaged, r.offset)
	}
	b, err := parseBody(body, r.offset+frameLead)
	if err != nil {
		return nil, fmt.Errorf("%w: record at %d: %w", ErrDamaged, r.offset, err)
	}
	r.offset += frameLead + whole
	return b, nil
}

// unreadable judges a record whose first bytes make no sense: a crash leaves
// only zeros there (space that was reserved but never written).
func (r *logReader) unreadable(rest int64, lead []byte) error {
	if rest > frameLead+MaxBlockBytes+frameTail {
		return fmt.Errorf("%w: no record at %d", ErrDamaged, r.offset)
	}
	tail, err := io.ReadAll(io.LimitReader(r.src, rest-frameLead))
	if err != nil {
		return fmt.Errorf("read block log at %d: %w", r.offset, err)
	}
	if allZero(lead) && allZero(tail) {
		return errTorn
	}
	return fmt.Errorf("%w: no record at %d", ErrDamaged, r.offset)
}

// sector is the unit a disk writes whole.
const sector = 512

// unwritten reports whether the record at offset has a whole sector of zeros: the
// mark of data that never reached the disk. A flipped bit leaves none.
func unwritten(offset int64, data []byte) bool {
	skip := int((sector - offset%sector) % sector)
	for i := skip; i+sector <= len(data); i += sector {
		if allZero(data[i : i+sector]) {
			return true
		}
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, max(n, 2*cap(b)))
	}
	return b[:n]
}

// parseBody reads the body of a record that starts at offset of the file.
func parseBody(body []byte, offset int64) (*block, error) {
	if len(body) < frameFixed {
		return nil, errors.New("body is too short")
	}
	header, err := ledger.DecodeHeader(body[:ledger.HeaderSize])
	if err != nil {
		return nil, err
	}
	b := &block{Header: header}
	rest := body[ledger.HeaderSize:]
	copy(b.RawsRoot[:], rest)
	count := binary.BigEndian.Uint32(rest[32:])
	copy(b.Signature[:], rest[36:])
	if count > MaxBlockTransactions {
		return nil, fmt.Errorf("%d transactions, at most %d", count, MaxBlockTransactions)
	}
	b.Raws = make([][]byte, 0, count)
	at := frameFixed
	for range count {
		if len(body)-at < 4 {
			return nil, errors.New("transactions are cut short")
		}
		n := int(binary.BigEndian.Uint32(body[at:]))
		at += 4
		if n > len(body)-at {
			return nil, errors.New("transactions are cut short")
		}
		b.offsets = append(b.offsets, offset+int64(at))
		b.Raws = append(b.Raws, body[at:at+n:at+n])
		at += n
	}
	if at != len(body) {
		return nil, errors.New("bytes follow the last transaction")
	}
	return b, nil
}
