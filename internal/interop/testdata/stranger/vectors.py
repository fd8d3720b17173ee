"""Checks testdata/vectors against what was read in docs/beps."""

import json
import os
import struct

import channel
import channel_vectors
import crypto
import ledger_vectors
import speed
import tracker
from ledger import SUPPLY, Malformed, parse_btt
from ledger_vectors import same

NAMES = {"bid": "bid", "bid response": "response", "reserve price": "reserve", "proof": "proof", "channel": "channel",
         "accept": "accept", "identity": "identity", "units": "units"}


def speed_file(v):
    """speed.json."""
    value = bytes.fromhex(v["handshake_btt_hex"])
    same((speed.bencode(speed.bdecode(value)), len(value)), (value, 45), "handshake")
    for m in v["messages"]:
        raw = bytes.fromhex(m["payload_hex"])
        name, f = speed.decode(raw)
        same((name, speed.encode(name, **f)), (NAMES[m["type"]], raw), m["name"])
        told = {"price": "price_micro_btt_per_gib", "piece": "piece", "chunk": "chunk", "size": "unit_bytes"}
        same([f[k] for k in told if k in f], [m[j] for k, j in told.items() if k in f], m["name"])
        if name == "bid":
            same(crypto.address_text(f["account"]), m["account"], m["name"])
        for field in ("nonce", "hash", "key", "signature"):
            same(f.get(field, b"").hex(), m.get(field + "_hex", ""), m["name"])
    for m in v["malformed"]:
        try:
            speed.decode(bytes.fromhex(m["payload_hex"]))
        except Malformed:
            continue
        raise AssertionError(m["name"] + " is taken")
    for raw in v["skipped_hex"]:
        same(speed.decode(bytes.fromhex(raw)), None, "skipped")
    for i in v["identities"]:
        order = "network", "infohash", "signer_nonce", "signer_peer_id", "other_nonce", "other_peer_id", "secret"
        digest = speed.identity_digest(*(bytes.fromhex(i[k + "_hex"]) for k in order))
        _, f = speed.decode(bytes.fromhex(i["payload_hex"]))
        same((digest.hex(), crypto.verify(f["key"], digest, f["signature"])), (i["digest_hex"], i["valid"]), i["name"])
    for p in v["proofs"]:
        nonce, infohash, data = (bytes.fromhex(p[k + "_hex"]) for k in ("nonce", "infohash", "data"))
        same(speed.proof_hash(nonce, infohash, p["piece"], p["chunk"], data).hex(), p["hash_hex"], "proof")
    for b in v["bids"]:
        got = speed.bid(b["balance_micro_btt"], b["keep_back_ppm"], b["share_ppm"], b["spend_rate_ppm"], b["bytes_left"],
                        b["size"], b["piece_length"], b.get("price_cap", SUPPLY))
        same(got, b["bid_micro_btt_per_gib"], b["name"])
    return sum(len(v[k]) for k in ("messages", "malformed", "skipped_hex", "identities", "proofs", "bids")) + 1


def award(case):
    """[(id, paid, price)] of a round, best first: steps 1 to 3 of Choking, and weighted."""
    weighted = case["strategy"] == "weighted"

    def rank(b):
        barter = b.get("own_bid", 0) * b.get("received", 0) // max(b.get("sent", 0), speed.CHUNK) if weighted else 0
        return b["bid"] + barter, b.get("received", 0), b.get("tie", 0)

    able = [b for b in case["bidders"] if b["bid"] >= b["reserve"] and (b["bid"] > 0 or weighted)]
    winners, losers, room = [], [], case["max_sold_leeching"]
    for b in sorted(able, key=rank, reverse=True):
        if len(winners) == case["slots"] or b.get("leeching") and not room:
            losers.append(b)
            continue
        winners.append(b)
        room -= bool(b.get("leeching"))
    out = []
    for w in winners:
        rivals = [b["bid"] for b in losers if room or not b.get("leeching") or w.get("leeching")]
        paid = w["bid"] > 0
        out.append((w["id"], paid, max(rivals + [w["reserve"]]) if paid else 0))
    return out


def auction_file(v):
    """auction.json."""
    for c in v["cases"]:
        same(award(c), [(a["id"], a["paid"], a["price"]) for a in c["awards"]], c["name"])
    return len(v["cases"])


