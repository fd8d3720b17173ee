"""Torrents: BEP 3 with one file, BEP 52 with any, and the units of docs/beps/speed.rst."""

import hashlib
import os
from collections import namedtuple

from ledger import Malformed
from speed import CHUNK, bdecode, bencode

# A file: where it lies below the torrent's place, its bytes, the root of its tree
# (None in version 1), its first piece.
File = namedtuple("File", "path length root first")


def merkle(hashes, width, empty=bytes(32)):
    """The root of a binary tree with `width` leaves, a power of two; those that lack are `empty`."""
    hashes = list(hashes) or [empty]
    while width > 1:
        if len(hashes) % 2:
            hashes.append(empty)
        hashes = [hashlib.sha256(a + b).digest() for a, b in zip(hashes[::2], hashes[1::2])]
        empty, width = hashlib.sha256(empty + empty).digest(), width // 2
    return hashes[0]


def span(size, part):
    """How many leaves a tree over size bytes has, each of `part` bytes."""
    count = max(1, -(-size // part))
    return 1 << (count - 1).bit_length()


def leaves(data):
    """The hashes of the blocks of data."""
    return [hashlib.sha256(data[i:i + CHUNK]).digest() for i in range(0, len(data), CHUNK)]


class Torrent:
    """A torrent; a hybrid counts as version 1 on the wire, with the trees of version 2 beside it."""

    def __init__(self, path):
        with open(path, "rb") as f:
            whole = bdecode(f.read())
        info = whole[b"info"]
        v1, v2 = b"pieces" in info, info.get(b"meta version") == 2
        raw = bencode(info)
        second = hashlib.sha256(raw).digest()[:20]
        self.infohash = hashlib.sha1(raw).digest() if v1 else second
        self.names = {self.infohash, second} if v2 else {self.infohash}  # a hybrid's peer may answer with either
        self.piece_length, self.trees = info[b"piece length"], v2
        self.files, self.hashes, self.roots = [], [], []
        if v2:
            self._tree(info[b"file tree"], (), info[b"name"].decode(), whole.get(b"piece layers", {}))
        else:
            self.files = [File("", info[b"length"], None, 0)]
            self.roots = [None] * -(-info[b"length"] // self.piece_length)
        self.sha1 = [info[b"pieces"][i:i + 20] for i in range(0, len(info[b"pieces"]), 20)] if v1 else []
        self.size = sum(f.length for f in self.files)
        self.count = len(self.roots)

    def _tree(self, node, path, name, layers):
        """Files in their order, each of which begins a piece; the hashes of the pieces."""
        for key in sorted(node):
            if key != b"":
                self._tree(node[key], path + (key.decode(),), name, layers)
                continue
            length, root = node[b""][b"length"], node[b""].get(b"pieces root")
            one = len(path) == 1 and path[0] == name
            self.files.append(File("" if one else os.path.join(*path), length, root, len(self.roots)))
            layer = [root] if 0 < length <= self.piece_length else \
                [layers[root][i:i + 32] for i in range(0, len(layers[root]), 32)] if length else []
            self._check(length, root, layer)
            self.roots += layer

    def _check(self, length, root, layer):
        """The piece layer leads to the root."""
        if length > self.piece_length:
            count = self.piece_length // CHUNK
            if merkle(layer, span(length, self.piece_length), merkle([], count)) != root or len(layer) != -(-length // self.piece_length):
                raise Malformed("piece layer")

    def file(self, piece):
        """The file that a piece belongs to."""
        return [f for f in self.files if f.first <= piece and f.length][-1]

    def length(self, piece):
        """Bytes of a piece."""
        f = self.file(piece)
        return min(self.piece_length, f.length - (piece - f.first) * self.piece_length)

    def right(self, piece, data):
        """Whether the data of a piece match its hash, or both in a hybrid."""
        good = not self.sha1 or hashlib.sha1(data).digest() == self.sha1[piece]
        return good and (not self.trees or merkle(leaves(data), self.width(piece)) == self.roots[piece])

    def width(self, piece, part=CHUNK):
        """How many leaves of `part` bytes the tree below a piece's hash has."""
        f = self.file(piece)
        return span(min(f.length, self.piece_length), part) if f.length <= self.piece_length else self.piece_length // part

    def units(self, piece, size):
        """(root, base layer, index, length, proof layers) that asks for a piece's units; None where it is paid as a whole."""
        if not size or self.length(piece) <= size:
            return None
        f, width = self.file(piece), self.width(piece, size)
        return f.root, (size // CHUNK).bit_length() - 1, (piece - f.first) * (self.piece_length // size), width, width.bit_length() - 2

    def read(self, place):
        """The data under a place, each file from the start of its first piece."""
        data = bytearray(self.count * self.piece_length)
        for file in self.files:
            with open(os.path.join(place, file.path) if file.path else place, "rb") as f:
                at = file.first * self.piece_length
                data[at:at + file.length] = f.read()
        return bytes(data)

    def write(self, place, pieces):
        """Makes the files of all pieces under a place."""
        for file in self.files:
            path = os.path.join(place, file.path) if file.path else place
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(b"".join(pieces[p] for p in range(file.first, file.first - (-file.length // self.piece_length))))

    def hashes_of(self, request, data):
        """The answer to a hash request that has no uncle hashes, None to one that is not for units."""
        root, base, index, length, proofs = request
        for file in self.files:
            piece = file.first + (index << base) * CHUNK // self.piece_length
            if file.root == root and base < 17 and self.trees and self.units(piece, CHUNK << base) == request:
                at, out, size = piece * self.piece_length, [], CHUNK << base
                part = data[at:at + self.length(piece)]
                for i in range(length):
                    out.append(merkle(leaves(part[i * size:(i + 1) * size]), 1 << base))
                return b"".join(out)
        return None
