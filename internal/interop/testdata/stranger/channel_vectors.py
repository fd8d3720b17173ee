"""Checks testdata/vectors/channel.json: codec, the worked example as both sides, the ledger, refusals."""

import channel
import crypto
import state
from ledger import Malformed, Outpoint, Output, Refused, Tx, address_lock
from ledger_vectors import same
from payee import Payee, Refusal
from payer import Payer

# The first price of the example and the highest that its payer takes.
FIRST, HIGHEST = 2000000, 3000000
FIELDS = {"payer": "account", "signature": "sig", "first": "sig", "from": "start", "attached": "flag", "amount": "sum", "next": "terms"}


class Books:
    """A ledger of one coin with its clock, as Payer and Payee know one."""

    def __init__(self, v):
        coin = v["coin"]["outpoint"]
        self.coin = Outpoint(bytes.fromhex(coin[:64]), int(coin[64:68], 16)), int(v["coin"]["amount"])
        owner = crypto.parse_address(v["keys"][0]["address"])
        self.network, self.min_output = bytes.fromhex(v["network"]), int(v["min_output"])
        self.state = state.State(self.network, state.Params(self.min_output, 2592000, 30, 10, [], 0),
                                 {self.coin[0]: Output(self.coin[1], address_lock(owner))}, v["contract"]["opened"])
        self.receipts, self.now = {}, None

    def time(self):
        return self.now or self.state.time

    def unknown(self, outpoint):
        return not any(outpoint.tx == txid for txid in self.receipts)

    def advance(self, seconds):
        """Lets blocks of at most one clamp pass."""
        for _ in range(0, seconds, 30):
            self.state.block(self.state.block_time + min(30, seconds), [])
            seconds -= 30

    def verdict(self, raw):
        """What a server answers: the state of what it has, a spent input is a conflict."""
        tx = Tx.decode(raw)
        txid = tx.id(self.network)
        if txid not in self.receipts:
            result = self.state.block(self.state.block_time, [raw])[0][0]
            if result == "missing-input" and any(not self.unknown(i) for i in tx.inputs):
                result = "conflict"
            if result not in ("committed", "parked"):
                return result
            self.receipts[txid] = result
        return self.receipts[txid]

    def submit(self, tx):
        result = self.verdict(tx.encode())
        if result != "committed":
            raise Refused(422, {"code": result, "detail": "refused"})

    def holds(self, addr):
        return sum(o.amount for o in self.state.coins.values() if o.lock == address_lock(addr))


def number(x):
    """An integer or bytes of what JSON holds."""
    if isinstance(x, dict):
        return channel.Terms(*(number(x[f]) for f in channel.Terms._fields))
    if isinstance(x, str):
        return bytes.fromhex(x) if len(x) >= 32 else int(x)
    return x


def flat(name, fields):
    """Fields of a message under the names of channel.py."""
    out = {}
    for k, x in fields.items():
        if k in ("payment", "funding"):
            out.update(flat(name, x))
        elif k == "tx_id":
            out["tx"] = bytes.fromhex(x)
        elif k == "reason":
            out[k] = x.encode()
        else:
            out[FIELDS.get(k, k)] = number(x)
    return out


class Sides:
    """Both sides of the example with the vectors' keys."""

    def __init__(self, v):
        self.v, self.books, self.terms = v, Books(v), None
        self.keys = {k["name"]: crypto.Key(bytes.fromhex(k["private_key"])) for k in v["keys"]}
        terms = next(m["fields"]["terms"] for m in v["messages"] if m["name"] == "refuse with other terms")
        self.terms = number(terms)._replace(k2=self.keys["K2"].public)
        tag = next(m["fields"]["tag"] for m in v["messages"] if m["name"] == "attach")
        self.payee = Payee(self.keys["payee"], self.keys["K2"], self.books, self.terms)
        self.payer = Payer(self.keys["payer"], self.keys["K1"], self.books, bytes.fromhex(tag))
        self.payer.price, self.payer.quotes, self.payee.quotes = HIGHEST, [(0, FIRST)], [(0, FIRST)]

    def propose(self):
        c = self.v["contract"]
        return self.payer.propose(self.terms, [self.books.coin], int(c["deposit"]), c["lock_time"])

    def play(self, count):
        """The first messages of the example, made by both machines; [(sender, name, fields)]."""
        said, waiting = [], [("payer",) + self.propose()]
        for row in self.v["example"][:count]:
            if not waiting and row["type"] == "pay":
                waiting.append(("payer",) + self.payer.pay(row["position"]))
            elif not waiting and row["type"] == "quote":
                waiting.append(("payee",) + self.payee.quote(row["position"], int(row["price"])))
            elif not waiting:
                waiting.append(("payer", "close", {"id": self.payer.contract.id}))
            sender, name, fields = waiting.pop(0)
            said.append((sender, name, fields))
            to, other = (self.payee, "payee") if sender == "payer" else (self.payer, "payer")
            waiting += [(other,) + m for m in to.receive(name, fields)]
        return said


