"""Two aioice agents that may only relay meet through a TURN server, and send to each other:
turn_relay.py HOST PORT udp|tcp|tls USERNAME PASSWORD

A certificate is whatever the server has: that it is trusted is not what is tested here."""

import asyncio
import json
import ssl
import sys

import common  # noqa: F401  (aioice looks at loopback with it)
from aioice import Connection
from aioice.ice import TransportPolicy

PATIENCE_SECONDS = 20
PACKETS = 50


def agent(controlling: bool, host: str, port: int, transport: str, username: str, password: str) -> Connection:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return Connection(
        ice_controlling=controlling,
        turn_server=(host, port),
        turn_username=username,
        turn_password=password,
        turn_transport="udp" if transport == "udp" else "tcp",
        turn_ssl=trusting if transport == "tls" else False,
        transport_policy=TransportPolicy.RELAY,
    )


async def learn(one: Connection, other: Connection) -> None:
    one.remote_username, one.remote_password = other.local_username, other.local_password
    for candidate in other.local_candidates:
        await one.add_remote_candidate(candidate)
    await one.add_remote_candidate(None)


async def main(host: str, port: str, transport: str, username: str, password: str) -> None:
    agents = [agent(controlling, host, int(port), transport, username, password) for controlling in (True, False)]
    alice, bob = agents
    await asyncio.gather(*(one.gather_candidates() for one in agents))
    await learn(alice, bob)
    await learn(bob, alice)
    await asyncio.gather(*(one.connect() for one in agents))
    received = {"alice": 0, "bob": 0}
    for n in range(PACKETS):
        await alice.send(b"alice %d" % n)
        await bob.send(b"bob %d" % n)
        received["alice"] += await alice.recv() == b"bob %d" % n
        received["bob"] += await bob.recv() == b"alice %d" % n
    kinds = sorted({candidate.type for one in agents for candidate in one.local_candidates})
    await asyncio.gather(*(one.close() for one in agents))
    print(json.dumps({**received, "candidates": kinds}))


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), PATIENCE_SECONDS))
