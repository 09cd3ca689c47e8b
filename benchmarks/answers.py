"""Queries a second and latency against other servers, on one list: ``python -m benchmarks.answers``.

Every server is up at the same time and bound to one core; dnsperf, this program, and the upstream (a thread of it that
has an address for every name) have another one. Servers take turns, run by run, so that a busy machine is unfair to
all of them alike; the table has medians, and the processor time that a query costs, which other programs disturb least.
Three loads, without EDNS:

* ``random``: every query is another blocked name, so no server can have prepared its answer;
* ``again``: the same 500 blocked names over and over;
* ``cached``: 500 names that are not blocked and that the server has in its cache: the upstream is asked only before.

Latency is measured at a fixed rate that none of them finds hard, because at full load it only says how long the queue
is. Needs dnsperf and taskset, and the servers that are asked for: dnsmasq, unbound, named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks import corpus
from benchmarks.running import configure, family, free_port, processor, resident, wait_blocked

NAMES = 800_000
#: Different names in the loads that ask again; queries a second when latency is measured.
FEW, RATE = 500, 5_000
OURS = "sinkhole"
#: Seconds: until a server has read the list, until one has ended, and beyond its own time for dnsperf.
START, STOP, SLACK = 180.0, 10.0, 30.0
_TTL = 86_400
#: What dnsperf says of a run, in the order of :class:`Rate`.
_SAID = ("Queries per second", "Queries lost", "Queries completed")


class Place(NamedTuple):
    """Where a server runs: its directory for files, its port, and the port of the upstream."""

    directory: Path
    port: int
    upstream: int


class Server(NamedTuple):
    """How to run a server: the command that prints its version, the form of its list, and what ``start`` makes of the
    list and the place: files, and the command that stays in the foreground."""

    version: Sequence[str]
    form: str
    start: Callable[[Path, Place], Sequence[str]]


def _sinkhole(listed: Path, place: Place) -> Sequence[str]:
    config = configure(place.directory, [listed], place.port, place.upstream)
    command = (sys.executable, "-m", "sinkhole")
    subprocess.run([*command, "build", "-c", config, "--no-exports"], check=True, stdout=subprocess.DEVNULL)
    return (*command, "serve", "-c", str(config))


def _dnsmasq(listed: Path, place: Place) -> Sequence[str]:
    return (
        "dnsmasq", "--keep-in-foreground", "--conf-file=" + str(listed), "--pid-file=", "--user=", "--group=",
        "--no-resolv", "--no-hosts", f"--port={place.port}", "--listen-address=127.0.0.1", "--bind-interfaces",
        f"--server=127.0.0.1#{place.upstream}", "--cache-size=10000",
    )  # fmt: skip


def _unbound(listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "unbound.conf"
    config.write_text(f"""\
server:
  interface: 127.0.0.1
  port: {place.port}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{place.directory}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  module-config: "iterator"
  include: "{listed}"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{place.upstream}
""")
    return "unbound", "-d", "-c", str(config)


def _named(listed: Path, place: Place) -> Sequence[str]:
    zone = place.directory / "rpz.zone"
    with listed.open() as rules, zone.open("w") as file:
        file.write("$TTL 60\n@ SOA localhost. nobody.invalid. 1 3600 600 86400 60\n@ NS localhost.\n")
        file.writelines(rules)
    config = place.directory / "named.conf"
    config.write_text(f"""\
