"""A peer of BitTorrent Speed written from docs/beps/*.rst alone, without any other code.

It shows that the texts are enough for a stranger. Python 3, standard library.

    stranger.py key FILE                                       make an account, print its address
    stranger.py buy FILE LEDGER HOST:PORT TORRENT OUT PRICE    download, pay, look at the ledger
    stranger.py sell FILE LEDGER HOST:PORT TORRENT DATA PRICE FREE
                                                               listen, serve one buyer, the first FREE bytes for nothing, settle
    stranger.py prove FILE LEDGER HOST:PORT TORRENT DATA       prove possession to a seed, and have it prove
    stranger.py track HOST:PORT                                tell a tracker bids, read them back
    stranger.py vectors FOLDER                                 check testdata/vectors

LEDGER is HOST:PORT, PRICE in 10^-6 BTT per GiB. Each prints JSON lines; a failure
is an exception and an exit status other than 0.
"""

import json
import os
import secrets
import sys

import buyer
import crypto
import possession
import seller
import tracker
import vectors
from ledger import Ledger
from torrent import Torrent


def key_file(path):
    """The account of a file, made if there is none."""
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.write(crypto.Key().secret)
    with open(path, "rb") as f:
        return crypto.Key(f.read())


def address(place):
    """(host, port) of HOST:PORT."""
    host, port = place.rsplit(":", 1)
    return host, int(port)


def holds(ledger, addr):
    """The sum of an address's coins."""
    return sum(amount for _, amount in ledger.coins(addr))


def tell(**fields):
    """Prints a JSON line."""
    print(json.dumps(fields), flush=True)


def need(right, *what):
    """Fails with what there is if something is not right."""
    if not right:
        raise AssertionError(what)


def key(path):
    """Prints the address of an account."""
    tell(event="key", address=crypto.address_text(key_file(path).address))


def settled(ledger, contract, sequence, total):
    """Fails unless the ledger shows that T3 of a sequence and a sum ended a channel."""
    state, want = ledger.outpoint(contract.funding), contract.settlement(sequence, total).id(contract.network).hex()
    need(state["status"] == 3 and state["by"] == want, state, want)


def buy(path, place, peer, torrent, out, price):
    """Downloads, pays, closes, and reads from the ledger what became of the money."""
    account, ledger, t = key_file(path), Ledger(place), Torrent(torrent)
    before = holds(ledger, account.address)
    b = buyer.Buyer(t, account, ledger, int(price), path + ".channel")
    t.write(out, b.fetch(address(peer)))
    p = b.payer
    settled(ledger, p.contract, p.sequence, p.sum)
    need(p.told == p.sum, p.told, p.sum)
    tell(event="bought", bytes=t.size, unit=b.unit, sum=p.sum, payments=p.sequence - 1, reserve=b.reserve, before=before,
         after=holds(ledger, account.address), seller=crypto.address_text(p.contract.payee), earned=holds(ledger, p.contract.payee))


def sell(path, place, at, torrent, source, price, free):
    """Sells to one buyer and reads from the ledger what was earned."""
    account, ledger = key_file(path), Ledger(place)
    before = holds(ledger, account.address)
    t = Torrent(torrent)
    s = seller.Seller(t, t.read(source), account, ledger, int(price), int(free))
    listener = seller.listen(at)
    tell(event="listening")
    s.serve(listener)
    p = s.payee
    settled(ledger, p.contract, p.sequence, p.sum)
    tell(event="sold", bytes=p.position(), given=t.size - s.served, unit=s.unit, sum=p.sum, payments=p.sequence - 1, before=before,
         after=holds(ledger, account.address), buyer=crypto.address_text(p.contract.payer))


def prove(path, place, peer, torrent, source):
    """Proves possession to a seed as a hidden copy, and asks it for a proof in turn."""
    t = Torrent(torrent)
    asked, instead = possession.prove(t, t.read(source), key_file(path), Ledger(place).network, address(peer))
    tell(event="proved", asked=asked, instead=instead)


def track(place):
    """Announces bids over HTTP and UDP and reads them back in announces and bid scrapes."""
    host, port = address(place)
    url, h, told = "http://%s:%d/announce" % (host, port), secrets.token_bytes(20), {}
    for i, bid in enumerate((2000000, 3000000)):
        answer, _ = tracker.announce_http(url, h, b"-PY0001-%012d" % i, 1000 + i, 100, btt_bid=bid, btt_top=5)
        told[1000 + i] = tracker.decode_bid(tracker.encode_bid(bid))
    udp = tracker.UDP(host, port)
    udp.announce(h, b"-PY0001-%012d" % 2, 1002, 50)
    _, _, bidders, _ = udp.announce(h, b"-PY0001-%012d" % 2, 1002, 50, "btt_bid=4000000&btt_top=5&btt_ext=1")
    need({p: b for _, p, b, _ in bidders} == told, bidders, told)
    told[1002] = tracker.decode_bid(tracker.encode_bid(4000000))
    _, rows = tracker.announce_http(url, h, b"-PY0001-%012d" % 3, 1003, 100, btt_top=2)
    need([(p, b) for _, p, b, _ in rows[:2]] == [(1002, told[1002]), (1001, told[1001])], rows)
    _, rows = tracker.announce_http(url, h, b"-PY0001-%012d" % 4, 1004, 100)
    need(all(b == 0 and age is None for _, _, b, age in rows), rows)
    best = max(told.values())
    one = tracker.scrape_http(url, answer, info_hash=h)[b"files"][h]
    need((one[b"bid"], one[b"bid5"], one[b"bidders"]) == (best, 0, 3), one)
    page = tracker.scrape_http(url, answer, top=10)
    need(page[b"files"][h][b"bid"] == best and page[b"next"] == 0, page)
    _, rows = udp.scrape(5)
    need([r[:4] for r in rows] == [(h, best, 0, 3)], rows)
    tell(event="tracked", best=best)


def check(folder):
    """Checks the vectors."""
    tell(event="vectors", checked=vectors.check(folder))


if __name__ == "__main__":
    commands = {"key": key, "buy": buy, "sell": sell, "prove": prove, "track": track, "vectors": check}
    commands[sys.argv[1]](*sys.argv[2:])