def check(v):
    """All of the file; how many rows."""
    for m in v["messages"]:
        raw = bytes.fromhex(m["hex"])
        name, fields = channel.decode(raw)
        same((channel.TYPES[name], fields), (m["type"], flat(name, m["fields"])), m["name"])
        same(channel.encode(name, **fields), raw, m["name"])
    for m in v["malformed"]:
        try:
            channel.decode(bytes.fromhex(m["hex"]))
        except Malformed:
            continue
        raise AssertionError(m["name"] + " is taken")
    sides = Sides(v)
    for row, (sender, name, fields) in zip(v["example"], sides.play(len(v["example"]))):
        same((sender, name, channel.encode(name, **fields).hex()), (row["from"], row["type"], row["hex"]), "example")
    transactions(v, sides)
    for run in v["runs"]:
        replay(v, run)
    for r in v["refusals"]:
        same(refusal(v, r), r["code"], r["name"])
    return sum(len(v[k]) for k in ("messages", "malformed", "example", "payments", "runs", "refusals"))


def transactions(v, sides):
    """T1, T2 and each T3, byte for byte."""
    c, want, k1, k2 = sides.payer.contract, v["contract"], sides.keys["K1"], sides.keys["K2"]
    same((sides.payer.t1.encode().hex(), c.funding.tx.hex(), c.id.hex(), c.capacity),
         (want["t1"], want["t1_id"], want["channel_id"], int(want["capacity"])), "T1")
    same(channel.margin(want["opened"], want["lock_time"]), want["margin"], "margin")
    rows = [(c.settlement(p["sequence"], int(p["amount"])), p) for p in v["payments"]] + [(c.refund(), v["refund"])]
    for tx, row in rows:
        digest = c.digest(tx)
        sigs = k1.sign(digest), k2.sign(digest)
        raw = c.signed(tx, *sigs).encode()
        same((digest.hex(), sigs[0].hex(), sigs[1].hex(), raw.hex(), tx.id(c.network).hex()),
             (row["digest"], row["k1_signature"], row["k2_signature"], row["raw"], row["id"]), "T2, T3")


def replay(v, run):
    """What a ledger answers to T1, T2 and T3 in some order."""
    books = Books(v)
    raws = {"t1": v["contract"]["t1"], "t2": v["refund"]["raw"]}
    raws.update({"t3-%d" % p["sequence"]: p["raw"] for p in v["payments"]})
    for s in run["submits"]:
        books.advance(s.get("advance", 0))
        if s["tx"]:
            tx = Tx.decode(bytes.fromhex(raws[s["tx"].removesuffix("-unsigned")]))
            if s["tx"].endswith("-unsigned"):
                tx.witnesses = [([], [bytes(65)] * 2)]
            same(books.verdict(tx.encode()), s["verdict"], run["name"])
    holds = [books.holds(crypto.parse_address(k["address"])) for k in v["keys"][:2]]
    same(holds, [int(run["payer_holds"]), int(run["payee_holds"])], run["name"])


def refusal(v, r):
    """The code with which a side refuses a message after a part of the example."""
    sides = Sides(v)
    if "terms" in r:
        try:
            sides.terms = channel.unpack_terms(bytes.fromhex(r["terms"]))
            sides.propose()
        except Refusal as e:
            return e.code
    sides.play(r["given"])
    if "spent" in r:
        sides.books.verdict(bytes.fromhex(r["spent"]))
    sides.books.now = r["now"]
    answers = getattr(sides, r["side"]).receive(*channel.decode(bytes.fromhex(r["hex"])))
    return [f["code"] for name, f in answers if name == "refuse"][:1] == [r["code"]] and r["code"] or answers