options {{
  directory "{place.directory}"; pid-file none; session-keyfile none;
  listen-on port {place.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  forward only; forwarders {{ 127.0.0.1 port {place.upstream}; }}; dnssec-validation no;
  response-policy {{ zone "rpz.invalid"; }} qname-wait-recurse no;
}};
controls {{ }};
logging {{ category rpz {{ null; }}; }};
zone "rpz.invalid" {{ type primary; file "{zone}"; }};
""")
    return "named", "-g", "-n", "1", "-c", str(config)


SERVERS = {
    OURS: Server((sys.executable, "-m", "sinkhole", "version"), "adblock", _sinkhole),
    "dnsmasq": Server(("dnsmasq", "--version"), "dnsmasq", _dnsmasq),
    "unbound": Server(("unbound", "-V"), "unbound", _unbound),
    "named": Server(("named", "-v"), "rpz", _named),
}


class Running(NamedTuple):
    """A server that answers; seconds from its start to the first answer."""

    process: subprocess.Popen[bytes]
    port: int
    version: str
    started: float


class Rate(NamedTuple):
    """One run at full load: queries a second, how many were never answered, and processor seconds for each answer."""

    rate: float
    lost: int
    cost: float


@contextmanager
def upstream() -> Iterator[int]:
    """The port of a thread that answers every query for an address with 192.0.2.1."""
    record = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, _TTL, 4, 192, 0, 2, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                packet, peer = sock.recvfrom(4096)
                if len(packet) < 12:
                    return
                end = packet.index(0, 12) + 5
                found = packet[end - 4 : end] == b"\0\1\0\1"
                counts = struct.pack("!HHHHH", 0x8180, 1, found, 0, 0)
                sock.sendto(packet[:2] + counts + packet[12:end] + record * found, peer)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.sendto(b"", sock.getsockname())
            thread.join()


@contextmanager
def running(name: str, listed: Sequence[str], directory: Path, core: int, forward: int) -> Iterator[Running]:
    """Start a server on one core and wait until it blocks the last name of the list."""
    server = SERVERS[name]
    place = Place(directory / name, free_port(), forward)
    place.directory.mkdir()
    path = place.directory / "list.txt"
    corpus.write(path, listed, server.form)
    version = subprocess.run(server.version, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    command = server.start(path, place)
    with (place.directory / "log").open("wb") as log, ExitStack() as stack:
        started = time.monotonic()
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        stack.callback(_stop, process)
        try:
            wait_blocked(place.port, listed[-1], START)
        except TimeoutError as error:
            sys.exit(f"{name}: {error}\n{(place.directory / 'log').read_text()[-2000:]}")
        yield Running(process, place.port, version, time.monotonic() - started)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def _dnsperf(port: int, queries: Path, *options: str) -> str:
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), *options]
    limit = SLACK + float(options[options.index("-l") + 1])
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit).stdout


def full_load(server: Running, queries: Path, seconds: float) -> Rate:
    """As many queries a second as the server answers, a hundred under way at any time."""
    before = processor(server.process.pid)
    out = _dnsperf(server.port, queries, "-l", str(seconds))
    used = processor(server.process.pid) - before
    rate, lost, done = (_number(rf"{what}: +([\d.]+)", out) for what in _SAID)
    return Rate(rate, int(lost), used / done)


def latency(port: int, queries: Path, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile in microseconds, at :data:`RATE` queries a second."""
    out = _dnsperf(port, queries, "-l", str(seconds), "-Q", str(RATE), "-v")
    times = [float(found) * 1e6 for found in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)", out, re.M)]
    parts = quantiles(times, n=100)
    return parts[49], parts[98]


def _number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if not match:
        sys.exit(f"dnsperf did not say {pattern!r}:\n{text}")
    return float(match[1])


def loads(listed: Sequence[str], directory: Path, seed: int) -> dict[str, Path]:
    """The query files of the three loads."""
    draw = random.Random(seed)
    asked = {
        "random": draw.sample(listed, len(listed)),
        "again": draw.sample(listed, min(FEW, len(listed))),
        "cached": [f"www{number}.site{number % 7}.example" for number in range(FEW)],
    }
    paths = {load: directory / f"{load}.queries" for load in asked}
    for load, found in asked.items():
        paths[load].write_text("".join(f"{name} A\n" for name in found))
    return paths


def measure(names: Sequence[str], count: int, runs: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run everything; the report as ``--json`` writes it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})  # with all that is started below, but for the servers
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinkhole-bench-")))
        listed = list(corpus.names(count, seed))
        queries = loads(listed, directory, seed)
        forward = stack.enter_context(upstream())
        servers = {name: stack.enter_context(running(name, listed, directory, cores[0], forward)) for name in names}
        for server in servers.values():
            _dnsperf(server.port, queries["cached"], "-l", str(SLACK), "-n", "3", "-q", "20")
        rates: dict[tuple[str, str], list[Rate]] = {}
        delays: dict[tuple[str, str], tuple[float, float]] = {}
        for load, path in queries.items():
            for _ in range(runs):
                for name, server in servers.items():
                    rates.setdefault((name, load), []).append(full_load(server, path, seconds))
            for name, server in servers.items():
                delays[name, load] = latency(server.port, path, min(seconds, 3.0))
        return {
            "names": count,
            "runs": runs,
            "seconds": seconds,
            "latency-rate": RATE,
            "servers": {
                name: {
                    "version": server.version,
                    "started-seconds": round(server.started, 2),
                    "memory-bytes": resident(server.process.pid),
                    "loads": {
                        load: {
                            "rates": [round(run.rate) for run in rates[name, load]],
                            "rate": round(median(run.rate for run in rates[name, load])),
                            "cost-microseconds": round(1e6 * median(run.cost for run in rates[name, load]), 2),
                            "lost": sum(run.lost for run in rates[name, load]),
                            "p50-microseconds": round(delays[name, load][0]),
                            "p99-microseconds": round(delays[name, load][1]),
                        }
                        for load in queries
                    },
                }
                for name, server in servers.items()
            },
        }


def show(report: dict[str, Any]) -> None:
    """The report as tables in Markdown."""
    servers = report["servers"]
    print("| server | first answer after | memory |\n|---|---:|---:|")
    for server in servers.values():
        print(f"| {server['version']} | {server['started-seconds']} s | {server['memory-bytes'] / 1e6:.0f} MB |")
    print("\n| load | server | queries/s | of ours | runs, thousands | CPU a query | of ours | lost | p50 | p99 |")
    print("|---|---|---:|---:|---|---:|---:|---:|---:|---:|")
    for load in servers[OURS]["loads"]:
        for name, server in servers.items():
            found = server["loads"][load]
            ours = servers[OURS]["loads"][load]
            rate, cost = (found[what] / ours[what] for what in ("rate", "cost-microseconds"))
            runs = " ".join(f"{rate / 1000:.1f}" for rate in found["rates"])
            print(
                f"| {load} | {name} | {found['rate']:,} | {rate:.2f} | {runs} "
                f"| {found['cost-microseconds']} µs | {cost:.2f} | {found['lost']} "
                f"| {found['p50-microseconds']} µs | {found['p99-microseconds']} µs |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare sinkhole with other servers on one list, by dnsperf.")
    parser.add_argument("--names", type=int, default=NAMES, help=f"trees on the list (default: {NAMES})")
    parser.add_argument("--runs", type=int, default=3, help="runs of each load against each server (default: 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run (default: 5)")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument(
        "--peers", nargs="*", choices=[name for name in SERVERS if name != OURS], default=["dnsmasq", "unbound"],
        help="servers to compare with (default: dnsmasq unbound)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report = measure([OURS, *arguments.peers], arguments.names, arguments.runs, arguments.seconds, arguments.seed)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
