"""Oracle for the interop test: makes and loads torrents with libtorrent 2.

make DIR OUT...  JSON lines of jobs on stdin: {"path", "out", "flags", "piece", "trackers", "private"}
load             paths of torrents on stdin
magnet           magnet links on stdin
Each answers one JSON line per input line.
"""
import json
import os
import sys

import libtorrent as lt

FLAGS = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}


def hashes(info_hashes):
    return {
        "v1": str(info_hashes.v1) if info_hashes.has_v1() else "",
        "v2": str(info_hashes.v2) if info_hashes.has_v2() else "",
    }


def make(job):
    storage = lt.file_storage()
    lt.add_files(storage, job["path"])
    torrent = lt.create_torrent(storage, job["piece"], FLAGS[job["flags"]])
    for tier, url in enumerate(job.get("trackers") or []):
        torrent.add_tracker(url, tier)
    torrent.set_priv(job.get("private", False))
    torrent.set_comment("made by libtorrent")
    torrent.set_creator("libtorrent")
    torrent.add_url_seed("http://seed.example/files/")
    lt.set_piece_hashes(torrent, os.path.dirname(job["path"]))
    data = lt.bencode(torrent.generate())
    with open(job["out"], "wb") as out:
        out.write(data)
    return load(job["out"])


def load(path):
    info = lt.torrent_info(path)
    files = info.files()
    answer = hashes(info.info_hashes())
    answer.update(
        name=info.name(),
        pieces=info.num_pieces(),
        piece=info.piece_length(),
        private=info.priv(),
        trackers=[[t.url, t.tier] for t in info.trackers()],
        files=[
            [files.file_path(i), files.file_size(i), bool(files.file_flags(i) & lt.file_storage.flag_pad_file)]
            for i in range(files.num_files())
        ],
    )
    return answer


def magnet(link):
    params = lt.parse_magnet_uri(link)
    answer = hashes(params.info_hashes)
    answer.update(name=params.name, trackers=[[t, 0] for t in params.trackers])
    return answer


def main():
    act = {"make": lambda line: make(json.loads(line)), "load": load, "magnet": magnet}[sys.argv[1]]
    for line in sys.stdin:
        line = line.rstrip("\n")
        try:
            answer = act(line)
        except Exception as error:  # the Go side reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer))


main()
