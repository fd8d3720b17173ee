package mse

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Named limits of the handshake.
const (
	// HandshakeTimeout bounds the time of either call.
	HandshakeTimeout = 20 * time.Second
	// MaxPad is the greatest length of each of the four paddings.
	MaxPad = 512
	// MaxInitial is the greatest initial payload taken from an initiator: room
	// for a BitTorrent handshake and what a hasty client sends behind it.
	MaxInitial = 16 << 10
)

// Errors of a handshake.
var (
	// ErrKey says that the peer's public key gives no secret.
	ErrKey = errors.New("public key is trivial")
	// ErrSync says that the mark after the padding did not come: the peer does
	// not speak MSE, or for another torrent.
	ErrSync = errors.New("no sign of an encrypted handshake")
	// ErrUnknown says that the peer asks for a torrent that is not here.
	ErrUnknown = errors.New("torrent of the encrypted handshake is not here")
	// ErrMethod says that the sides have no way in common to go on.
	ErrMethod = errors.New("no common encryption method")
	// ErrPolicy says that the policy forbids the connection.
	ErrPolicy = errors.New("encryption policy forbids the connection")
	// ErrFormat says that a field of the handshake is out of range.
	ErrFormat = errors.New("encrypted handshake is malformed")
)

// plain is how a BitTorrent handshake begins that is not encrypted.
const plain = "\x13BitTorrent protocol"

var verification [8]byte // VC: eight zero bytes

// exchange is a handshake under way.
type exchange struct {
	net.Conn
	entropy io.Reader
	keys    *keyPair
	secret  [KeyLen]byte
	in, out *cipher
}

func newExchange(nc net.Conn, entropy io.Reader) (*exchange, error) {
	keys, err := newKeyPair(entropy)
	if err != nil {
		return nil, err
	}
	return &exchange{Conn: nc, entropy: entropy, keys: keys}, nil
}

func setDeadline(nc net.Conn, t time.Time) error {
	if err := nc.SetDeadline(t); err != nil {
		return fmt.Errorf("set handshake deadline: %w", err)
	}
	return nil
}

// Initiate does the encrypted handshake on an outgoing connection for the
// torrent infoHash. initial is what the other side reads first: our BitTorrent
// handshake. Everything after it goes over the returned connection, which is
// nc itself when plaintext was agreed on. binding stands for the shared secret:
// both sides of this handshake know it, and nobody between them. On an error the
// caller closes nc.
func Initiate(nc net.Conn, infoHash [20]byte, policy Policy, initial []byte) (conn net.Conn, binding [32]byte, err error) {
	return initiate(nc, rand.Reader, infoHash, policy, initial)
}

// bind is what may be known outside this package of the shared secret.
func (x *exchange) bind() [32]byte {
	return sha256.Sum256(append([]byte("btt_speed mse\x00"), x.secret[:]...))
}

func initiate(nc net.Conn, entropy io.Reader, infoHash [20]byte, policy Policy, initial []byte) (net.Conn, [32]byte, error) {
	x, err := newExchange(nc, entropy)
	if err != nil {
		return nil, [32]byte{}, err
	}
	conn, err := x.call(infoHash, policy, initial)
	if err != nil {
		return nil, [32]byte{}, err
	}
	return conn, x.bind(), nil
}

// call is the calling side.
func (x *exchange) call(infoHash [20]byte, policy Policy, initial []byte) (net.Conn, error) {
	offer := policy.methods()
	if offer == 0 {
		return nil, ErrPolicy
	}
	if err := setDeadline(x.Conn, time.Now().Add(HandshakeTimeout)); err != nil {
		return nil, err
	}
	if err := x.sendKey(); err != nil {
		return nil, err
	}
	var theirs [KeyLen]byte
	if err := x.read(theirs[:]); err != nil {
		return nil, err
	}
	var err error
	if x.secret, err = x.keys.secret(theirs[:]); err != nil {
		return nil, err
	}
	x.out, x.in = newCipher("keyA", x.secret[:], infoHash[:]), newCipher("keyB", x.secret[:], infoHash[:])
	if err := x.sendRequest(infoHash, offer, initial); err != nil {
		return nil, err
	}
	mark := verification
	x.in.XORKeyStream(mark[:], mark[:])
	if err := x.sync(mark[:]); err != nil {
		return nil, err
	}
	var fields [6]byte // crypto_select, length of PadD
	if err := x.readSecret(fields[:]); err != nil {
		return nil, err
	}
	chosen := Method(binary.BigEndian.Uint32(fields[:]))
	if chosen&(chosen-1) != 0 || chosen&offer == 0 {
		return nil, fmt.Errorf("offered methods %d, peer chose %d: %w", offer, chosen, ErrMethod)
	}
	if err := x.skip(int(binary.BigEndian.Uint16(fields[4:]))); err != nil {
		return nil, err
	}
	return x.finish(chosen, nil)
}

