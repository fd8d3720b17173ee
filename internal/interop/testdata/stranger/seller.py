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

        free is how many bytes are served for nothing first.
        """
        self.torrent, self.data, self.key, self.ledger, self.price = torrent, data, key, ledger, price
        k2 = crypto.Key()
        self.terms = channel.Terms(key.public, k2.public, ledger.network, MIN_LOCK, MAX_LOCK,
                                   2 * ledger.min_output, MAX_DEPOSIT, torrent.piece_length)
        self.payee = Payee(key, k2, ledger, self.terms)
        self.interested = self.told = self.given = self.sold = self.accepted = False
        self.bid, self.wanted, self.served, self.free = 0, [], 0, free
        last = len(torrent.hashes) - 1
        self.challenge = {"piece": last, "chunk": 0, "nonce": secrets.token_bytes(16)}

    def serve(self, listener):
        """Serves the first peer that buys until it leaves, and settles."""
        while not self.payee.settlement:
            sock, _ = listener.accept()
            try:
                self.peer = speed.Peer(sock, self.torrent, self.key, self.ledger.network, range(len(self.torrent.hashes)))
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
        """A message of BEP 3. What is asked for between the free slot and the accept is dropped."""
        if kind == speed.INTERESTED:
            self.interested = True
        elif kind == speed.NOT_INTERESTED:
            self.interested = False
        elif kind == speed.REQUEST and (self.accepted or self.free > 0):
            self.wanted.append(struct.unpack(">III", body))
        elif kind == speed.CANCEL:
            request = struct.unpack(">III", body)
            self.wanted = [r for r in self.wanted if r != request]

    def on_speed(self, name, f):
        """A message of btt_speed."""
        if name == "bid":
            if f["account"] != crypto.address(self.peer.key):
                raise channel.Malformed("a bid of another account")
            self.bid = f["price"]
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
        if not self.sold and self.free <= 0 and self.interested and self.bid >= self.price:
            self.peer.say("response", price=self.price, terms=channel.pack_terms(self.terms))
            name, fields = self.payee.quote(self.served, self.price)
            self.peer.pay(name, **fields)
            self.peer.send(speed.UNCHOKE)
            self.sold = True
        while self.sold and self.wanted and self.served + self.wanted[0][2] - self.payee.position() <= self.torrent.piece_length:
            self.served += self.serve_block()

    def give(self):
        """Serves a slot that is free of charge, none of which counts, and takes it back."""
        if self.interested and not self.given:
            self.peer.send(speed.UNCHOKE)
            self.given = True
        while self.wanted and self.free > 0:
            self.free -= self.serve_block()
        if self.free <= 0:
            self.peer.send(speed.CHOKE)
            self.wanted = []

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
