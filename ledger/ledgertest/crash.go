package ledgertest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/bttnet/btt/ledger"
)

// appendBlock adds a block to a log: length and CRC-32 of the body, then height,
// time and each transaction behind its length.
func appendBlock(log []byte, b *ledger.Block) []byte {
	body := binary.BigEndian.AppendUint64(nil, b.Height)
	body = binary.BigEndian.AppendUint64(body, b.Time)
	for _, tx := range b.Txs {
		raw := tx.Encode()
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(raw))), raw...)
	}
	log = binary.BigEndian.AppendUint32(log, uint32(len(body)))
	log = binary.BigEndian.AppendUint32(log, crc32.ChecksumIEEE(body))
	return append(log, body...)
}

// cutBlock takes the first block off a log; false when what is left is torn.
func cutBlock(log []byte) (b ledger.Block, rest []byte, whole bool) {
	if len(log) < 8 || uint64(len(log)-8) < uint64(binary.BigEndian.Uint32(log)) {
		return b, log, false
	}
	body := log[8 : 8+binary.BigEndian.Uint32(log)]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(log[4:]) {
		return b, log, false
	}
	rest = log[8+len(body):]
	b.Height, b.Time, body = binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:]), body[16:]
	for len(body) > 0 {
		n := binary.BigEndian.Uint32(body)
		tx, err := ledger.DecodeTx(body[4 : 4+n])
		if err != nil {
			return b, log, false
		}
		b.Txs, body = append(b.Txs, tx), body[4+n:]
	}
	return b, rest, true
}

// LogSize returns the bytes of the log of blocks.
func (m *Memory) LogSize() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.log)
}

// Crash ends the ledger and starts it again on the first size bytes of its log,
// as a server that was killed does: a torn record at the end is cut off, and all
// that is known comes from the blocks before it. Watches do not survive it.
func (m *Memory) Crash(size int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh, err := NewMemory(m.genesis, nil)
	if err != nil {
		return err
	}
	for log := m.log[:size]; len(log) > 0; {
		b, rest, whole := cutBlock(log)
		if !whole {
			break
		}
		d, err := fresh.state.Replay(b)
		if err == nil {
			fresh.log = append(fresh.log, log[:len(log)-len(rest)]...)
			err = fresh.take(d)
		}
		if err != nil {
			return fmt.Errorf("replay block %d: %w", b.Height, err)
		}
		log = rest
	}
	m.log, m.state, m.store, m.records, m.spent = fresh.log, fresh.state, fresh.store, fresh.records, fresh.spent
	m.events, m.books = fresh.events, fresh.books
	return nil
}
