"""BitTorrent Speed over the peer wire: docs/beps/speed.rst, BEP 3 and BEP 10."""

import secrets
import select
import socket
import struct

import channel
import crypto
from ledger import SUPPLY, Malformed, Reader

CHUNK = 16384
CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE, BITFIELD, REQUEST, PIECE, CANCEL = range(9)
SUGGEST, HAVE_ALL, HAVE_NONE, REJECT, ALLOWED_FAST = range(13, 18)  # BEP 6
EXTENDED = 20
HASH_REQUEST, HASHES, HASH_REJECT = range(21, 24)  # BEP 52
OUR_ID = 3  # of btt_speed, for what is sent to us
WAIT = 120  # seconds that end a hang


def bencode(v):
    """The bencoded bytes of ints, bytes, text, lists and dictionaries."""
    if isinstance(v, int):
        return b"i%de" % v
    if isinstance(v, str):
        v = v.encode()
    if isinstance(v, bytes):
        return b"%d:%s" % (len(v), v)
    if isinstance(v, list):
        return b"l" + b"".join(map(bencode, v)) + b"e"
    items = sorted((k.encode() if isinstance(k, str) else k, x) for k, x in v.items())
    return b"d" + b"".join(bencode(k) + bencode(x) for k, x in items) + b"e"


def bdecode(data):
    """The value of bencoded bytes; strings and keys stay bytes."""
    def value(at):
        c = data[at:at + 1]
        if c == b"i":
            end = data.index(b"e", at)
            return int(data[at + 1:end]), end + 1
        if c in (b"l", b"d"):
            items, at = [], at + 1
            while data[at:at + 1] != b"e":
                v, at = value(at)
                items.append(v)
            return (items if c == b"l" else dict(zip(items[::2], items[1::2]))), at + 1
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        if end > len(data):
            raise Malformed("string")
        return data[colon + 1:end], end
    v, end = value(0)
    if end != len(data):
        raise Malformed("bytes behind a value")
    return v


# Messages of btt_speed: name -> (type, [(field, bytes)]); integers but for those
# of RAW, and the last field of a bid response and a channel message is open-ended.
MESSAGES = {
    "bid": (1, [("price", 8), ("account", 20)]),
    "response": (2, [("price", 8), ("terms", (0, 512))]),
    "reserve": (3, [("price", 8), ("piece", 4), ("chunk", 4), ("nonce", 16)]),
    "proof": (4, [("piece", 4), ("chunk", 4), ("hash", 32)]),
    "channel": (5, [("payload", (1, 20480))]),
    "accept": (6, [("price", 8)]),
    "identity": (7, [("key", 33), ("signature", 65)]),
    "units": (8, [("role", 1), ("size", 4)]),
}
BY_TYPE = {t: name for name, (t, _) in MESSAGES.items()}
RAW = {"account", "nonce", "hash", "key", "signature", "terms", "payload"}


def encode(name, **fields):
    """The payload of a btt_speed message."""
    t, layout = MESSAGES[name]
    out = bytes([t])
    for field, size in layout:
        v = fields.pop(field)
        out += v if field in RAW else v.to_bytes(size, "big")
    assert not fields, fields
    return out


def decode(payload):
    """(name, fields); None for a type to skip; Malformed closes the connection."""
    r = Reader(payload)
    name = BY_TYPE.get(r.uint(1))
    if name is None:
        if len(payload) > 20481:
            raise Malformed("too long")
        return None
    fields = {}
    for field, size in MESSAGES[name][1]:
        if isinstance(size, tuple):
            v = r.take(len(payload) - r.at)
            if not size[0] <= len(v) <= size[1]:
                raise Malformed(field)
        else:
            v = r.take(size) if field in RAW else r.uint(size)
        fields[field] = v
    r.end()
    if fields.get("price", 0) > SUPPLY:
        raise Malformed("price")
    if name == "bid" and not any(fields["account"]):
        raise Malformed("account")
    if name == "units" and (fields["role"] > 1 or fields["size"] not in [0] + [1 << i for i in range(14, 31)]):
        raise Malformed("units")
    if name == "identity" and fields["key"][0] not in (2, 3):
        raise Malformed("key")
    return name, fields


def identity_digest(network, infohash, nonce, peer_id, other_nonce, other_id, secret=bytes(32)):
    """What the sender of an identity signs."""
    return crypto.sha256(b"btt_speed 2 identity\0", network, infohash, nonce, peer_id, other_nonce, other_id, secret)


def proof_hash(nonce, infohash, piece, chunk, data):
    """The proof that somebody has a chunk."""
    return crypto.sha256(nonce, infohash, struct.pack(">II", piece, chunk), data)


