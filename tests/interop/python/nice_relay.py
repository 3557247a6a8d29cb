"""Two libnice agents that may only relay meet through a server of their own, and send to each other:
nice_relay.py SERVER_BINARY udp|tcp

libnice leaves loopback out, so this runs in a network namespace of its own, with one interface that is not `lo`
(libnice.test.mjs makes it). It is Debian's own Python that has libnice: packages python3-gi and gir1.2-nice-0.1."""

import base64
import ctypes
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402

PATIENCE_SECONDS = 20
PACKETS = 50
COMPONENT = 1

# The one call of libnice that its introspection leaves out.
ON_DATA = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_char), ctypes.c_void_p
)
attach_recv = ctypes.CDLL("libnice.so.10").nice_agent_attach_recv
attach_recv.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ON_DATA, ctypes.c_void_p]


class Party:
    """One agent, and what it got."""

    def __init__(self, name: str, context: GLib.MainContext, turn: tuple[str, int], secret: str, kind: Nice.RelayType):
        self.received: list[bytes] = []
        self.gathered = False
        self.agent = Nice.Agent.new(context, Nice.Compatibility.RFC5245)
        self.agent.set_property("controlling-mode", name == "alice")
        self.agent.set_property("force-relay", True)
        self.agent.set_property("upnp", False)
        self.stream = self.agent.add_stream(1)
        username = f"{int(time.time()) + 600}:{name}"
        password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), hashlib.sha1)).decode()
        assert self.agent.set_relay_info(self.stream, COMPONENT, *turn, username, password, kind)
        self.agent.connect("candidate-gathering-done", self._on_gathered)
        # Kept: C calls it as long as the agent lives. The hash of a GObject is its address, and no context the default one.
        self.on_data = ON_DATA(lambda _agent, _stream, _component, length, data, _: self.received.append(data[:length]))
        assert attach_recv(hash(self.agent), self.stream, COMPONENT, None, self.on_data, None)
        assert self.agent.gather_candidates(self.stream)

    def _on_gathered(self, _agent, _stream) -> None:
        self.gathered = True

    def is_ready(self) -> bool:
        return self.agent.get_component_state(self.stream, COMPONENT) == Nice.ComponentState.READY

    def candidates(self) -> list:
        return self.agent.get_local_candidates(self.stream, COMPONENT)

    def learn(self, other: "Party") -> None:
        found, ufrag, password = other.agent.get_local_credentials(other.stream)
        assert found and self.agent.set_remote_credentials(self.stream, ufrag, password)
        self.agent.set_remote_candidates(self.stream, COMPONENT, other.candidates())

    def send(self, text: str) -> None:
        self.agent.send(self.stream, COMPONENT, len(text), text)


def start_server(binary: str) -> tuple[subprocess.Popen, tuple[str, int]]:
    server = subprocess.Popen([binary, "serve", "--role", "turn"], stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("message") == "ready":
            host, port = entry["turn"].rsplit(":", 1)
            return server, (host, int(port))
    raise RuntimeError("the server ended")


def until(what: str, context: GLib.MainContext, holds) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        context.iteration(False)
        time.sleep(0.002)


def main(binary: str, transport: str) -> None:
    server, turn = start_server(binary)
    try:
        context = GLib.MainContext.default()
        secret = json.loads(os.environ["TRUNKLINE_TURN__SECRETS"])[0]
        kind = {"udp": Nice.RelayType.UDP, "tcp": Nice.RelayType.TCP}[transport]
        alice, bob = (Party(name, context, turn, secret, kind) for name in ("alice", "bob"))
        until("both gathered", context, lambda: alice.gathered and bob.gathered)
        alice.learn(bob)
        bob.learn(alice)
        until("both are connected", context, lambda: alice.is_ready() and bob.is_ready())
        for n in range(PACKETS):
            alice.send(f"alice {n:04}")
            bob.send(f"bob {n:04}")
            until("packets come through", context, lambda: min(len(alice.received), len(bob.received)) > n)
        kinds = sorted({candidate.type.value_nick for party in (alice, bob) for candidate in party.candidates()})
        print(json.dumps({
            "alice": len(alice.received), "bob": len(bob.received), "candidates": kinds,
            "first": [alice.received[0].decode(), bob.received[0].decode()],
        }))
    finally:
        server.terminate()
        server.wait()


main(*sys.argv[1:])
