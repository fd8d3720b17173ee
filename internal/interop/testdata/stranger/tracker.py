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


def url(base, name, pairs):
    """The URL of a question; base is the announce URL, name takes the place of announce."""
    folder, _, last = base.rpartition("/")
    query = urllib.parse.urlencode(list(pairs), quote_via=urllib.parse.quote)
    tail = last.removeprefix("announce")
    return "%s/%s%s%s%s" % (folder, name, tail, "&" if "?" in tail else "?", query)


def get(base, name, pairs):
    """The dictionary that a tracker answers."""
    with urllib.request.urlopen(url(base, name, pairs), timeout=60) as r:
        answer = bdecode(r.read())
    if b"failure reason" in answer:
        raise Malformed(answer[b"failure reason"].decode())
    return answer


def entries(compact, size=6):
    """[(host, port)] of compact peers."""
    family = socket.AF_INET if size == 6 else socket.AF_INET6
    return [(socket.inet_ntop(family, compact[i:i + size - 2]), int.from_bytes(compact[i + size - 2:i + size], "big"))
            for i in range(0, len(compact), size)]


def announce_http(base, infohash, peer_id, port, left, **more):
    """(answer, [(host, port, bid, age in minutes or None)]) of an announce; more are btt_bid and btt_top."""
    a = get(base, "announce", [("info_hash", infohash), ("peer_id", peer_id), ("port", port), ("uploaded", 0),
                              ("downloaded", 0), ("left", left), ("compact", 1)] + list(more.items()))
    rows = []
    ages = a.get(b"bid age", b"")
    for peers, bids, size in ((a.get(b"peers", b""), a.get(b"bids"), 6), (a.get(b"peers6", b""), a.get(b"bids6"), 18)):
        for i, (host, p) in enumerate(entries(peers, size)):
            bid = struct.unpack_from(">Q", bids, 8 * i)[0] if bids else 0
            rows.append((host, p, bid, ages[len(rows)] if ages else None))
    return a, rows


def scrape_http(base, answer, **question):
    """The bid scrape of a tracker whose announce offered it in `answer`."""
    name = answer[b"bid scrape"]
    return get(base, "bidscrape" if name == 1 else name.decode(), list(question.items()))


class UDP:
    """A tracker over UDP, connected."""

    def __init__(self, host, port):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect((host, port))
        self.id = int.from_bytes(self.ask(UDP_MAGIC, 0, b"", 0)[1][:8], "big")

    def ask(self, connection, action, body, *answers):
        """(action, what follows the transaction id) of the answer, which has one of some actions."""
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
                return got, data[8:]
        raise TimeoutError("the tracker does not answer")

    def announce(self, infohash, peer_id, port, left, query=""):
        """(leechers, seeders, [(host, port, bid, age)], [(host, port)]); query is behind /announce?"""
        data = "/announce?" + query if query else ""
        action, a = self.ask(self.id, 1, announce_body(infohash, peer_id, port, left, data), 1,
                             EXTENDED if "btt_ext=1" in query else 1)
        return read_announce(action, a)

    def scrape(self, n, cursor=0):
        """(next cursor, [(infohash, highest, fifth, bidders, seeders, leechers)])."""
        return read_scrape(self.ask(self.id, SCRAPE, scrape_body(n, cursor), SCRAPE)[1])


def announce_body(infohash, peer_id, port, left, data="", downloaded=0, uploaded=0, key=0, want=-1):
    """What follows the transaction id of an announce; data is that of BEP 41."""
    body = infohash + peer_id + struct.pack(">QQQIIIiH", downloaded, left, uploaded, 0, 0, key, want, port)
    while data:
        body += bytes([2, len(data[:255])]) + data[:255].encode()
        data = data[255:]
    return body


def read_announce(action, a):
    """(leechers, seeders, peers with bids, other peers) of what follows the transaction id."""
    _, leechers, seeders = struct.unpack_from(">III", a)
    bidders, at = [], 12
    if action == EXTENDED:
        n = struct.unpack_from(">H", a, 12)[0]
        for i in range(n):
            row = a[14 + 9 * i:][:9]
            bidders.append(entries(row[:6])[0] + (decode_bid(int.from_bytes(row[6:8], "big")), row[8]))
        at = 14 + 9 * n
    return leechers, seeders, bidders, entries(a[at:])


def scrape_body(n, cursor):
    """What follows the transaction id of a bid scrape."""
    return struct.pack(">IIQ", 0, n, cursor) + bytes(168)


def read_scrape(a):
    """(next cursor, rows) of what follows the transaction id."""
    rows = []
    for i in range(8, len(a), 30):
        top, fifth, bidders, seeders, leechers = struct.unpack_from(">HHHHH", a, i + 20)
        rows.append((a[i:i + 20], decode_bid(top), decode_bid(fifth), bidders, seeders, leechers))
    return int.from_bytes(a[:8], "big"), rows


def lied(told, own):
    """Whether a peer's own first bid shows that the tracker's word was false."""
    return own < told // 2
