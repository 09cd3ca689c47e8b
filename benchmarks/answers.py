"""Queries a second, latency, memory and start beside other servers, on one list: ``python -m benchmarks.answers``.

Every server that is installed is up at the same time and bound to one core; dnsperf, this program and the upstream have
another one. Servers take turns, run by run, so that a busy machine is unfair to all of them alike; the tables have
medians, and the processor time that a query costs, which other programs disturb least. Queries have EDNS, so that ours
says why it blocks. The loads:

* ``random``: every query is another blocked name, in another order each time, so hardly an answer can be prepared;
* ``again``: the same 500 blocked names over and over;
* ``cached``: 500 names that are not blocked and that the server has in its cache: the upstream is asked only before;
* ``forwarded``: names that nobody has asked for before, so the upstream is asked for each;
* ``tcp`` and ``dot``: the same 500 blocked names over ten connections, over TCP and over TLS.

Latency is measured at half of what the server answers at most, and at a rate that none of them finds hard. Before it is
measured a server is asked for names on the list, below them and beside them; one that answers wrongly, then or under
load, gets no figures. Needs dnsperf, taskset, openssl, and unbound as the upstream.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import corpus, dnsperf, servers, table
from benchmarks.running import machine, memory, processor, resident, wait_answered
from benchmarks.servers import BARE, OTHER, OURS, PEERS, Running, WrongAnswer
from sinkhole.exports.verify.running import free_port
from sinkhole.service import control

NAMES = 800_000
#: Different names in the loads that ask again; queries a second when latency is measured for all alike.
FEW, RATE = 500, 5_000
#: New names for each second of a run; no server here asks its upstream so often.
NEW = 120_000
#: The share of answers under load that may be others than they should be: a query may fail, not the server.
WRONG = 0.001
#: What puts one server out, and not all: it answers wrongly, dnsperf heard nothing, or did not end.
FAILURES = (WrongAnswer, ValueError, subprocess.TimeoutExpired)
_CONNECTIONS = ("-c", "10")


class Load(NamedTuple):
    """What is asked: names of which file, over what (options of dnsperf), whether the list has them, and whether
    latency is measured at half of the most, and at :data:`RATE`."""

    title: str
    names: str
    options: Sequence[str] = ()
    blocked: bool = True
    half: bool = False
    common: bool = False


LOADS = {
    "random": Load("another blocked name each time", "random", half=True, common=True),
    "again": Load("the same 500 blocked names", "again", half=True),
    "cached": Load("500 cached answers", "cached", blocked=False, half=True),
    "forwarded": Load("forwarded, another name each time", "new", blocked=False, half=True),
    "tcp": Load("the same 500 blocked names over TCP", "again", ("-m", "tcp", *_CONNECTIONS)),
    "dot": Load("the same 500 blocked names over TLS", "again", ("-m", "dot", *_CONNECTIONS)),
}


class Shape(NamedTuple):
    """How much is measured: trees on the list, runs of each load, seconds of a run, starts of each server; and whether
    latency is."""

    names: int = NAMES
    runs: int = 3
    seconds: float = 3.0
    starts: int = 1
    seed: int = corpus.SEED
    latency: bool = True


QUICK = Shape(50_000, 1, 1.0)


class Queries:
    """The files of queries below a directory."""

    def __init__(self, directory: Path, listed: Sequence[str], seconds: float, seed: int) -> None:
        self._directory, self._count, self._used = directory, int(NEW * seconds), 0
        self._draw, self._listed = random.Random(seed), list(listed)
        few = listed[:FEW]
        self._names: dict[str, Callable[[], Iterable[str]]] = {
            "random": self._another,
            "again": lambda: few,
            "cached": lambda: (f"www{number}.site{number % 7}.example" for number in range(FEW)),
            "new": self._new,
        }

    def path(self, name: str) -> Path:
        """One of the files; ``random`` has another order each time, ``new`` other names."""
        return dnsperf.write(self._directory / f"{name}.queries", self._names[name]())

    def _another(self) -> Iterable[str]:
        self._draw.shuffle(self._listed)
        return self._listed

    def _new(self) -> Iterable[str]:
        self._used += 1
        return (f"www.n{self._used}-{number}.d{number % 5000}.example" for number in range(self._count))


_UPSTREAM = """\
server:
  interface: 127.0.0.1
  port: {port}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  minimal-responses: yes
  so-rcvbuf: 4m
  so-sndbuf: 4m
  local-zone: "." redirect
  local-data: ". 86400 A {address}"
  local-zone: "test." redirect
  local-data: "test. 86400 A {address}"
