"""The client benchmark's adapter for btt: `btt seed` where the data is there, `btt get` where it is not."""
import os

from adapters import Client, out
from core import bdec

BINARY = os.environ.get("BTT_BINARY", "btt")


class BTT(Client):
    name = "btt"

    @classmethod
    def version(cls):
        text = out([BINARY, "version"])
        return text.split("\n")[0].replace("btt ", "") if text else ""

    def add(self, torrent, data_dir):
        with open(torrent, "rb") as f:
            name = bdec(f.read())[b"info"][b"name"].decode()
        data = os.path.join(data_dir, name)
        self.seeds = os.path.exists(data)
        where = ["--listen", "%s:%d" % (self.ip, self.port), "--home", self.state, "--json"]
        if self.seeds:
            self.popen([BINARY, "seed", data, "--torrent", torrent, "--slots", "100"] + where)
        else:  # stays up after the end, so that its CPU time and memory can be read
            self.popen([BINARY, "get", torrent, "-o", data_dir, "--seed-after"] + where)

    def complete(self):
        return self.log_has(b'"event":"seeding"' if self.seeds else b'"event":"complete"')