class Peer:
    """A connection to one peer, after both handshakes.

    messages() yields what comes in: ("wire", id, payload), ("speed", name, fields)
    and ("pay", name, fields) for channel messages.
    """

    def __init__(self, sock, torrent, account, network, whole=False, fast=True):
        """account is the Key that signs and pays; whole says that we have all pieces, fast that we speak BEP 6."""
        self.sock, self.torrent, self.account, self.network = sock, torrent, account, network
        self.nonce, self.peer_id, self.buffer = secrets.token_bytes(16), b"-PY0001-" + secrets.token_bytes(12), b""
        self.speed_id = self.key = self.other_nonce = None
        sock.settimeout(WAIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reserved = bytearray(8)
        reserved[5] |= 0x10  # BEP 10
        reserved[7] |= 0x04 if fast else 0  # BEP 6
        reserved[7] |= 0x10 if torrent.trees else 0  # BEP 52
        sock.sendall(b"\x13BitTorrent protocol" + bytes(reserved) + torrent.infohash + self.peer_id)
        answer = self._exactly(68)
        if answer[:20] != b"\x13BitTorrent protocol" or answer[28:48] not in torrent.names or not answer[25] & 0x10:
            raise Malformed("handshake")
        self.other_id, self.fast = answer[48:], bool(fast and answer[27] & 0x04)
        if self.fast:
            self.send(HAVE_ALL if whole else HAVE_NONE)
        elif whole:
            self.send(BITFIELD, (((1 << torrent.count) - 1) << -torrent.count % 8).to_bytes(-(-torrent.count // 8), "big"))
        btt = {"n": self.nonce, "net": network[:8], "v": 2}
        self.send(EXTENDED, b"\0" + bencode({"m": {"btt_speed": OUR_ID}, "btt": btt, "v": "stranger"}))

    def _exactly(self, n):
        while len(self.buffer) < n:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("the peer closed the connection")
            self.buffer += data
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def waiting(self, seconds):
        """Whether something arrives within that time."""
        return bool(self.buffer) or bool(select.select([self.sock], [], [], seconds)[0])

    def send(self, kind, payload=b""):
        """Sends a message of BEP 3."""
        self.sock.sendall(struct.pack(">IB", 1 + len(payload), kind) + payload)

    def say(self, name, **fields):
        """Sends a message of btt_speed."""
        self.send(EXTENDED, bytes([self.speed_id]) + encode(name, **fields))

    def pay(self, name, **fields):
        """Sends a message of the payment channel."""
        self.say("channel", payload=channel.encode(name, **fields))

    def _extension_handshake(self, data):
        h = bdecode(data)
        btt, known = h.get(b"btt", {}), h.get(b"m", {}).get(b"btt_speed", 0)
        if self.speed_id or not known or btt.get(b"v", 0) < 2 or btt.get(b"net") != self.network[:8]:
            return
        self.speed_id, self.other_nonce = known, btt[b"n"]
        digest = identity_digest(self.network, self.torrent.infohash, self.nonce, self.peer_id, self.other_nonce, self.other_id)
        self.say("identity", key=self.account.public, signature=self.account.sign(digest))

    def _identity(self, f):
        digest = identity_digest(self.network, self.torrent.infohash, self.other_nonce, self.other_id, self.nonce, self.peer_id)
        if self.key or self.nonce == self.other_nonce or not crypto.verify(f["key"], digest, f["signature"]):
            raise Malformed("identity")
        self.key = f["key"]

    def messages(self):
        """Yields messages until the peer closes the connection (EOFError)."""
        while True:
            size = struct.unpack(">I", self._exactly(4))[0]
            if size == 0:
                continue
            body = self._exactly(size)
            if body[0] != EXTENDED:
                yield "wire", body[0], body[1:]
            elif body[1] == 0:
                self._extension_handshake(body[2:])
            elif body[1] == OUR_ID and (m := decode(body[2:])):
                name, fields = m
                if name == "identity":
                    self._identity(fields)
                elif not self.key:
                    raise Malformed("before the identity: " + name)
                elif name == "channel":
                    yield ("pay",) + channel.decode(fields["payload"])
                    continue
                yield "speed", name, fields


def bid(balance, keep_back, share, rate, left, size, piece_length, cap=SUPPLY):
    """The default bid: keep_back, share and rate are millionths."""
    if left == 0:
        return 0
    spendable = balance * (10**6 - keep_back) * share * rate // 10**18
    return min(spendable * 2**30 // max(left, piece_length, size // 100), cap, SUPPLY)
