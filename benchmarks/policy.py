"""What a policy costs a query: ``python -m benchmarks.policy``.

The same list of names, once for everyone and nothing else, once in a policy of three groups, every directive of the
catalogue, two hundred exceptions and ten thousand clients. The engine is called in this process, so nothing but its own
work is measured: the processor's time of rounds that take turns, and their median.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks import corpus
from sinkhole import bundle
from sinkhole.catalogue import loader
from sinkhole.compiler import build, plan
from sinkhole.config import load
from sinkhole.feeds.body import load as fetch
from sinkhole.feeds.store import Store
from sinkhole.names import to_wire
from sinkhole.policy import exceptions
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.policy import Policy
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.upstream import Upstreams

NAMES, CLIENTS, EXCEPTIONS, QUERIES, ROUNDS = 100_000, 10_000, 200, 40_000, 15
_TAIL = b"\0\1\0\1"
_HEADER = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0"
_AT = datetime(2025, 3, 1, tzinfo=UTC)


class Cost(NamedTuple):
    """Microseconds of the processor that a query takes: without a policy, with one, and the share that it adds."""

    plain: float
    policy: float
    more: float


def measure(names: int = NAMES, queries: int = QUERIES, rounds: int = ROUNDS) -> dict[str, Cost]:
    """The cost by load: the same blocked names again and again, and blocked names that differ."""
    draw = random.Random(1)
    listed = list(corpus.names(names, seed=1))
    clients = [f"10.20.{number >> 8}.{number & 255}" for number in range(CLIENTS)]
    peers = [(draw.choice(clients), 40_000) for _ in range(queries)]
    loads = {
        "the same 500 blocked names": [_query(draw.choice(listed[:500])) for _ in range(queries)],
        "a blocked name out of all": [_query(draw.choice(listed)) for _ in range(queries)],
    }
    with tempfile.TemporaryDirectory(prefix="sinkhole-bench-") as directory:
        engines = [
            _engine(Path(directory) / "plain", listed, _PLAIN, ()),
            _engine(Path(directory) / "policy", listed, _policy(), tuple(_permissions(draw, listed, clients))),
        ]
        return {name: _cost(engines, packets, peers, rounds) for name, packets in loads.items()}


def _cost(engines: list[Engine], packets: list[bytes], peers: list[tuple[str, int]], rounds: int) -> Cost:
    taken: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for engine, times in zip(engines, taken, strict=True):
            seconds = _round(engine.handle, packets, peers)
            if number:  # the first one meets the clients
                times.append(seconds / len(packets) * 1e6)
    plain, policy = map(statistics.median, taken)
    return Cost(round(plain, 3), round(policy, 3), round(policy / plain - 1, 3))


def _round(handle: Callable[..., bool], packets: list[bytes], peers: list[tuple[str, int]]) -> float:
    def send(reply: bytes, peer: object) -> None:
        """Nowhere."""

    began = time.process_time()
    for packet, peer in zip(packets, peers, strict=True):
        handle(packet, peer, send)
    return time.process_time() - began


def _engine(directory: Path, listed: list[str], text: str, permissions: tuple[Permission, ...]) -> Engine:
    directory.mkdir()
    (directory / "list.txt").write_text("".join(f"||{name}^\n" for name in listed))
    (directory / "sinkhole.yaml").write_text(text)
    catalogue = loader.load()
    wanted = plan.make(load(directory / "sinkhole.yaml", catalogue), catalogue)
    feeds = build.feeds(wanted, Store(directory / "feeds"), fetcher=fetch, offline=True, now=_AT)
    made = bundle.load(build.build(wanted, feeds, directory / "bundles").path)
    upstreams = Upstreams([])
    return Engine(Policy(made, _AT, permissions), Lookup(upstreams.route, Cache()), blocking("null-ip"))


_PLAIN = "lists: {big: {sources: [./list.txt]}}\npolicy: [{groups: [all], lists: [big]}]\n"


def _policy() -> str:
    orders = ", ".join(sorted(loader.load().directives)[:20])
    return f"""
groups: {{a: {{clients: [10.20.0.0/16]}}, b: {{clients: [10.20.16.0/20]}}, c: {{clients: [10.20.32.0/24]}}}}
lists: {{big: {{sources: [./list.txt]}}}}
policy:
  - {{groups: [a], directives: [{orders}]}}
  - {{groups: [b], lists: [big], action: observe}}
  - {{groups: [all], lists: [big]}}
"""


def _permissions(draw: random.Random, listed: list[str], clients: list[str]) -> Iterator[Permission]:
    for number in range(EXCEPTIONS):
        asked = exceptions.request(
            number, _AT, "alice", "why", [draw.choice(listed)], clients=[draw.choice(clients)], lasts=86_400
        )
        yield exceptions.approve(asked, _AT, "bob")


def _query(name: str) -> bytes:
    return _HEADER + to_wire(name) + _TAIL


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.names, rounds=given.rounds)
    print("| load | without | with | more |\n|---|---:|---:|---:|")
    for name, cost in found.items():
        print(f"| {name} | {cost.plain:.2f} µs | {cost.policy:.2f} µs | {cost.more:+.1%} |")
    if given.json:
        given.json.write_text(json.dumps({name: cost._asdict() for name, cost in found.items()}, indent=1))


if __name__ == "__main__":
    main()
