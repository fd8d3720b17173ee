"""The payer of a channel, docs/beps/channel.rst: what it opens, verifies and pays."""

import os

import channel
import crypto
from payee import Refusal


class Payer:
    """One channel that a requester opens, as a machine: receive() gives the answers.

    `ledger` has network, min_output and time(); `store` is the path of the file
    that outlives a crash, None keeps nothing.
    """

    def __init__(self, key, k1, ledger, tag, store=None):
        self.key, self.k1, self.ledger, self.tag, self.store = key, k1, ledger, tag, store
        self.contract = self.t1 = self.refund = None
        self.stage = "proposed"  # then funded, open, attached, closed
        self.sequence, self.sum, self.count, self.ceiling = 1, 0, 0, 0
        self.quotes, self.price, self.lane, self.told = [], None, int.from_bytes(tag[:4], "big"), None

    def propose(self, terms, coins, deposit, lock_time):
        """Steps 2 and 3: makes T1 and shows only its output."""
        led = self.ledger
        if terms.network != led.network:
            raise Refusal(3, "terms of another ledger")
        self.t1, out = channel.funding(self.key, coins, self.k1.public, terms.k2, deposit, led.network, led.min_output)
        self.contract = c = channel.Contract(led.network, led.min_output, self.key.public, self.k1.public,
                                             terms.account, terms.k2, out, deposit, lock_time)
        self.ceiling = c.capacity
        return "open", {"account": self.key.public, "k1": c.k1, "k2": c.k2, "tx": out.tx, "index": out.index,
                        "shard": 0, "deposit": deposit, "lock_time": lock_time}

    def receive(self, name, f):
        """[(name, fields)] to answer a message; a refusal is one of them."""
        handler = getattr(self, "on_" + name, None)
        try:
            if handler is None:
                raise Refusal(1, "a payer's message")
            if "id" in f and f["id"] != self.contract.id and name != "refuse":
                raise Refusal(2, "no such channel")
            return handler(f)
        except Refusal as r:
            channel_id = f.get("id", self.contract.id if self.contract else bytes(16))
            return [("refuse", {"id": channel_id, "code": r.code, "reason": str(r).encode(), "terms": None})]

    def on_refundsig(self, f):
        """Steps 5 to 7: stores the refund, then shows T1."""
        c = self.contract
        digest = c.digest(c.refund())
        if not crypto.verify(c.k2, digest, f["sig"]):
            raise Refusal(8, "the refund's signature")
        self.refund = c.signed(c.refund(), self.k1.sign(digest), f["sig"])
        self.keep()
        self.stage = "funded"
        return [("fund", {"id": c.id, "sig": self.k1.sign(c.digest(c.settlement(1, 0))), "t1": self.t1.encode()})]

    def keep(self):
        """Makes durable what brings the money back: T2, K1, and the most that may be paid."""
        if self.store:
            with open(self.store, "w", encoding="ascii") as f:
                f.write("%s\n%s\n%d\n" % (self.refund.encode().hex(), self.k1.secret.hex(), self.ceiling))
                f.flush()
                os.fsync(f.fileno())

    def on_confirm(self, _):
        """T1 is committed: payments count."""
        if self.stage != "funded":
            return []
        self.stage = "open"
        return [("attach", {"id": self.contract.id, "lane": self.lane, "tag": self.tag, "start": 0, "bytes": self.count})]

    def on_state(self, f):
        """What the payee holds. We remember all: a payment newer than ours was never made."""
        if f["sequence"] > self.sequence or f["sum"] > self.sum:
            raise Refusal(11, "a payment that was never made")
        if f["flag"]:
            self.stage, self.count = "attached", f["bytes"]
        return []

    def on_quote(self, f):
        """The price from a position on; pay() waits with one above the price accepted."""
        if f["start"] < self.count or self.quotes and f["start"] < self.quotes[-1][0]:
            raise Refusal(15, "a price for bytes that are paid for")
        self.quotes.append((f["start"], f["price"]))
        return []

    def on_closed(self, f):
        """The payee's word; the ledger says what is true."""
        self.stage, self.told = "closed", f["sum"]
        return []

    def on_refuse(self, f):
        """Ends what was asked for."""
        raise ConnectionError("refused: %d %s" % (f["code"], f["reason"].decode()))

    def pay(self, count):
        """Step 9: the payment for all bytes up to a count, None if none can be made."""
        usable = [(start, price) for start, price in self.quotes if start < count]
        if self.stage != "attached" or not usable or any(price > self.price for _, price in usable):
            return None
        self.count, self.sum, self.sequence = count, channel.lane_owed(usable, count), self.sequence + 1
        c = self.contract
        sig = self.k1.sign(c.digest(c.settlement(self.sequence, self.sum)))
        return "pay", {"id": c.id, "lane": self.lane, "bytes": count, "sequence": self.sequence, "sum": self.sum, "sig": sig}
