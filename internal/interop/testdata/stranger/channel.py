"""Payment channels of docs/beps/channel.rst: messages, transactions, sums owed."""

import struct
from collections import namedtuple

import crypto
from ledger import SUPPLY, Malformed, Outpoint, Output, Reader, Tx, address_lock, joint_lock

GIB = 2**30
REASON_MAX, T1_MAX = 200, 16384

Terms = namedtuple("Terms", "account k2 network min_lock max_lock min_deposit max_deposit quantum")

# Fields of each message: a number is that many bytes, "u4" an integer of 4
# bytes, "sum" and "count" 8 bytes with their ranges, and the rest as read() says.
PAYMENT = [("sequence", "u4"), ("sum", "sum"), ("sig", 65)]
LAYOUT = {
    "open": [("account", 33), ("k1", 33), ("k2", 33), ("tx", 32), ("index", "u2"), ("shard", "u1"),
             ("deposit", "sum"), ("lock_time", "u8")],
    "refundsig": [("id", 16), ("sig", 65)],
    "fund": [("id", 16), ("sig", 65), ("t1", "bytes")],
    "confirm": [("id", 16), ("terms", "terms")],
    "attach": [("id", 16), ("lane", "u4"), ("tag", 20), ("start", "count"), ("bytes", "count")],
    "state": [("id", 16), ("lane", "u4"), ("bytes", "count")] + PAYMENT + [("flag", "flag")],
    "pay": [("id", 16), ("lane", "u4"), ("bytes", "count")] + PAYMENT,
    "close": [("id", 16)],
    "closed": [("id", 16), ("sum", "sum")],
    "quote": [("start", "count"), ("price", "sum")],
    "refuse": [("id", 16), ("code", "u1"), ("reason", "reason"), ("terms", "terms")],
}
TYPES = {name: i + 1 for i, name in enumerate(LAYOUT)}
NAMES = {i: name for name, i in TYPES.items()}


def pack_terms(t):
    """126 bytes of terms."""
    return t.account + t.k2 + t.network + struct.pack(">IIQQI", *t[3:])


def unpack_terms(data):
    """The Terms of 126 bytes; Malformed for a minimum above its maximum."""
    r = Reader(data)
    t = Terms(r.take(33), r.take(33), r.take(32), r.uint(4), r.uint(4), r.uint(8), r.uint(8), r.uint(4))
    r.end()
    if t.min_lock > t.max_lock or t.min_deposit > t.max_deposit or t.max_deposit > SUPPLY:
        raise Malformed("terms")
    return t


def _write(kind, v):
    if isinstance(kind, int):
        assert len(v) == kind
        return v
    if kind[0] == "u":
        return v.to_bytes(int(kind[1:]), "big")
    if kind in ("sum", "count"):
        return struct.pack(">Q", v)
    if kind == "flag":
        return bytes([v])
    if kind == "terms":
        return b"\x01" + pack_terms(v) if v else b"\x00"
    return struct.pack(">H", len(v)) + v


def _read(kind, r):
    if isinstance(kind, int):
        return r.take(kind)
    if kind[0] == "u":
        return r.uint(int(kind[1:]))
    if kind in ("sum", "count"):
        v = r.uint(8)
        if v > (SUPPLY if kind == "sum" else 2**63 - 1):
            raise Malformed(kind)
        return v
    if kind in ("flag", "terms"):
        flag = r.uint(1)
        if flag > 1:
            raise Malformed("flag")
        return flag if kind == "flag" else unpack_terms(r.take(126)) if flag else None
    v = r.take(r.uint(2))
    if len(v) > (REASON_MAX if kind == "reason" else T1_MAX):
        raise Malformed("too long")
    if kind == "reason":
        v.decode()
    return v


def encode(name, **fields):
    """The bytes of a message."""
    out = bytes([TYPES[name]])
    for field, kind in LAYOUT[name]:
        out += _write(kind, fields.pop(field, None))
    assert not fields, fields
    return out


def decode(data):
    """(name, fields) of a message, Malformed for bytes that are none."""
    r = Reader(data)
    name = NAMES.get(r.uint(1))
    if not name:
        raise Malformed("type")
    try:
        fields = {field: _read(kind, r) for field, kind in LAYOUT[name]}
    except UnicodeDecodeError as e:
        raise Malformed("reason") from e
    r.end()
    if name == "refuse" and fields["code"] == 0:
        raise Malformed("code")
    return name, fields


def owed(price, count):
    """What count bytes at a price cost."""
    return price * count // GIB


def lane_owed(quotes, position, begin=0):
    """What a lane attached at position begin owes at a later one; quotes are (position, price)."""
    ends = [start for start, _ in quotes[1:]] + [position]
    return sum(owed(price, max(0, min(end, position) - max(start, begin))) for (start, price), end in zip(quotes, ends))


def margin(opened, lock_time):
    """Seconds before the lock at which the payee settles."""
    return max(600, (lock_time - opened) // 10)


class Contract:
    """What both sides know of a channel, and so the transactions they sign."""

    def __init__(self, ledger_network, min_output, payer, k1, payee, k2, funding, deposit, lock_time):
        self.network, self.min_output = ledger_network, min_output
        self.payer, self.payee = crypto.address(payer), crypto.address(payee)
        self.k1, self.k2, self.funding = k1, k2, funding
        self.deposit, self.lock_time = deposit, lock_time
        self.id, self.lock = funding.tx[:16], joint_lock(k1, k2)
        self.capacity = deposit - min_output

    def refund(self):
        """T2."""
        return Tx([self.funding], [Output(self.deposit, address_lock(self.payer))], lock_time=self.lock_time)

    def settlement(self, sequence, total):
        """T3 of a sequence and a sum."""
        if total < self.min_output:
            total = 0
        outs = [Output(self.deposit - total, address_lock(self.payer)), Output(total, address_lock(self.payee))]
        return Tx([self.funding], [o for o in outs if o.amount], sequence=sequence)

    def digest(self, tx):
        """What K1 and K2 sign of T2 or a T3."""
        return tx.digest(self.network, self.lock)

    def signed(self, tx, sig1, sig2):
        """The transaction with both signatures."""
        tx.witnesses = [([], [sig1, sig2])]
        return tx


def funding(key, coins, k1, k2, deposit, network, least):
    """T1: a deposit under K1 and K2 from coins of key, and the change if it is an output."""
    inputs, total = [], 0
    for outpoint, amount in coins:
        inputs.append(outpoint)
        total += amount
        if total == deposit or total >= deposit + least:
            break
    else:
        raise ValueError("not enough coins")
    outs = [Output(deposit, joint_lock(k1, k2))]
    if total > deposit:
        outs.append(Output(total - deposit, address_lock(key.address)))
    tx = Tx(inputs, outs)
    lock = address_lock(key.address)
    tx.witnesses = [([key.public], [key.sign(tx.digest(network, lock))])]
    return tx, Outpoint(tx.id(network), 0)
