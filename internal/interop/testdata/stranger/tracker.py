"""Bids at trackers: docs/beps/tracker-bids.rst, over HTTP and UDP (BEPs 3, 15, 23, 41, 48)."""

import secrets
import socket
import struct
import time
import urllib.parse
import urllib.request

from ledger import Malformed
from speed import bdecode

EXTENDED, SCRAPE = 0x62B7A31D, 0x62B7A31E
UDP_MAGIC = 0x41727101980
TRIES, FIRST_WAIT = 4, 15  # of BEP 15
TOP_CODE = 31 << 11 | 2047
UNKNOWN_AGE = 255


def encode_bid(bid):
    """A bid in 16 bits, rounded down."""
    if bid < 2048:
        return bid
    e = bid.bit_length() - 11
    return TOP_CODE if e > 31 else e << 11 | (bid >> e - 1) - 2048


def decode_bid(code):
    """The bid of 16 bits."""
    e, m = code >> 11, code & 2047
    return m if e == 0 else (2048 + m) << e - 1


def get(base, name, pairs):
    """The dictionary that a tracker answers; base is its announce URL."""
    url = base[:base.rindex("/") + 1] + name + base[base.rindex("/") + 1:].removeprefix("announce")
    query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
    with urllib.request.urlopen(url + ("&" if "?" in url else "?") + query, timeout=60) as r:
        answer = bdecode(r.read())
    if b"failure reason" in answer:
        raise Malformed(answer[b"failure reason"].decode())
    return answer


def entries(compact, size=6):
    """[(host, port)] of compact peers."""
    family = socket.AF_INET if size == 6 else socket.AF_INET6
    return [(socket.inet_ntop(family, compact[i:i + size - 2]), int.from_bytes(compact[i + size - 2:i + size], "big"))
            for i in range(0, len(compact), size)]


def announce_http(url, infohash, peer_id, port, left, **more):
    """(answer, [(host, port, bid, age in minutes or None)]) of an announce; more are btt_bid and btt_top."""
    a = get(url, "announce", [("info_hash", infohash), ("peer_id", peer_id), ("port", port), ("uploaded", 0),
                              ("downloaded", 0), ("left", left), ("compact", 1)] + list(more.items()))
    rows = []
    ages = a.get(b"bid age", b"")
    for peers, bids, size in ((a.get(b"peers", b""), a.get(b"bids"), 6), (a.get(b"peers6", b""), a.get(b"bids6"), 18)):
        for i, (host, p) in enumerate(entries(peers, size)):
            bid = struct.unpack_from(">Q", bids, 8 * i)[0] if bids else 0
            rows.append((host, p, bid, ages[len(rows)] if ages else None))
    return a, rows


def scrape_http(url, answer, **question):
    """The bid scrape of a tracker whose announce offered it in `answer`."""
    name = answer[b"bid scrape"]
    return get(url, "bidscrape" if name == 1 else name.decode(), list(question.items()))


class UDP:
    """A tracker over UDP, connected."""

    def __init__(self, host, port):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect((host, port))
        self.id = self.ask(UDP_MAGIC, 0, b"", 0)[:8]
        self.id = int.from_bytes(self.id, "big")

    def ask(self, connection, action, body, *answers):
        """The answer behind its transaction id; with several actions allowed (action, answer)."""
        for attempt in range(TRIES):
            transaction = secrets.token_bytes(4)
            self.sock.send(struct.pack(">QI", connection, action) + transaction + body)
            end = time.monotonic() + FIRST_WAIT * 2**attempt
            while (left := end - time.monotonic()) > 0:
                self.sock.settimeout(left)
                try:
                    data = self.sock.recv(65536)
                except TimeoutError:
                    break
                if data[4:8] != transaction:
                    continue
                got = int.from_bytes(data[:4], "big")
                if got not in answers:
                    raise Malformed("action %d: %r" % (got, data[8:]))
                return data[8:] if len(answers) == 1 else (got, data[8:])
        raise TimeoutError("the tracker does not answer")

    def announce(self, infohash, peer_id, port, left, query=""):
        """(leechers, seeders, [(host, port, bid, age)], [(host, port)]); query is behind /announce?"""
        body = infohash + peer_id + struct.pack(">QQQIIIiH", 0, left, 0, 0, 0, secrets.randbits(32), -1, port)
        answers = [1]
        if query:
            data = ("/announce?" + query).encode()
            body += bytes([2, len(data)]) + data + b"\x00"
            if "btt_ext=1" in query:
                answers.append(EXTENDED)
        action, a = self.ask(self.id, 1, body, *answers, None)
        _, leechers, seeders = struct.unpack_from(">III", a)
        bidders, at = [], 12
        if action == EXTENDED:
            n = struct.unpack_from(">H", a, 12)[0]
            for i in range(n):
                row = a[14 + 9 * i:][:9]
                bidders.append(entries(row[:6])[0] + (decode_bid(int.from_bytes(row[6:8], "big")), row[8]))
            at = 14 + 9 * n
        return leechers, seeders, bidders, entries(a[at:])

    def scrape(self, n, cursor=0):
        """(next cursor, [(infohash, highest, fifth, bidders, seeders, leechers)])."""
        a = self.ask(self.id, SCRAPE, struct.pack(">IIQ", 0, n, cursor) + bytes(168), SCRAPE)
        rows = []
        for i in range(8, len(a), 30):
            top, fifth, bidders, seeders, leechers = struct.unpack_from(">HHHHH", a, i + 20)
            rows.append((a[i:i + 20], decode_bid(top), decode_bid(fifth), bidders, seeders, leechers))
        return int.from_bytes(a[:8], "big"), rows
