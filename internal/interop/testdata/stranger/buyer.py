"""Buys a torrent from one peer: the requester of docs/beps/speed.rst."""

import socket
import struct

import channel
import crypto
import speed
from payer import Payer
from speed import CHUNK
from torrent import leaves, merkle

LOCK = 7200  # seconds, the least default of channel.rst


class Buyer:
    """One download over one connection, paid by one channel."""

    def __init__(self, torrent, key, ledger, bid, store):
        """bid is the price per GiB; store the file of what must outlive a crash."""
        self.torrent, self.key, self.ledger, self.bid = torrent, key, ledger, bid
        self.payer = Payer(key, crypto.Key(), ledger, torrent.infohash, store)
        self.pieces, self.blocks, self.asked = {}, {}, set()
        self.choked, self.bidden, self.leaving = True, False, False
        self.price = self.reserve = None
        self.unit, self.sums, self.verified = 0, {}, {}  # bytes; hashes of a piece's units; how many bytes of a piece are right

    def fetch(self, place):
        """Downloads and pays everything; returns the data."""
        self.peer = speed.Peer(socket.create_connection(place, speed.WAIT), self.torrent, self.key, self.ledger.network, fast=self.torrent.trees)
        for kind, name, body in self.peer.messages():
            getattr(self, "on_" + kind)(name, body)
            if self.payer.stage == "closed":
                break
            self.advance()
        self.peer.sock.close()
        return self.pieces

    # What comes in.

    def on_wire(self, kind, body):
        """A message of BEP 3, 6 or 52. Choking drops what was asked for, but between peers with BEP 6."""
        if kind == speed.UNCHOKE:
            self.choked = False
        elif kind == speed.CHOKE:
            self.choked, self.price = True, None
            if not self.peer.fast:
                self.asked = set()
        elif kind == speed.REJECT:
            self.asked.discard(struct.unpack(">II", body[:8]))
        elif kind == speed.PIECE:
            piece, begin = struct.unpack(">II", body[:8])
            self.blocks[piece, begin] = body[8:]
        elif kind == speed.HASHES:
            request = (body[:32],) + struct.unpack(">IIII", body[32:48])
            piece = next(p for p in range(self.torrent.count) if self.torrent.units(p, self.unit) == request)
            sums = [body[i:i + 32] for i in range(48, len(body), 32)]
            if len(sums) != request[3] or merkle(sums, request[3]) != self.torrent.roots[piece]:
                raise channel.Malformed("hashes that do not lead to the piece's")
            self.sums[piece] = sums
        elif kind == speed.HASH_REJECT:
            raise channel.Malformed("the hashes of units are refused")

    def on_speed(self, name, f):
        """A message of btt_speed."""
        if name == "reserve":
            self.reserve = f["price"]
        elif name == "units":
            if f["role"] == 1 and not self.price:
                if f["size"] and not CHUNK <= f["size"] < self.torrent.piece_length or not self.torrent.trees:
                    raise channel.Malformed("units that nobody can pay by")
                self.unit = f["size"]
        elif name == "response":
            if not self.bidden or f["price"] > self.bid:
                raise channel.Malformed("a price above the bid")
            self.price = self.payer.price = f["price"]
            if self.price:
                self.peer.say("accept", price=self.price)
                if not self.payer.contract:
                    self.propose(channel.unpack_terms(f["terms"]))

    def on_pay(self, name, f):
        """A message of the payment channel."""
        for answer, fields in self.payer.receive(name, f):
            self.peer.pay(answer, **fields)

    def propose(self, terms):
        """Opens a channel for the whole torrent."""
        if terms.account != self.peer.key:
            raise channel.Malformed("terms of another account")
        if terms.quantum != (self.unit or self.torrent.piece_length):
            raise channel.Malformed("a quantum of %d" % terms.quantum)
        led = self.ledger
        deposit = min(max(channel.owed(self.price, self.torrent.size) + led.min_output, terms.min_deposit), terms.max_deposit)
        lock_time = led.time() + min(max(terms.min_lock + 600, LOCK), terms.max_lock)
        name, fields = self.payer.propose(terms, led.coins(self.key.address), deposit, lock_time)
        self.peer.pay(name, **fields)

    # What follows from it.

    def advance(self):
        """Says all that is due."""
        if self.peer.key and not self.bidden:
            self.peer.send(speed.INTERESTED)
            if self.torrent.trees:
                self.peer.say("units", role=0, size=CHUNK)
            self.peer.say("bid", price=self.bid, account=self.key.address)
            self.bidden = True
        if not self.choked and self.price:
            self.request()
        for piece in range(self.torrent.count):
            self.assemble(piece)
        verified = sum(self.verified.values())
        if verified > self.payer.count and (message := self.payer.pay(verified)):
            self.peer.pay(message[0], **message[1])
        if verified == self.torrent.size == self.payer.count and not self.leaving:
            self.leaving = True
            self.peer.send(speed.NOT_INTERESTED)
            self.peer.pay("close", id=self.payer.contract.id)

    def request(self):
        """Asks for the blocks of the next two pieces, in order."""
        lacking = [p for p in range(self.torrent.count) if p not in self.pieces]
        for p in lacking[:2]:
            if p not in self.sums and (request := self.torrent.units(p, self.unit)):
                self.sums[p] = None  # asked for
                self.peer.send(speed.HASH_REQUEST, request[0] + struct.pack(">IIII", *request[1:]))
            for begin in range(0, self.torrent.length(p), CHUNK):
                if (p, begin) not in self.asked and (p, begin) not in self.blocks:
                    self.asked.add((p, begin))
                    size = min(CHUNK, self.torrent.length(p) - begin)
                    self.peer.send(speed.REQUEST, struct.pack(">III", p, begin, size))

    def assemble(self, piece):
        """Verifies the units of a piece, or a whole one, that are all there."""
        by_units = self.torrent.units(piece, self.unit)
        if piece in self.pieces or by_units and not self.sums.get(piece):
            return
        length = self.torrent.length(piece)
        step = self.unit if by_units else length
        at = self.verified.get(piece, 0)
        while at < length:
            end = min(at + step, length)
            if not all((piece, b) in self.blocks for b in range(at, end, CHUNK)):
                return
            data = b"".join(self.blocks[piece, b] for b in range(at, end, CHUNK))
            right = merkle(leaves(data), step // CHUNK) == self.sums[piece][at // step] if by_units else self.torrent.right(piece, data)
            if not right:
                raise channel.Malformed("data that are wrong")
            at = self.verified[piece] = end
        data = b"".join(self.blocks[piece, b] for b in range(0, length, CHUNK))
        if not self.torrent.right(piece, data):
            raise channel.Malformed("a piece that is wrong")
        self.pieces[piece] = data
