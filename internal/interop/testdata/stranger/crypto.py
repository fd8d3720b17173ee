"""Keys, signatures, addresses and trees, from docs/beps/ledger.rst alone.

secp256k1 with deterministic signatures (RFC 6979), Keccak-256 as before SHA-3
(TRON and Ethereum), base58check, and the tree hashes of RFC 6962. Slow and not
constant in time: it is for tests.
"""

import hashlib
import hmac
import secrets

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
     0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)


def sha256(*parts):
    """SHA-256 of the parts one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def tagged(tag, *parts):
    """The tagged hash of ledger.rst: tag is text, parts are concatenated."""
    t = sha256(tag.encode())
    return sha256(t, t, *parts)


# Points: (x, y, z) in Jacobian coordinates, z = 0 is the point at infinity.

def _double(p):
    x, y, z = p
    if z == 0 or y == 0:
        return (0, 1, 0)
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return (x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P)


def _add(p, q):
    if p[2] == 0:
        return q
    if q[2] == 0:
        return p
    z1, z2 = p[2] * p[2] % P, q[2] * q[2] % P
    u1, u2 = p[0] * z2 % P, q[0] * z1 % P
    s1, s2 = p[1] * z2 * q[2] % P, q[1] * z1 * p[2] % P
    if u1 == u2:
        return _double(p) if s1 == s2 else (0, 1, 0)
    h, r = (u2 - u1) % P, (s2 - s1) % P
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return (x3, (r * (v - x3) - s1 * hhh) % P, h * p[2] * q[2] % P)


def _mul(k, point):
    out, p = (0, 1, 0), (point[0], point[1], 1)
    while k:
        if k & 1:
            out = _add(out, p)
        p, k = _double(p), k >> 1
    return out


def _affine(p):
    if p[2] == 0:
        return None
    i = pow(p[2], -1, P)
    return (p[0] * i * i % P, p[1] * i * i * i % P)


def point(key):
    """The point of a compressed key of 33 bytes, None if it is none."""
    if len(key) != 33 or key[0] not in (2, 3):
        return None
    x = int.from_bytes(key[1:], "big")
    if x >= P:
        return None
    y = pow(x * x * x + 7, (P + 1) // 4, P)
    if (y * y - x * x * x - 7) % P:
        return None
    return (x, y if y & 1 == key[0] & 1 else P - y)


class Key:
    """A private key; `public` is the compressed point."""

    def __init__(self, secret=None):
        self.secret = secret or secrets.token_bytes(32)
        self.d = int.from_bytes(self.secret, "big")
        if not 0 < self.d < N:
            raise ValueError("not a key of secp256k1")
        x, y = _affine(_mul(self.d, G))
        self.public = bytes([2 + (y & 1)]) + x.to_bytes(32, "big")
        self.address = address(self.public)

    def sign(self, digest):
        """65 bytes: r, s (at most half the order) and v; the nonce after RFC 6979."""
        z = int.from_bytes(digest, "big") % N
        for k in self._nonces(z):
            x, y = _affine(_mul(k, G))
            r = x % N
            s = pow(k, -1, N) * (z + r * self.d) % N
            if r == 0 or s == 0 or x >= N:
                continue
            v = y & 1
            if s > N // 2:
                s, v = N - s, v ^ 1
            return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])

    def _nonces(self, z):
        seed = self.secret + z.to_bytes(32, "big")
        v, k = b"\x01" * 32, b"\x00" * 32
        for sep in (b"\x00", b"\x01"):
            k = hmac.digest(k, v + sep + seed, "sha256")
            v = hmac.digest(k, v, "sha256")
        while True:
            v = hmac.digest(k, v, "sha256")
            n = int.from_bytes(v, "big")
            if 0 < n < N:
                yield n
            k = hmac.digest(k, v + b"\x00", "sha256")
            v = hmac.digest(k, v, "sha256")


def verify(key, digest, sig):
    """Whether sig is the one valid form of key's signature over digest."""
    q = point(key)
    if q is None or len(sig) != 65 or sig[64] > 1:
        return False
    r, s = int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:64], "big")
    if not (0 < r < N and 0 < s <= N // 2):
        return False
    z, w = int.from_bytes(digest, "big") % N, pow(s, -1, N)
    p = _affine(_add(_mul(z * w % N, G), _mul(r * w % N, q)))
    return p is not None and p[0] == r and p[1] & 1 == sig[64]


def keccak256(data):
    """Keccak-256 with the padding 0x01, not SHA-3's 0x06."""
    rate, mask = 136, 2**64 - 1
    data += b"\x01" + b"\x00" * (rate - len(data) % rate - 1)
    data = data[:-1] + bytes([data[-1] | 0x80])

    def rot(v, n):
        return (v << n | v >> (64 - n)) & mask if n else v

    a = [[0] * 5 for _ in range(5)]
    for at in range(0, len(data), rate):
        for i in range(rate // 8):
            a[i % 5][i // 5] ^= int.from_bytes(data[at + 8 * i:at + 8 * i + 8], "little")
        lfsr = 1
        for _ in range(24):
            c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
            for x in range(5):
                d = c[x - 1] ^ rot(c[(x + 1) % 5], 1)
                a[x] = [lane ^ d for lane in a[x]]
            x, y, cur = 1, 0, a[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                cur, a[x][y] = a[x][y], rot(cur, (t + 1) * (t + 2) // 2 % 64)
            for y in range(5):
                row = [a[x][y] for x in range(5)]
                for x in range(5):
                    a[x][y] = row[x] ^ (~row[(x + 1) % 5] & mask & row[(x + 2) % 5])
            for j in range(7):
                if lfsr & 1:
                    a[0][0] ^= 1 << (2**j - 1)
                lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
    return b"".join(a[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


def address(key):
    """The 20 bytes of a compressed key's address."""
    x, y = point(key)
    return keccak256(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[-20:]


B58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def address_text(addr):
    """The text of an address, T…"""
    raw = b"\x41" + addr
    n = int.from_bytes(raw + sha256(sha256(raw))[:4], "big")
    out = ""
    while n:
        n, i = divmod(n, 58)
        out = B58[i] + out
    return out


def parse_address(text):
    """The 20 bytes of an address's text; ValueError if it is none."""
    n = 0
    for c in text:
        n = n * 58 + B58.index(c)
    raw = n.to_bytes(25, "big") if n < 2**200 else b""
    if len(raw) != 25 or raw[0] != 0x41 or sha256(sha256(raw[:21]))[:4] != raw[21:] or address_text(raw[1:21]) != text:
        raise ValueError("not an address: " + text)
    return raw[1:21]


# RFC 6962: leaves are hashed behind a zero byte, nodes behind a one.

def leaf_hash(leaf):
    """The hash of one leaf."""
    return sha256(b"\x00", leaf)


def node_hash(left, right):
    """The hash of two neighbours."""
    return sha256(b"\x01", left, right)


def tree_hash(leaves):
    """The root over a list of leaves."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def split(n):
    """The largest power of two below n, where RFC 6962 divides n leaves."""
    return 1 << (n - 1).bit_length() - 1


def path_root(index, count, leaf, path):
    """The root to which a path of RFC 6962 leads from the hash of leaf number index."""
    path = list(path)

    def climb(i, n):
        if n == 1:
            return leaf
        k, last = split(n), path.pop()
        return node_hash(climb(i, k), last) if i < k else node_hash(last, climb(i - k, n - k))

    root = climb(index, count)
    if path:
        raise ValueError("a path that is too long")
    return root
