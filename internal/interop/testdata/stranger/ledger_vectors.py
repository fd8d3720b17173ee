"""Checks testdata/vectors/ledger.json and ledger-books.json, and transactions of channel.json."""

import base64
import struct

import crypto
import state
from ledger import MINT, Outpoint, Tx, address_lock, joint_lock, parse_btt, parse_outpoint


def same(got, want, what):
    """Fails unless two values are one."""
    if got != want:
        raise AssertionError("%s: %r, want %r" % (what, got, want))


def lock_of(row):
    """The lock of a coin in JSON."""
    if row["kind"] == 1:
        return address_lock(crypto.parse_address(row["address"]))
    return joint_lock(bytes.fromhex(row["k1"]), bytes.fromhex(row["k2"]))


def begin(g):
    """The State after a genesis in JSON."""
    network, params, coins, releases = state.genesis(g)
    return state.State(network, params, coins, g["time"], releases)


def ledger(v):
    """ledger.json: encodings, a run of blocks, refusals."""
    s = begin(v["genesis"])
    same(s.network.hex(), v["network"], "network")
    for k in v["keys"]:
        key = crypto.Key(bytes.fromhex(k["private_key"]))
        same((key.public.hex(), crypto.address_text(key.address)), (k["public_key"], k["address"]), k["name"])
    raws, made = {}, dict(s.coins)
    for t in v["transactions"]:
        raws[t["name"]] = raw = bytes.fromhex(t["raw"])
        tx = Tx.decode(raw)
        same((tx.encode(), tx.id(s.network).hex()), (raw, t["id"]), t["name"])
        made.update({Outpoint(tx.id(s.network), n): o for n, o in enumerate(tx.outputs)})
    for b in v["run"]:
        results, events, header = s.block(b["time"], [raws[name] for name in b["offered"]])
        same(results, b["results"], "results at height %d" % s.height)
        same(["%s %s" % (e, i.hex()) for e, i in events], b["events"], "events at height %d" % s.height)
        same((s.time, header[56:88].hex(), header[88:].hex(), s.previous.hex()),
             (b["ledger_time"], b["tx_root"], b["app_hash"], b["header_hash"]), "header %d" % s.height)
    for t in v["transactions"]:
        tx = Tx.decode(raws[t["name"]])
        locks = list(dict.fromkeys(made[i].lock for i in tx.inputs)) or [state.OPERATORS_LOCK]
        for n, (keys, _) in enumerate(tx.witnesses):
            if keys and tx.kind != MINT:
                locks[n] = address_lock(crypto.address(keys[0]))  # a thief's is another than the coin's
        same([tx.digest(s.network, lock).hex() for lock in locks], t["digests"], "digests of " + t["name"])
    f = v["final"]
    same([s.minted, s.burned, s.unspent()], [parse_btt(f["totals"][k]) for k in ("minted", "burned", "unspent")], "totals")
    same({o: (c.amount, c.lock) for o, c in s.coins.items()},
         {parse_outpoint(c["outpoint"]): (parse_btt(c["amount"]), lock_of(c["lock"])) for c in f["coins"]}, "coins")
    for r in v["refusals"]:
        same(code(s, bytes.fromhex(r["raw"])), r["code"], r["name"])
    for r in v["special_refusals"]:
        special = begin(r["genesis"])
        for b in r["blocks"]:
            results, _, _ = special.block(b["time"], [bytes.fromhex(t) for t in b["transactions"]])
            same(set(results) <= {"committed", "parked"}, True, (r["name"], results))
        raw = bytes.fromhex(r["raw"])
        same(code(special, raw + bytes(r["length"] - len(raw))), r["code"], r["name"])
    network, _, _, releases = state.genesis(v["scheduled"]["genesis"])
    same((network.hex(), releases), (v["scheduled"]["network"], {parse_outpoint(o): t for o, t in v["scheduled"]["releases"].items()}), "schedule")
    return len(v["transactions"]) + len(v["run"]) + len(v["refusals"]) + len(v["special_refusals"]) + 1


def code(s, raw):
    """The code with which a state refuses a transaction in its next block."""
    s.spent_here = {}
    try:
        return s.offer(raw)[0]
    except state.Refused as r:
        return r.code


def crc32c(data):
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack(">I", crc ^ 0xFFFFFFFF)


def read_record(record):
    """(header, raws root, raw transactions, the operator's signature) of a record of the log."""
    same(record[:4] + crc32c(record[:8]), b"BLK1" + record[8:12], "record")
    body = record[12:-4]
    same((len(body), crc32c(body)), (int.from_bytes(record[4:8], "big"), record[-4:]), "body")
    count, signature, at, raws = int.from_bytes(body[152:156], "big"), body[156:221], 221, []
    for _ in range(count):
        size = int.from_bytes(body[at:at + 4], "big")
        raws.append(body[at + 4:at + 4 + size])
        at += 4 + size
    same(at, len(body), "end of the body")
    return body[:120], body[120:152], raws, signature


