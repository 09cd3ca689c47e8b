"""What the query log costs: ``python -m benchmarks.querylog``.

Blocked names are asked of the engine in this process, in rounds that take turns: nothing recorded, and everything,
which goes over a socket to a process that throws it away. What is told is the processor's time of this process. Then
lines are given to the store as fast as it takes them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import corpus
from sinkhole.names import key as name_key
from sinkhole.names import to_wire
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.recorder import Recorder, Recording
from sinkhole.resolver.upstream import Upstreams
from sinkhole.service.querylog import Keeping, Store

QUERIES, ROUNDS, CLIENTS, NAMES = 50_000, 15, 1000, 2000
#: Queries that a listener hands over at once while it is busy.
_BATCH = 64
_HEADER, _TAIL = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0", b"\0\1\0\1"
_BLOCK = Verdict(Action.BLOCK, "xx-2025-01-01", "ads", 15, "blocked")


class Cost(NamedTuple):
    """Microseconds of the processor that a query takes without and with the log, octets of a line, and lines that the
    store takes in a second of the processor."""

    without: float
    recorded: float
    line: int
    stored: int


class _Everything:
    """A policy that blocks all names below one."""

    by_address = None

    def profile(self, client: str, token: str = "") -> int:
        return 0

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return profile

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return _BLOCK if key.startswith(_BELOW) else FORWARD


_BELOW = name_key(b"example.com")


def measure(queries: int = QUERIES, rounds: int = ROUNDS) -> Cost:
    draw = random.Random(1)
    names = [f"{name}.example.com" for name in corpus.names(NAMES, seed=1)]
    packets = [_HEADER + to_wire(draw.choice(names)) + _TAIL for _ in range(queries)]
    peers = [(f"10.0.{number >> 8}.{number & 255}", 40_000) for number in range(CLIENTS)]
    asked = [(packet, draw.choice(peers)) for packet in packets]
    with _thrown_away() as sock:
        recorder = Recorder(sock, later=lambda delay, call: _Never())
        upstreams = Upstreams([])
        engine = Engine(_Everything(), Lookup(upstreams.route, Cache()), blocking("null-ip"), recorder=recorder)
        taken: dict[str, list[float]] = {"none": [], "all": []}
        for number in range(rounds + 1):
            for record, times in taken.items():
                recorder.configure(Recording(record))
                seconds = _round(engine, asked)
                if number:  # the first one meets names and clients
                    times.append(seconds / queries * 1e6)
        assert not engine.counters.unlogged, "the process that reads could not keep up"
        without, recorded = (round(statistics.median(times), 3) for times in taken.values())
        recorder.configure(Recording())
        for packet, peer in asked[:_BATCH]:
            engine.handle(packet, peer, lambda reply, to: None)
        text = recorder._lines(recorder._notes[:]).encode()
    return Cost(without, recorded, len(text) // text.count(b"\n"), _stored(text))


def _round(engine: Engine, asked: list[tuple[bytes, tuple[str, int]]]) -> float:
    def send(reply: bytes, peer: object) -> None:
        """Nowhere."""

    handle, stamp = engine.handle, engine.recorder.stamp
    began = time.process_time()
    for start in range(0, len(asked), _BATCH):
        stamp()
        for packet, peer in asked[start : start + _BATCH]:
            handle(packet, peer, send)
    engine.recorder.flush()
    return time.process_time() - began


class _Never:
    """A timer of which nothing comes: every batch is full before a tick."""

    def cancel(self) -> None:
        """Nothing to do."""


@contextmanager
def _thrown_away() -> Iterator[socket.socket]:
    """A socket to a process that reads what comes and forgets it."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    child = os.fork()
    if not child:
        near.close()
        while far.recv(1 << 16):
            pass
        os._exit(0)
    far.close()
    with near:
        yield near
    os.waitpid(child, 0)


def _stored(text: bytes, octets: int = 256 << 20) -> int:
    """Lines of ``text`` that a store takes in a second of the processor."""
    lines, at = text.count(b"\n"), 60_000 // len(text)
    message, count = text * at, lines * at
    with tempfile.TemporaryDirectory(prefix="sinkhole-bench-") as directory:
        store = Store(Path(directory), Keeping(size=64 << 20))
        began = time.process_time()
        for _ in range(octets // len(message)):
            store.write(message)
        seconds = time.process_time() - began
        store.close()
    return round(octets // len(message) * count / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.querylog", description=__doc__)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.queries, given.rounds)
    print("| | |\n|---|---:|")
    print(f"| a blocked name, nothing recorded | {found.without:.2f} µs |")
    print(f"| the same, recorded | {found.recorded:.2f} µs |")
    print(f"| more | {found.recorded - found.without:.2f} µs |")
    print(f"| octets of a line | {found.line} |")
    print(f"| lines stored in a second | {found.stored:,} |")
    if given.json:
        given.json.write_text(json.dumps(found._asdict(), indent=1))


if __name__ == "__main__":
    main()
