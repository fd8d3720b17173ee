"""The payee of a channel, docs/beps/channel.rst: what it checks, answers and settles."""

import channel
import crypto
from ledger import Malformed, Outpoint, Refused, Tx


class Payee:
    """One channel that a provider offers, as a machine: receive() gives the answers.

    `ledger` has network, min_output, time(), unknown(outpoint) and submit(tx).
    """

    def __init__(self, key, k2, ledger, terms):
        self.key, self.k2, self.ledger, self.terms = key, k2, ledger, terms
        self.contract, self.stage = None, "offered"  # then accepted, funded, open, closing, settled
        self.opened = self.opening = None
        self.sequence, self.sum, self.sig = 1, 0, b""
        self.lanes, self.counts, self.attached, self.quotes = {}, {}, {}, []
        self.settlement = None

    def receive(self, name, f):
        """[(name, fields)] to answer a message; a refusal is one of them."""
        handler = getattr(self, "on_" + name, None)
        try:
            if name == "refuse":
                return []
            if handler is None:
                raise Refusal(1, "a payee's message")
            if name != "open" and not (self.contract and f["id"] == self.contract.id):
                raise Refusal(2, "no such channel")
            return handler(f)
        except Refusal as r:
            channel_id = f.get("id", self.contract.id if self.contract else bytes(16))
            return [("refuse", {"id": channel_id, "code": r.code, "reason": str(r).encode(), "terms": None})]

    def near(self):
        """Whether the lock is nearer than the margin."""
        lock = self.contract.lock_time
        return self.ledger.time() >= lock - channel.margin(self.opened, lock)

    def on_open(self, f):
        """Step 4: signs T2 if T1 cannot exist yet. The same open again gets the same answer."""
        now, t, out = self.ledger.time(), self.terms, Outpoint(f["tx"], f["index"], f["shard"])
        if f["k2"] != self.k2.public or self.opening not in (None, f):
            raise Refusal(4, "that K2 is not on offer")
        if None in (crypto.point(f["account"]), crypto.point(f["k1"])) or f["k1"] == f["k2"]:
            raise Refusal(7, "keys that are none")
        if not max(t.min_deposit, self.ledger.min_output + 1) <= f["deposit"] <= t.max_deposit:
            raise Refusal(5, "a deposit outside the terms")
        away = f["lock_time"] - now
        if not t.min_lock <= away <= t.max_lock or away < 2 * channel.margin(now, f["lock_time"]):
            raise Refusal(6, "a lock outside the terms")
        if self.opening is None:
            if not self.ledger.unknown(out):
                raise Refusal(7, "T1's output exists")
            self.opening, self.opened, self.stage = f, now, "accepted"
            self.contract = channel.Contract(self.ledger.network, self.ledger.min_output, f["account"], f["k1"],
                                             self.key.public, self.k2.public, out, f["deposit"], f["lock_time"])
        c = self.contract
        return [("refundsig", {"id": c.id, "sig": self.k2.sign(c.digest(c.refund()))})]

    def on_fund(self, f):
        """Steps 6 to 8: checks and submits T1."""
        c = self.contract
        if self.near():
            raise Refusal(12, "the lock is too near")
        try:
            t1 = Tx.decode(f["t1"])
            right = t1.id(c.network) == c.funding.tx and t1.outputs[c.funding.index] == (c.deposit, c.lock) and not t1.lock_time
        except (Malformed, IndexError):
            right = False
        if not right:
            raise Refusal(7, "not the T1 of open")
        if not crypto.verify(c.k1, c.digest(c.settlement(1, 0)), f["sig"]):
            raise Refusal(8, "the first settlement's signature")
        if self.stage == "accepted":
            self.sig, self.stage = f["sig"], "funded"
        try:
            self.ledger.submit(t1)
        except Refused as e:
            raise Refusal(9, str(e)) from e
        if self.stage == "funded":
            self.stage = "open"
        return [("confirm", {"id": c.id, "terms": None})]

    def usable(self):
        """Refuses what only an open channel takes."""
        if self.stage in ("offered", "accepted", "funded"):
            raise Refusal(7, "T1 is not committed")
        if self.stage != "open":
            raise Refusal(13, "the channel is being settled")
        if self.near():
            raise Refusal(12, "the lock is too near")

    def on_attach(self, f):
        """Binds a lane to a torrent and to this connection's stream."""
        self.usable()
        if self.lanes.setdefault(f["lane"], f["tag"]) != f["tag"] or len(self.lanes) > 1024:
            raise Refusal(14, "the lane is another torrent's")
        count = self.counts[f["lane"]] = max(f["bytes"], self.counts.get(f["lane"], 0))
        self.attached[f["lane"]] = f["start"], count
        return [("state", {"id": self.contract.id, "lane": f["lane"], "bytes": count, "sequence": self.sequence,
                           "sum": self.sum, "sig": self.sig, "flag": 1})]

    def quote(self, start, price):
        """The message that a price holds from a position of the stream on."""
        self.quotes.append((start, price))
        return "quote", {"start": start, "price": price}

    def position(self):
        """Up to where the stream of the one lane is paid for."""
        return max((start + self.counts[lane] - count for lane, (start, count) in self.attached.items()), default=0)

    def owed(self, lane, count):
        """What the lane owes at a count. A lane that is not attached yet owes nothing: its money is good."""
        if lane not in self.attached:
            return 0
        start, base = self.attached[lane]
        return channel.lane_owed(self.quotes, start + count - base, start)

    def on_pay(self, f):
        """Step 9, with its five checks."""
        c = self.contract
        self.usable()
        count = max(f["bytes"], self.counts.get(f["lane"], 0))
        if f["sequence"] <= self.sequence:
            if self.owed(f["lane"], count) <= self.sum:
                self.counts[f["lane"]] = count
            return []
        if f["sum"] < self.sum:
            raise Refusal(11, "the sum fell")
        if f["sum"] > c.capacity or f["sum"] < self.owed(f["lane"], count):
            raise Refusal(10, "not what is owed")
        if not crypto.verify(c.k1, c.digest(c.settlement(f["sequence"], f["sum"])), f["sig"]):
            raise Refusal(8, "the payment's signature")
        self.sequence, self.sum, self.sig, self.counts[f["lane"]] = f["sequence"], f["sum"], f["sig"], count
        return []

    def on_close(self, _):
        """Settles and says so."""
        self.settle()
        return [("closed", {"id": self.contract.id, "sum": self.sum})]

    def settle(self):
        """Submits the newest T3, signed by both keys; once."""
        c = self.contract
        if not self.settlement and self.sig:
            self.stage = "closing"
            tx = c.settlement(self.sequence, self.sum)
            self.settlement = c.signed(tx, self.sig, self.k2.sign(c.digest(tx)))
            self.ledger.submit(self.settlement)
            self.stage = "settled"


class Refusal(Exception):
    """A refusal with its code of the table."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code
