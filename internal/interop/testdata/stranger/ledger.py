"""Transactions and the HTTP interface of docs/beps/ledger.rst."""

import http.client
import json
import struct
import time
from collections import namedtuple

import crypto

SUPPLY = 990_000_000_000 * 10**6
TRANSFER, MINT, REDEEM = 1, 2, 3
KEYS_MAX = 16  # keys, or signatures, of a witness

Outpoint = namedtuple("Outpoint", "tx index shard", defaults=(0,))
Output = namedtuple("Output", "amount lock")  # lock: bytes, its kind first


def address_lock(addr):
    """The lock that the key of an address opens."""
    return b"\x01" + addr


def joint_lock(k1, k2):
    """The lock that two keys open together."""
    return b"\x02" + k1 + k2


def parse_btt(text):
    """Millionths of a BTT of a decimal text such as "1.5"."""
    whole, _, part = text.partition(".")
    return int(whole) * 10**6 + int((part + "000000")[:6])


def parse_outpoint(text):
    """The Outpoint of "id:index"."""
    tx, index = text.split(":")
    return Outpoint(bytes.fromhex(tx), int(index))


class Malformed(ValueError):
    """Bytes that are no message or no transaction."""


class Reader:
    """Takes bytes from the front; Malformed when there are too few."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Malformed("too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def uint(self, n):
        return int.from_bytes(self.take(n), "big")

    def end(self):
        if self.at != len(self.data):
            raise Malformed("too long")


class Tx:
    """A transaction. Witnesses are (keys, signatures)."""

    def __init__(self, inputs, outputs, sequence=0, lock_time=0, kind=TRANSFER, extra=b"", witnesses=()):
        self.inputs, self.outputs, self.kind, self.extra = list(inputs), list(outputs), kind, extra
        self.sequence, self.lock_time, self.witnesses = sequence, lock_time, list(witnesses)

    def body(self):
        """All but the witnesses; `extra` is what only a mint or a redeem has."""
        out = struct.pack(">BBIQ", 1, self.kind, self.sequence, self.lock_time) + self.extra
        out += bytes([len(self.inputs)])
        for i in self.inputs:
            out += i.tx + struct.pack(">HB", i.index, i.shard)
        out += bytes([len(self.outputs)])
        for o in self.outputs:
            out += struct.pack(">Q", o.amount) + o.lock
        return out

    def encode(self):
        """The whole transaction."""
        out = self.body() + bytes([len(self.witnesses)])
        for keys, sigs in self.witnesses:
            out += bytes([len(keys)]) + b"".join(keys) + bytes([len(sigs)]) + b"".join(sigs)
        return out

    def id(self, network):
        """The identifier, which no signature changes."""
        return crypto.tagged("ledger/tx", network, self.body())

    def digest(self, network, lock):
        """What the keys of a lock sign."""
        return crypto.tagged("ledger/spend", network, crypto.sha256(self.body()), lock)

    @staticmethod
    def decode(raw):
        """The transaction of canonical bytes, Malformed for any other."""
        r = Reader(raw)
        if r.uint(1) != 1:
            raise Malformed("version")
        kind, sequence, lock_time = r.uint(1), r.uint(4), r.uint(8)
        sizes = {TRANSFER: 0, MINT: 36, REDEEM: 28}
        if kind not in sizes:
            raise Malformed("kind")
        extra = r.take(sizes[kind])
        inputs = [Outpoint(r.take(32), r.uint(2), r.uint(1)) for _ in range(r.uint(1))]
        if any(i.shard for i in inputs):
            raise Malformed("shard")
        outputs = []
        for _ in range(r.uint(1)):
            amount, lock = r.uint(8), r.take(1)
            if lock[0] not in (1, 2):
                raise Malformed("lock")
            outputs.append(Output(amount, lock + r.take(20 if lock[0] == 1 else 66)))
        witnesses = []
        for _ in range(r.uint(1)):
            lists = []
            for size in (33, 65):
                count = r.uint(1)
                if count > KEYS_MAX:
                    raise Malformed("too many keys")
                lists.append([r.take(size) for _ in range(count)])
            witnesses.append(tuple(lists))
        r.end()
        return Tx(inputs, outputs, sequence, lock_time, kind, extra, witnesses)


class Refused(Exception):
    """The ledger's problem document; `code` is stable."""

    def __init__(self, status, problem):
        super().__init__("%s: %s" % (problem.get("code"), problem.get("detail")))
        self.status, self.code = status, problem.get("code")


class Ledger:
    """A ledger's HTTP interface at host:port."""

    def __init__(self, place):
        self.place = place
        s = self.status()
        self.network = bytes.fromhex(s["network"])
        self.min_output = parse_btt(s["params"]["min_output"])

    def _ask(self, method, path, body=None):
        c = http.client.HTTPConnection(self.place, timeout=60)
        try:
            c.request(method, path, body)
            r = c.getresponse()
            data = r.read()
        finally:
            c.close()
        answer = json.loads(data)
        if r.status >= 300:
            raise Refused(r.status, answer)
        return answer

    def status(self):
        """What GET /v1/status tells."""
        return self._ask("GET", "/v1/status")

    def submit(self, tx):
        """The receipt of a transaction; busy means to try again."""
        while True:
            try:
                return self._ask("POST", "/v1/transactions", tx.encode())
            except Refused as e:
                if e.code != "busy":
                    raise
                time.sleep(0.1)

    def time(self):
        """Ledger time in seconds."""
        return self.status()["ledger_time"]

    def unknown(self, o):
        """Whether an output was never made."""
        return self.outpoint(o)["status"] == 0

    def coins(self, addr):
        """[(Outpoint, amount)] of an address that can be spent."""
        rows = self._ask("GET", "/v1/addresses/%s/unspent?limit=1000" % crypto.address_text(addr))
        return [(parse_outpoint(r["outpoint"]), parse_btt(r["amount"])) for r in rows]

    def outpoint(self, o):
        """What became of an output."""
        return self._ask("GET", "/v1/outpoints/%s:%d" % (o.tx.hex(), o.index))