def amount_file(v):
    """amount.json, as far as the texts speak of it: sums owed, and amounts as JSON holds them."""
    count = 0
    for r in v["owed"]:
        price, size = int(r["micro_per_gib"]), int(r["bytes"])
        fits = 0 <= price and 0 <= size and channel.owed(price, size) <= SUPPLY
        same(str(channel.owed(price, size)) if fits else None, r.get("owed_micro"), r)
        count += 1
    for r in v["amounts"]:
        if "json" in r:
            same(parse_btt(json.loads(r["json"])), int(r["micro"]), r)
            count += 1
    return count


def tracker_file(v):
    """tracker.json."""
    for b in v["bid_codes"]:
        same((tracker.encode_bid(b["bid"]), tracker.decode_bid(b["code"])), (b["code"], b["coded_bid"]), b)
    m = {x["name"]: (bytes.fromhex(x.get("hex", "")), x["meaning"]) for x in v["messages"]}
    raw, meaning = m["announce over UDP with a bid and the wish for bidders"]
    body = tracker.announce_body(b"h" * 20, b"p" * 20, 6881, 2, meaning["url_data"], 1, 3, 7, 50)
    same(raw[16:], body, "announce")
    raw, meaning = m["its answer with one bidder and one other peer"]
    same(struct.unpack_from(">II", raw, 0)[0], tracker.EXTENDED, "action")
    _, _, bidders, others = tracker.read_announce(tracker.EXTENDED, raw[8:])
    rows = ["%s:%d" % r[:2] for r in bidders + others] + [bidders[0][2], bidders[0][3]]
    same(rows, [meaning[k] for k in ("bidder", "peer", "bid", "age_minutes")], "answer")
    raw, meaning = m["bid scrape over UDP"]
    same((raw[8:12], raw[16:]), (struct.pack(">I", tracker.SCRAPE), tracker.scrape_body(meaning["top"], meaning["after"])), "scrape")
    raw, meaning = m["its answer"]
    cursor, rows = tracker.read_scrape(raw[8:])
    same((cursor,) + rows[0], tuple([meaning["next"], b"h" * 20] + [meaning[k] for k in ("bid", "bid5", "bidders", "complete", "incomplete")]), "rows")
    for x in v["messages"]:
        if "text" in x:
            pairs = {k: b"h" * 20 if k == "info_hash" else p for k, p in
                     (q.split("=") for q in x["text"].partition("?")[2].split("&"))}
            same(tracker.url("http://tracker.example/announce", "bidscrape", pairs.items()), x["text"], x["name"])
    for f in v["far_below"]:
        same(tracker.lied(f["told"], f["own"]), f["lie"], f)
    return len(v["bid_codes"]) + len(v["messages"]) + len(v["far_below"])


def wallet_file(v):
    """wallet.json, as far as the texts speak of it: addresses and signatures."""
    for a in v["addresses"]:
        try:
            same((crypto.parse_address(a["text"]).hex(), True), (a.get("account_hash"), a["valid"]), a)
        except ValueError:
            same(False, a["valid"], a)
    keys = [k for p in v["phrases"] for k in p["keys"]]
    for k in keys:
        key = crypto.Key(bytes.fromhex(k["private_key"]))
        same((key.public.hex(), crypto.address_text(key.address)), (k["public_key"], k["address"]), k)
    for s in v["signatures"]:
        key, digest = crypto.Key(bytes.fromhex(s["private_key"])), bytes.fromhex(s["digest"])
        same((key.sign(digest).hex(), crypto.verify(key.public, digest, key.sign(digest))), (s["signature"], True), s)
    return len(v["addresses"]) + len(keys) + len(v["signatures"])


def check(folder):
    """{file: how many rows were checked}; AssertionError at the first that is otherwise."""
    files = {"speed": speed_file, "auction": auction_file, "amount": amount_file, "tracker": tracker_file, "wallet": wallet_file,
             "channel": channel_vectors.check, "ledger": ledger_vectors.ledger, "ledger-books": ledger_vectors.books}
    out = {}
    for name, checks in files.items():
        with open(os.path.join(folder, name + ".json"), encoding="utf-8") as f:
            out[name + ".json"] = checks(json.load(f))
    return out
