"""Reserve prices and proofs of possession of docs/beps/speed.rst, from both sides."""

import secrets
import socket

import speed
from speed import CHUNK

LOOKS = 1000  # that end a hang: connections to see a challenge change


def chunk(torrent, data, piece, number):
    """The bytes of a chunk."""
    at = piece * torrent.piece_length
    return data[at:at + torrent.length(piece)][number * CHUNK:][:CHUNK]


def connect(torrent, key, network, place):
    """(peer, its messages, the reserve message of a seed): whoever connects is told it."""
    peer = speed.Peer(socket.create_connection(place, speed.WAIT), torrent, key, network, fast=torrent.trees)
    messages = peer.messages()
    for kind, name, f in messages:
        if (kind, name) == ("speed", "reserve"):
            return peer, messages, f
    return None


def prove(torrent, data, key, network, place):
    """Proves to a seed that we have what it asks for; (the challenge, the one that takes its place).

    The question stays the same for everybody until a proof counts.
    """
    peer, messages, asked = connect(torrent, key, network, place)
    where = asked["piece"], asked["chunk"]
    again, _, same = connect(torrent, key, network, place)
    again.sock.close()
    if (same["piece"], same["chunk"]) != where or same["nonce"] == asked["nonce"]:
        raise AssertionError(asked, same)
    h = speed.proof_hash(asked["nonce"], torrent.infohash, *where, chunk(torrent, data, *where))
    peer.say("proof", piece=where[0], chunk=where[1], hash=h)
    for _ in range(LOOKS):
        other, _, f = connect(torrent, key, network, place)
        other.sock.close()
        if (f["piece"], f["chunk"]) != where:
            answered(peer, messages, data)
            return where, (f["piece"], f["chunk"])
    raise AssertionError("the challenge did not change", where)


def answered(peer, messages, data):
    """Asks a peer that has the data for a chunk, as a seed does, and verifies its proof."""
    torrent, nonce = peer.torrent, secrets.token_bytes(16)
    last = torrent.count - 1
    peer.say("reserve", price=0, piece=last, chunk=0, nonce=nonce)
    want = speed.proof_hash(nonce, torrent.infohash, last, 0, chunk(torrent, data, last, 0))
    for kind, name, f in messages:
        if (kind, name) == ("speed", "proof"):
            if f["hash"] != want:
                raise AssertionError("a false proof")
            peer.sock.close()
            return
