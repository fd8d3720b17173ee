"""The state of a ledger and its rules LR1 to LR10, from docs/beps/ledger.rst."""

import struct
from collections import namedtuple

import crypto
from ledger import MINT, REDEEM, SUPPLY, TRANSFER, Malformed, Outpoint, Output, Tx, address_lock, parse_btt

Params = namedtuple("Params", "min_output max_lock clamp max_parked operators threshold")
Parked = namedtuple("Parked", "id tx updates")
OVERSIZED, UPDATES_MAX = 65536, 64
OPERATORS_LOCK = b"\x03"


class Refused(Exception):
    """A refusal with its stable code."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def need(right, code):
    """Refuses with a code if something is not right."""
    if not right:
        raise Refused(code)


def genesis(g):
    """(network, Params, {Outpoint: Output}, {Outpoint: not before}) of a genesis in JSON."""
    p = g["params"]
    operators = sorted(bytes.fromhex(k) for k in p["operators"] or [])
    params = Params(parse_btt(p["min_output"]), p["max_lock"], p["clamp"], p["max_parked"], operators, p["threshold"])
    version = 2 if any("not_before" in x for s in g["shares"] for x in s["grants"]) else 1
    text = lambda s: struct.pack(">I", len(s.encode())) + s.encode()
    out = bytes([version]) + text(g["name"]) + struct.pack(">QQQQII", g["time"], *params[:4], params.threshold)
    out += struct.pack(">I", len(operators)) + b"".join(operators) + struct.pack(">I", len(g["shares"]))
    grants = []
    for share in g["shares"]:
        out += text(share["name"]) + struct.pack(">I", len(share["grants"]))
        for x in share["grants"]:
            addr, amount, start = crypto.parse_address(x["address"]), parse_btt(x["amount"]), x.get("not_before", 0)
            out += addr + struct.pack(">Q", amount) + (struct.pack(">Q", start) if version == 2 else b"")
            grants.append((Output(amount, address_lock(addr)), start))
    network = crypto.tagged("ledger/genesis", out)
    share = crypto.tagged("ledger/share", network)
    coins = {Outpoint(share, i): o for i, (o, _) in enumerate(grants)}
    return network, params, coins, {Outpoint(share, i): t for i, (_, t) in enumerate(grants) if t}


class State:
    """Outputs, what is parked on them, and totals."""

    def __init__(self, network, params, coins, time, releases=None):
        self.network, self.params, self.coins, self.releases = network, params, dict(coins), releases or {}
        self.height, self.previous, self.block_time, self.time = 0, network, time, time
        self.parked, self.references, self.spent_here = {}, set(), {}
        self.minted, self.burned = sum(o.amount for o in coins.values()), 0
        self.history, self.active, self.cursor = bytes(32), time, 0

    def unspent(self):
        """The sum of all outputs that can still be spent."""
        return sum(o.amount for o in self.coins.values())

    # One transaction.

    def shape(self, raw):
        """LR1 as far as the transaction alone tells."""
        need(len(raw) <= OVERSIZED, "oversized")
        try:
            tx = Tx.decode(raw)
        except Malformed:
            raise Refused("malformed") from None
        total = self.kind(tx)
        need(len(set(tx.inputs)) == len(tx.inputs), "duplicate-input")
        for o in tx.outputs:
            self.value(o.amount)
            total += o.amount
            need(total <= SUPPLY, "overflow")
            joint = o.lock[0] == 2
            need(not joint or None not in (crypto.point(o.lock[1:34]), crypto.point(o.lock[34:])), "bad-key")
        return tx, total

    def kind(self, tx):
        """What each kind has; the amount of a redeem, else 0."""
        if tx.kind == TRANSFER:
            need(tx.inputs and tx.outputs, "malformed")
            return 0
        need(tx.sequence == 0 and bool(tx.inputs) == (tx.kind == REDEEM), "malformed")
        need(tx.outputs if tx.kind == MINT else any(tx.extra[:20]), "malformed")
        burned = int.from_bytes(tx.extra[20:], "big") if tx.kind == REDEEM else 0
        if tx.kind == REDEEM:
            self.value(burned)
        need(tx.lock_time == 0, "not-final")
        return burned

    def value(self, amount):
        """What each amount has."""
        need(0 < amount < 2**63, "negative")
        need(amount <= SUPPLY, "overflow")
        need(amount >= self.params.min_output, "dust")

    def witnesses(self, tx):
        """One witness for each distinct lock, exact and valid."""
        locks = list(dict.fromkeys(self.coins[i].lock for i in tx.inputs)) or [OPERATORS_LOCK]
        need(len(locks) == len(tx.witnesses), "bad-witness")
        checks = []
        for lock, (keys, sigs) in zip(locks, tx.witnesses):
            if lock == OPERATORS_LOCK:
                need(0 < len(keys) == self.params.threshold and keys == sorted(set(keys)), "bad-witness")
                need(set(keys) <= set(self.params.operators), "bad-witness")
                signers = keys
            elif lock[0] == 1:
                need(len(keys) == 1 and crypto.point(keys[0]) and crypto.address(keys[0]) == lock[1:], "bad-witness")
                signers = keys
            else:
                need(not keys, "bad-witness")
                signers = [lock[1:34], lock[34:]]
            need(len(sigs) == len(signers), "bad-witness")
            digest = tx.digest(self.network, lock)
            checks += [(k, digest, s) for k, s in zip(signers, sigs)]
        need(all(crypto.verify(*c) for c in checks), "bad-signature")

    def offer(self, raw):
        """("committed" or "parked", events) of a transaction, which is applied; Refused."""
        tx, total = self.shape(raw)
        txid = tx.id(self.network)
        for i in tx.inputs:
            need(self.spent_here.get(i) != txid, "known")
            need(i not in self.spent_here, "conflict")
            need(i not in self.coins or self.releases.get(i, 0) <= self.time, "not-released")
            need(i in self.coins, "missing-input")
        if tx.kind == MINT:
            need(tx.extra not in self.references, "reference-used")
            need(self.unspent() + total <= SUPPLY, "over-cap")
        else:
            need(sum(self.coins[i].amount for i in tx.inputs) == total, "unbalanced")
        final = tx.lock_time <= self.time
        if not final:
            self.parkable(tx, txid)
        self.witnesses(tx)
        return ("committed", self.apply(tx, txid)) if final else ("parked", self.park(tx, txid))

    def parkable(self, tx, txid):
        """LR4 and LR5."""
        need(len(tx.inputs) == 1 and len(tx.outputs) <= 2 and self.coins[tx.inputs[0]].lock[0] == 2, "not-final")
        need(tx.lock_time - self.time <= self.params.max_lock, "lock-too-far")
        old = self.parked.get(tx.inputs[0])
        if old:
            need(old.id != txid, "known")
            need(tx.sequence > old.tx.sequence, "stale-sequence")
            need(old.updates < UPDATES_MAX, "too-many-updates")
        else:
            need(len(self.parked) < self.params.max_parked, "parking-full")

    def park(self, tx, txid):
        """Fills the slot of the one input."""
        old = self.parked.get(tx.inputs[0])
        self.parked[tx.inputs[0]] = Parked(txid, tx, old.updates + 1 if old else 0)
        return ([("displaced", old.id)] if old else []) + [("parked", txid)]

    def apply(self, tx, txid, how="committed"):
        """LR3: spends and makes outputs; what is parked on the inputs is dropped."""
        events = []
        for i in tx.inputs:
            old = self.parked.pop(i, None)
            if old and old.id != txid:
                events.append(("displaced", old.id))
            del self.coins[i]
            self.spent_here[i] = txid
        for n, o in enumerate(tx.outputs):
            self.coins[Outpoint(txid, n)] = o
        if tx.kind == MINT:
            self.references.add(tx.extra)
            self.minted += sum(o.amount for o in tx.outputs)
        elif tx.kind == REDEEM:
            self.burned += int.from_bytes(tx.extra[20:], "big")
        return events + [(how, txid)] + [("spent", txid)] * len(tx.inputs)

    # One block.

    def block(self, time, offered):
        """(results, events, header) of a block of raw transactions."""
        step = min(time - self.block_time, self.params.clamp)
        self.height, self.block_time, self.time, self.spent_here = self.height + 1, time, self.time + max(0, step), {}
        results, events, ids = [], [], []
        for raw in offered:
            try:
                result, news = self.offer(raw)
                events += news
                ids.append(Tx.decode(raw).id(self.network))
            except Refused as r:
                result = r.code
            results.append(result)
        due = sorted((p.tx.lock_time, p.id, o) for o, p in self.parked.items() if p.tx.lock_time <= self.time)
        for _, txid, o in due:
            events += self.apply(self.parked[o].tx, txid, "matured")
        need(self.unspent() == self.minted - self.burned <= SUPPLY, "halt")
        self.cursor += len(events)
        root = crypto.tree_hash(ids)
        if ids or due:
            self.active = self.time
            self.history = crypto.tagged("ledger/history", self.history, struct.pack(">QQ", self.height, self.time),
                                         root, crypto.tree_hash([txid for _, txid, _ in due]))
        header = struct.pack(">Q", self.height) + self.previous + struct.pack(">QQ", time, self.time) + root + self.app_hash()
        self.previous = crypto.tagged("ledger/block", self.network, header)
        return results, events, header

    def app_hash(self):
        """The hash over history and totals."""
        return crypto.tagged("ledger/app", self.history, struct.pack(">QQQQQ", self.minted, self.burned, self.unspent(),
                                                                     self.active, self.cursor))
