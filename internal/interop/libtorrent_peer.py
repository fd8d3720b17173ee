"""A bare libtorrent client: libtorrent_peer.py IP PORT CONTROLPORT plain|encrypted pex|nopex LIMIT_UP IP:PORT|nodht

One line of tab-separated words for each connection to CONTROLPORT, one line back:
add SOURCE DIR (a .torrent file or a magnet link) | peer IP PORT | done | ping
"""
import socket
import sys

import libtorrent as lt

ip, port, control = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
encrypted, pex, limit_up = sys.argv[4] == "encrypted", sys.argv[5] == "pex", int(sys.argv[6])
entry = sys.argv[7]
policy = 0 if encrypted else 2  # forced or disabled
ses = lt.session({
    "listen_interfaces": "%s:%d" % (ip, port), "outgoing_interfaces": ip,
    "enable_dht": entry != "nodht", "dht_bootstrap_nodes": "" if entry == "nodht" else entry,
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "in_enc_policy": policy, "out_enc_policy": policy, "allowed_enc_level": 2 if encrypted else 3,
    "ssrf_mitigation": False, "allow_multiple_connections_per_ip": True,
    "upload_rate_limit": limit_up, "min_reconnect_time": 1, "alert_mask": 0,
})
if limit_up:  # without this no limit holds for addresses of a local network
    everybody = lt.ip_filter()
    everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
    ses.set_peer_class_filter(everybody)
flags = lt.torrent_flags


def add(source, folder):
    if source.startswith("magnet:"):
        p = lt.parse_magnet_uri(source)
    else:
        p = lt.add_torrent_params()
        p.ti = lt.torrent_info(source)
    p.save_path = folder
    p.flags |= flags.disable_lsd
    if entry == "nodht":
        p.flags |= flags.disable_dht
    if not pex:
        p.flags |= flags.disable_pex
    p.flags &= ~(flags.auto_managed | flags.paused)
    ses.add_torrent(p)
    return "ok"


def done():
    torrents = ses.get_torrents()
    if not torrents:
        return "no torrent"
    s = torrents[0].status()
    if s.state in (s.seeding, s.finished):
        return "yes"
    return "%s, %d%% done, %d peers, %s" % (s.state, 100 * s.progress, s.num_peers, s.errc.message())


def answer(words):
    if words[0] == "add":
        return add(words[1], words[2])
    if words[0] == "peer":
        ses.get_torrents()[0].connect_peer((words[1], int(words[2])))
        return "ok"
    if words[0] == "done":
        return done()
    return "ok"


server = socket.create_server((ip, control), backlog=64)
while True:
    connection, _ = server.accept()
    with connection:
        try:
            reply = answer(connection.makefile().readline().rstrip("\n").split("\t"))
        except Exception as e:  # told to the test, which decides
            reply = "error: %r" % e
        connection.sendall(reply.encode() + b"\n")