"""


@contextmanager
def upstream(directory: Path, core: str) -> Iterator[int]:
    """The port of an Unbound that has the same address for every name, and asks nobody."""
    port = free_port()
    config = directory / "upstream.conf"
    config.write_text(_UPSTREAM.format(port=port, directory=directory, address=servers.ADDRESS))
    with (directory / "upstream.log").open("wb") as log:
        process = subprocess.Popen(["taskset", "-c", core, "unbound", "-d", "-c", str(config)], stdout=log, stderr=log)
    try:
        wait_answered(port, servers.START, lambda: servers.alive(process))
        yield port
    except TimeoutError as error:
        sys.exit(f"the upstream: {error}\n{(directory / 'upstream.log').read_text()}")
    finally:
        servers.stop(process)


class Field:
    """The servers that are up and answer rightly, what was measured of them, and why others are out."""

    def __init__(
        self, queries: Queries, shape: Shape, options: Sequence[str], progress: Callable[[str], object]
    ) -> None:
        self._queries, self._shape, self._options, self._progress = queries, shape, options, progress
        self.running: dict[str, Running] = {}
        self.refused: dict[str, str] = {}
        self.loads: dict[str, dict[str, dict[str, Any]]] = {}

    def each(self, what: str, load: str, run: Callable[[Running, Path, Sequence[str]], None]) -> None:
        """One run after the other with every server that can take the load; one that answers wrongly is out."""
        stated = LOADS[load]
        path = self._queries.path(stated.names)
        options = (*self._options, *stated.options, *(("-n", "1") if stated.names == "new" else ()))
        for name, server in list(self.running.items()):
            if load == "dot" and not server.tls:
                continue
            self._progress(f"{what} {load} {name}")
            try:
                run(server, path, options)
            except FAILURES as wrong:
                self.refuse(name, f"under load {load}: {wrong}")

    def refuse(self, name: str, why: str) -> None:
        if name == OURS:
            sys.exit(f"{name}: {why}")
        self._progress(f"{name} is out: {why}")
        self.refused[name] = why
        self.running.pop(name, None)
        self.loads.pop(name, None)

    def measure(self, load: str) -> None:
        """All runs of one load."""
        stated = LOADS[load]
        found: dict[str, dict[str, list[Any]]] = {}

        def full(server: Running, path: Path, options: Sequence[str]) -> None:
            before = processor(server.process.pid)
            ran = dnsperf.run(_port(server, load), path, self._shape.seconds, *options)
            used = processor(server.process.pid) - before
            if not ran.done or ran.other_than(server.blocked if stated.blocked else "NOERROR") > WRONG:
                raise WrongAnswer(f"{ran.lost} queries lost, answers {ran.codes}")
            mine = found.setdefault(server.name, {})
            for what, figure in (("rates", ran.rate), ("costs", 1e6 * used / ran.done), ("lost", ran.lost)):
                mine.setdefault(what, []).append(figure)

        def timed(what: str, rate: Callable[[Running], float]) -> Callable[[Running, Path, Sequence[str]], None]:
            def run(server: Running, path: Path, options: Sequence[str]) -> None:
                seconds = min(self._shape.seconds, 2.0)
                delays = dnsperf.delays(_port(server, load), path, seconds, rate(server), *options)
                found[server.name].setdefault(what, []).append(delays)

            return run

        for _ in range(self._shape.runs):
            self.each("most", load, full)
        for _ in range(self._shape.runs if stated.half and self._shape.latency else 0):
            self.each("half", load, timed("half", lambda server: median(found[server.name]["rates"]) / 2))
        for _ in range(self._shape.runs if stated.common and self._shape.latency else 0):
            self.each("common", load, timed("common", lambda _: RATE))
        for name in self.running:
            if name in found:
                self.loads.setdefault(name, {})[load] = _figures(found[name])


def _port(server: Running, load: str) -> int:
    return server.tls if load == "dot" and server.tls else server.port


def _figures(found: dict[str, list[Any]]) -> dict[str, Any]:
    """The medians, with the rates of all runs; times in microseconds."""
    figures: dict[str, Any] = {
        "rate": round(median(found["rates"])),
        "rates": [round(rate) for rate in found["rates"]],
        "cost-microseconds": round(median(found["costs"]), 2),
        "lost": sum(found["lost"]),
    }
    for what in ("half", "common"):
        if what in found:
            middle, worst = (round(median(values)) for values in zip(*found[what], strict=True))
            figures[what] = {"p50-microseconds": middle, "p99-microseconds": worst}
    return figures


def weigh(server: Running) -> dict[str, Any]:
    """Octets in memory: of all processes (PSS); of a worker of ours, its own and those of the bundle (RSS)."""
    found: dict[str, Any] = {"all-bytes": resident(server.process.pid)}
    for pid in servers.workers(server.process.pid)[:1]:
        own, mapped = memory(pid, server.directory / "state" / "bundles")
        found |= {"worker-own-bytes": own, "worker-mapped-bytes": mapped}
    return found


def counted(server: Running) -> dict[str, int]:
    """How many queries ours has seen, and how many it should have logged and did not; nothing of other servers."""
    if not servers.workers(server.process.pid):
        return {}
    counters = control.ask(server.directory / "state", "status", 60)["counters"]
    return {"queries": counters["queries"], "unlogged": counters.get("unlogged", 0)}


def measure(names: Sequence[str], loads: Sequence[str], shape: Shape, edns: bool = True) -> dict[str, Any]:
    """Run everything; the report as ``--json`` writes it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})  # with all that is started below, but for the servers
    options = ("-e",) if edns else ()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinkhole-bench-")))
        listed = list(corpus.names(shape.names, shape.seed))
        queries = Queries(directory, listed, shape.seconds, shape.seed)
        forward = stack.enter_context(upstream(directory, str(cores[1])))
        direct = dnsperf.run(forward, queries.path("cached"), shape.seconds, *options)
        field = Field(queries, shape, options, _progress)
        for name in names:
            _progress(f"start {name}")
            try:
                starting = servers.running(name, listed, directory, str(cores[0]), forward, shape.starts)
                field.running[name] = stack.enter_context(starting)
            except WrongAnswer as wrong:
                field.refuse(name, str(wrong))
        first = {name: weigh(server) for name, server in field.running.items()}
        for server in field.running.values():  # what is cached has to be in the cache
            dnsperf.run(server.port, queries.path("cached"), dnsperf.SLACK, "-n", "3", "-q", "20", *options)
        for load in loads:
            field.measure(load)
        return {
            "machine": machine(),
            "dnsperf": dnsperf.version(),
            **shape._asdict(),
            "edns": edns,
            "common-rate": RATE,
            "titles": {load: stated.title for load, stated in LOADS.items()},
            "upstream": {"version": f"unbound {servers.version('unbound')}", "direct-rate": round(direct.rate)},
            "refused": field.refused,
            "servers": {
                name: {
                    "version": server.version,
                    "ready-seconds": round(median(server.ready), 3),
                    "blocked": server.blocked,
                    "memory": first[name],
                    "memory-later": weigh(server),
                    **counted(server),
                    "loads": field.loads[name],
                }
                for name, server in field.running.items()
            },
        }


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare sinkhole with other servers on one list, by dnsperf.")
    parser.add_argument("--names", type=int, help=f"trees on the list (default: {NAMES})")
    parser.add_argument("--runs", type=int, help="runs of each load against each server (default: 3)")
    parser.add_argument("--seconds", type=float, help="length of a run (default: 3)")
    parser.add_argument("--starts", type=int, help="starts of each server, of which the median counts (default: 1)")
    parser.add_argument("--seed", type=int, help=f"of the list and of what is asked (default: {corpus.SEED})")
    parser.add_argument("--quick", action="store_true", help="50,000 trees, one run of a second: to see that it works")
    parser.add_argument("--no-latency", dest="latency", action="store_false", help="rates only, in half of the time")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, help="servers to compare with (default: the installed ones)"
    )
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="loads (default: all)")
    parser.add_argument("--bare", action="store_true", help=f"{BARE} too: ours with all off that can be turned off")
    parser.add_argument("--other", metavar="PYTHON", help="another version of ours too: the interpreter that finds it")
    parser.add_argument("--plain", action="store_true", help="queries without EDNS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where servers are, but for most users not in it
    stated = {field: value for field in Shape._fields if (value := getattr(arguments, field)) is not None}
    shape = (QUICK if arguments.quick else Shape())._replace(**stated)
    needed = ["dnsperf", "taskset", "openssl", "unbound", *([arguments.other] if arguments.other else [])]
    if missing := [name for name in needed if not servers.has(name)]:
        sys.exit(f"not installed, but needed: {', '.join(missing)}")
    wanted = PEERS if arguments.peers is None else arguments.peers
    peers = [name for name in wanted if servers.installed(name)]
    for name in wanted:
        if name not in peers:
            _progress(f"{name} is not installed")
    if arguments.other:
        servers.add_other(arguments.other)
    names = [OURS, *([OTHER] if arguments.other else []), *([BARE] if arguments.bare else []), *peers]
    report = measure(names, arguments.loads, shape, not arguments.plain)
    report["missing"] = [name for name in wanted if name not in peers]
    print("\n".join(table.lines(report)))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
