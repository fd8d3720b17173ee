"""Sells a torrent to one peer: the provider of docs/beps/speed.rst."""

import secrets
import socket
import struct

import channel
import crypto
import speed
from payee import Payee

MIN_LOCK, MAX_LOCK, MAX_DEPOSIT = 3600, 7 * 86400, 100 * 10**6


class Seller:
    """One buyer at one price."""

    def __init__(self, torrent, data, key, ledger, price, free):
        """price is the reserve, and as nobody else bids what is paid, per GiB.

        free is how many bytes are served for nothing first. Where both sides speak
        BEP 6, in torrents with trees, the last piece is given while it chokes besides, and nothing is sold
        before something of that was asked for.
        """
        self.torrent, self.data, self.key, self.ledger, self.price = torrent, data, key, ledger, price
        k2 = crypto.Key()
        self.terms = channel.Terms(key.public, k2.public, ledger.network, MIN_LOCK, MAX_LOCK,
                                   2 * ledger.min_output, MAX_DEPOSIT, torrent.piece_length)
        self.payee = Payee(key, k2, ledger, self.terms)
        self.interested = self.told = self.given = self.sold = self.accepted = False
        self.bid, self.wanted, self.served, self.free = 0, [], 0, free
        self.unit, self.allowed, self.dared = 0, (), False
        last = torrent.count - 1
        self.challenge = {"piece": last, "chunk": 0, "nonce": secrets.token_bytes(16)}

    def serve(self, listener):
        """Serves the first peer that buys until it leaves, and settles."""
        while not self.payee.settlement:
            sock, _ = listener.accept()
            try:
                self.peer = speed.Peer(sock, self.torrent, self.key, self.ledger.network, True, self.torrent.trees)
                self.allow()
                for kind, name, body in self.peer.messages():
                    getattr(self, "on_" + kind)(name, body)
                    self.advance()
            except (EOFError, ConnectionError, channel.Malformed):
                if self.payee.contract:  # the buyer is gone
                    self.payee.settle()
            finally:
                sock.close()

    # What comes in.

    def on_wire(self, kind, body):
        """A message of BEP 3, 6 or 52. What is asked for between the free slot and the accept is rejected."""
        if kind == speed.INTERESTED:
            self.interested = True
        elif kind == speed.NOT_INTERESTED:
            self.interested = False
        elif kind == speed.REQUEST:
            request = struct.unpack(">III", body)
            if self.accepted or self.free > 0 and self.given or self.lets(request):
                self.wanted.append(request)
                self.dared = self.dared or self.lets(request)
            else:
                self.reject(request)
        elif kind == speed.CANCEL:
            request = struct.unpack(">III", body)
            if request in self.wanted:
                self.wanted.remove(request)
                self.reject(request)
        elif kind == speed.HASH_REQUEST:
            request = (body[:32],) + struct.unpack(">IIII", body[32:])
            sums = self.torrent.hashes_of(request, self.data)
            self.peer.send(speed.HASHES if sums else speed.HASH_REJECT, body + (sums or b""))

    def on_speed(self, name, f):
        """A message of btt_speed."""
        if name == "bid":
            if f["account"] != crypto.address(self.peer.key):
                raise channel.Malformed("a bid of another account")
            self.bid = f["price"]
        elif name == "units" and f["role"] == 0 and self.torrent.trees and not self.sold:
            size = max(f["size"], speed.CHUNK)
            if f["size"] and size < self.torrent.piece_length:
                self.unit = size
                self.peer.say("units", role=1, size=size)
        elif name == "accept":
            self.accepted = self.accepted or self.sold and f["price"] == self.price

    def on_pay(self, name, f):
        """A message of the payment channel; only the account that was proved opens one."""
        if name == "open" and f["account"] != self.peer.key:
            self.peer.pay("refuse", id=f["tx"][:16], code=2, reason=b"not your account", terms=None)
            return
        for answer, fields in self.payee.receive(name, f):
            self.peer.pay(answer, **fields)

    # What follows from it.

    def advance(self):
        """Tells the reserve price, sells the slot, and serves up to a quantum that is not paid."""
        if self.peer.key and not self.told:
            self.peer.say("reserve", price=self.price, **self.challenge)
            self.told = True
        if self.free > 0:
            self.give()
        while not self.sold and self.wanted and self.lets(self.wanted[0]):
            self.serve_block()
        waits = self.free > 0 or self.allowed and not self.dared
        if not self.sold and not waits and self.interested and self.bid >= self.price:
            self.payee.terms = self.terms._replace(quantum=self.quantum())
            self.peer.say("response", price=self.price, terms=channel.pack_terms(self.payee.terms))
            name, fields = self.payee.quote(self.served, self.price)
            self.peer.pay(name, **fields)
            self.peer.send(speed.UNCHOKE)
            self.sold = True
        while self.sold and self.wanted and self.served + self.wanted[0][2] - self.payee.position() <= self.quantum():
            self.served += self.serve_block()

    def quantum(self):
        """The bytes that may be unpaid."""
        return self.unit or self.torrent.piece_length

    def give(self):
        """Serves a slot that is free of charge, none of which counts, and takes it back."""
        if self.interested and not self.given:
            self.peer.send(speed.UNCHOKE)
            self.given = True
        while self.wanted and self.free > 0:
            self.free -= self.serve_block()
        if self.free <= 0:
            self.peer.send(speed.CHOKE)
            while self.wanted:
                self.reject(self.wanted.pop())

    def allow(self):
        """Names the piece that may be asked for while we choke (BEP 6)."""
        if self.peer.fast:
            self.allowed = (self.torrent.count - 1,)
            self.peer.send(speed.ALLOWED_FAST, struct.pack(">I", *self.allowed))

    def lets(self, request):
        """Whether something may be had while we choke: until a slot is sold."""
        return request[0] in self.allowed and not self.sold

    def reject(self, request):
        """Tells a peer with BEP 6 that a request will not be answered, drops that of another."""
        if self.peer.fast:
            self.peer.send(speed.REJECT, struct.pack(">III", *request))

    def serve_block(self):
        """Sends what was asked for first; how many bytes."""
        piece, begin, size = self.wanted.pop(0)
        at = piece * self.torrent.piece_length + begin
        self.peer.send(speed.PIECE, struct.pack(">II", piece, begin) + self.data[at:at + size])
        return size


def listen(place):
    """A listening socket on host:port."""
    host, port = place.rsplit(":", 1)
    s = socket.create_server((host, int(port)))
    s.settimeout(speed.WAIT)
    return s