// Accepted is an incoming connection whose encryption is settled.
type Accepted struct {
	// Conn carries the BitTorrent handshake and all that follows.
	Conn net.Conn
	// Encrypted says that the handshake was encrypted; it was for InfoHash.
	Encrypted bool
	InfoHash  [20]byte
	// Binding stands for the shared secret, as in [Initiate]; zero on a call in
	// the clear.
	Binding [32]byte
}

// Accept finds out whether the caller on nc speaks BitTorrent in the clear or
// with MSE, and does the handshake of the latter. lookup finds a torrent by
// its [Request] hash. The connection returned begins with the caller's
// BitTorrent handshake; when that is read, [Bare] takes the wrapper off where
// none is needed. On an error the caller of Accept closes nc.
func Accept(nc net.Conn, lookup func([20]byte) (infoHash [20]byte, ok bool), policy Policy) (Accepted, error) {
	return accept(nc, rand.Reader, lookup, policy)
}

func accept(nc net.Conn, entropy io.Reader, lookup func([20]byte) ([20]byte, bool), policy Policy) (Accepted, error) {
	if err := setDeadline(nc, time.Now().Add(HandshakeTimeout)); err != nil {
		return Accepted{}, err
	}
	var theirs [KeyLen]byte
	head := theirs[:len(plain)]
	if _, err := io.ReadFull(nc, head); err != nil {
		return Accepted{}, fmt.Errorf("read first bytes of a call: %w", err)
	}
	isPlain := string(head) == plain
	if isPlain && policy == Required || !isPlain && policy == Off {
		return Accepted{}, ErrPolicy
	}
	if isPlain {
		return Accepted{Conn: &primed{nc, head}}, setDeadline(nc, time.Time{})
	}
	x, err := newExchange(nc, entropy)
	if err != nil {
		return Accepted{}, err
	}
	if err := x.read(theirs[len(plain):]); err != nil {
		return Accepted{}, err
	}
	return x.respond(theirs[:], lookup, policy)
}

// respond is the answering side after the caller's key.
func (x *exchange) respond(theirs []byte, lookup func([20]byte) ([20]byte, bool), policy Policy) (Accepted, error) {
	var none Accepted
	var err error
	if x.secret, err = x.keys.secret(theirs); err != nil {
		return none, err
	}
	if err := x.sendKey(); err != nil {
		return none, err
	}
	mark := hash("req1", x.secret[:])
	if err := x.sync(mark[:]); err != nil {
		return none, err
	}
	var want [20]byte
	if err := x.read(want[:]); err != nil {
		return none, err
	}
	skey, ok := lookup(xor(want, hash("req3", x.secret[:])))
	if !ok {
		return none, ErrUnknown
	}
	x.in, x.out = newCipher("keyA", x.secret[:], skey[:]), newCipher("keyB", x.secret[:], skey[:])
	offered, initial, err := x.readRequest()
	if err != nil {
		return none, err
	}
	chosen := policy.choose(offered)
	if chosen == 0 {
		return none, fmt.Errorf("peer offers methods %d: %w", offered, ErrMethod)
	}
	if err := x.sendChoice(chosen); err != nil {
		return none, err
	}
	nc, err := x.finish(chosen, initial)
	return Accepted{Conn: nc, Encrypted: true, InfoHash: skey, Binding: x.bind()}, err
}