def open_note(note, operator):
    """(name, size, root) of a head that the operator signed."""
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    name, size, root = text.split("\n")[:3]
    key_hash = crypto.sha256(name.encode(), b"\n\xffbtt-secp256k1", operator)[:4]
    for line in signatures.splitlines():
        dash, who, value = line.split(" ")
        blob = base64.b64decode(value)
        if (dash, who, blob[:4]) == ("\u2014", name, key_hash) and crypto.verify(
                operator, crypto.tagged("ledger/head", text.encode()), blob[4:]):
            return name, int(size), base64.b64decode(root)
    raise AssertionError("no signature of the operator on " + note)


def prefix(leaves, m):
    """The continuation from m leaves: the largest subtrees that do not reach across m."""
    n = len(leaves)
    if m in (0, n):
        return [crypto.tree_hash(leaves)]
    k = crypto.split(n)
    if m <= k:
        return (prefix(leaves[:k], m) if m < k else [crypto.tree_hash(leaves[:k])]) + [crypto.tree_hash(leaves[k:])]
    return [crypto.tree_hash(leaves[:k])] + prefix(leaves[k:], m - k)


def fold(hashes, n, m):
    """(the root of m, the root of n) that a continuation leads to."""
    hashes = list(hashes)

    def both(n, m):
        if m in (0, n):
            h = hashes.pop(0)
            return (h if m else None), h
        k = crypto.split(n)
        old_left, left = both(k, min(m, k))
        old_right, right = both(n - k, max(0, m - k))
        return (crypto.node_hash(old_left, old_right) if old_right else old_left), crypto.node_hash(left, right)

    roots = both(n, m)
    same(hashes, [], "hashes left over")
    return roots


def books(v):
    """ledger-books.json: records, heads, continuations, inclusion, a fork."""
    s, operator, leaves = begin(v["genesis"]), bytes.fromhex(v["operator"]), []
    same(s.network.hex(), v["network"], "network")
    for b in v["blocks"]:
        header, raws_root, raws, signature = read_record(bytes.fromhex(b["record"]))
        results, _, made = s.block(int.from_bytes(header[40:48], "big"), raws)
        same((made, len(results), raws_root), (header, len(raws), crypto.tree_hash(raws)), "header %d" % s.height)
        same([Tx.decode(r).id(s.network).hex() for r in raws], b["txids"], "txids")
        seal = crypto.tagged("ledgerd/block", s.previous, raws_root)
        same((s.previous.hex(), seal.hex(), crypto.verify(operator, seal, signature)), (b["header_hash"], b["seal"], True), "seal")
        leaves.append(header + raws_root)
        same((leaves[-1].hex(), crypto.leaf_hash(leaves[-1]).hex()), (b["leaf"], b["leaf_hash"]), "leaf")
    for h in v["heads"]:
        root = crypto.tree_hash(leaves[:h["size"]])
        same((root.hex(), crypto.tagged("ledger/head", h["text"].encode()).hex()), (h["root"], h["digest"]), "head")
        same(open_note(h["note"], operator), ("btt-ledger/" + v["network"], h["size"], root), "note")
    for p in v["prefixes"]:
        hashes = [base64.b64decode(x) for x in p["hashes"]]
        same(prefix(leaves[:p["size"]], p["from"]), hashes, "continuation from %d" % p["from"])
        same(fold(hashes, p["size"], p["from"]), (crypto.tree_hash(leaves[:p["from"]]), crypto.tree_hash(leaves[:p["size"]])), "fold")
    included(v["inclusion"])
    forked(v["fork"])
    return len(v["blocks"]) + len(v["heads"]) + len(v["prefixes"]) + 2


def included(document):
    """A proof that a transaction is in the ledger."""
    i, decode = document["inclusion"], lambda rows: [base64.b64decode(x) for x in rows or []]
    leaf, txid = base64.b64decode(i["leaf"]), bytes.fromhex(i["txid"])
    name, size, root = open_note(i["head"], bytes.fromhex(i["operator"]))
    same(name, "btt-ledger/" + document["network"], "network of the head")
    same(crypto.path_root(i["index"], i["count"], crypto.leaf_hash(txid), decode(i.get("path"))), leaf[56:88], "path")
    height = int.from_bytes(leaf[:8], "big")
    same(crypto.path_root(height - 1, size, crypto.leaf_hash(leaf), decode(i["branch"])), root, "branch")


def forked(document):
    """Evidence that the operator signed two histories."""
    f, operator = document["fork"], bytes.fromhex(document["operator"])
    (_, m, old), (_, n, new) = open_note(f["old"], operator), open_note(f["new"], operator)
    was, now = fold([base64.b64decode(x) for x in f["prefix"]], n, m)
    same((now == new, was == old), (True, False), "fork")