// readRequest reads VC, crypto_provide, PadC and the initial payload.
func (x *exchange) readRequest() (offered Method, initial []byte, err error) {
	var fields [14]byte
	if err := x.readSecret(fields[:]); err != nil {
		return 0, nil, err
	}
	if !bytes.Equal(fields[:8], verification[:]) {
		return 0, nil, fmt.Errorf("read verification: %w", ErrFormat)
	}
	offered = Method(binary.BigEndian.Uint32(fields[8:]))
	if err := x.skip(int(binary.BigEndian.Uint16(fields[12:]))); err != nil {
		return 0, nil, err
	}
	var length [2]byte
	if err := x.readSecret(length[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > MaxInitial {
		return 0, nil, fmt.Errorf("initial payload of %d bytes (limit %d): %w", n, MaxInitial, ErrFormat)
	}
	initial = make([]byte, n)
	return offered, initial, x.readSecret(initial)
}

// sendKey sends the public key and a padding of random length.
func (x *exchange) sendKey() error {
	var b [KeyLen + MaxPad]byte
	copy(b[:], x.keys.public[:])
	n, err := x.padding(b[KeyLen:])
	if err != nil {
		return err
	}
	return x.write(b[:KeyLen+n])
}

// padding fills b with random bytes and returns how many of them to use.
func (x *exchange) padding(b []byte) (int, error) {
	var n [2]byte
	if _, err := io.ReadFull(x.entropy, n[:]); err != nil {
		return 0, fmt.Errorf("make padding: %w", err)
	}
	if _, err := io.ReadFull(x.entropy, b); err != nil {
		return 0, fmt.Errorf("make padding: %w", err)
	}
	return int(binary.BigEndian.Uint16(n[:])) % (len(b) + 1), nil
}

// sendRequest sends the initiator's second message. Its padding is empty, as
// in all clients: it would hide nothing.
func (x *exchange) sendRequest(infoHash [20]byte, offer Method, initial []byte) error {
	if len(initial) > MaxInitial {
		return fmt.Errorf("initial payload of %d bytes (limit %d): %w", len(initial), MaxInitial, ErrFormat)
	}
	req1, req3 := hash("req1", x.secret[:]), hash("req3", x.secret[:])
	torrent := xor(Request(infoHash), req3)
	b := append(req1[:], torrent[:]...)
	secret := len(b)
	b = append(b, verification[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(offer))
	b = append(b, 0, 0) // length of PadC
	b = binary.BigEndian.AppendUint16(b, uint16(len(initial)))
	b = append(b, initial...)
	x.out.XORKeyStream(b[secret:], b[secret:])
	return x.write(b)
}

// sendChoice sends the responder's second message.
func (x *exchange) sendChoice(chosen Method) error {
	var b [14]byte
	binary.BigEndian.PutUint32(b[8:], uint32(chosen))
	x.out.XORKeyStream(b[:], b[:])
	return x.write(b[:])
}

// sync reads up to and with mark, which may follow at most [MaxPad] bytes. It
// never reads beyond it: each read asks for what the mark still lacks.
func (x *exchange) sync(mark []byte) error {
	window := make([]byte, 0, MaxPad+len(mark))
	matched := 0
	for {
		n := len(window)
		need := len(mark) - matched
		if n+need > cap(window) {
			return ErrSync
		}
		window = window[:n+need]
		if err := x.read(window[n:]); err != nil {
			return err
		}
		matched = overlap(window, mark)
		if matched == len(mark) {
			return nil
		}
	}
}

// overlap is the length of the longest end of b that mark begins with.
func overlap(b, mark []byte) int {
	for n := min(len(b), len(mark)); n > 0; n-- {
		if bytes.Equal(b[len(b)-n:], mark[:n]) {
			return n
		}
	}
	return 0
}

// skip reads an encrypted padding.
func (x *exchange) skip(n int) error {
	if n > MaxPad {
		return fmt.Errorf("padding of %d bytes (limit %d): %w", n, MaxPad, ErrFormat)
	}
	var b [MaxPad]byte
	return x.readSecret(b[:n])
}

func (x *exchange) read(b []byte) error {
	if _, err := io.ReadFull(x.Conn, b); err != nil {
		return fmt.Errorf("read encrypted handshake: %w", err)
	}
	return nil
}

func (x *exchange) readSecret(b []byte) error {
	err := x.read(b)
	x.in.XORKeyStream(b, b)
	return err
}

func (x *exchange) write(b []byte) error {
	if _, err := x.Conn.Write(b); err != nil {
		return fmt.Errorf("write encrypted handshake: %w", err)
	}
	return nil
}

// finish returns what carries the stream from here on.
func (x *exchange) finish(chosen Method, initial []byte) (net.Conn, error) {
	if err := setDeadline(x.Conn, time.Time{}); err != nil {
		return nil, err
	}
	var nc = x.Conn
	if chosen == RC4 {
		nc = &Stream{Conn: x.Conn, in: x.in, out: x.out}
	}
	if len(initial) > 0 {
		nc = &primed{nc, initial}
	}
	return nc, nil
}
