"""What clients notice when the upstream swallows everything: ``python -m benchmarks.outage``.

One resolver, its upstream, a flood of questions for names that need it, and a client that measures are four processes.
While the upstream is silent, the client asks in turn for a blocked name, one that is in the cache, and one that nobody
can resolve; then the upstream comes back, and it measures how long it takes until new names are resolved.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median, quantiles

from benchmarks.running import client, configure, free_port, query, resident, wait_blocked

BLOCKED, CACHED = "blocked.example.org", "cached.example.org"
_RECORD = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 86_400, 4, 192, 0, 2, 1)


def upstream(sock: socket.socket, silent: Synchronized[int]) -> None:
    """Answer every query, or none."""
    while True:
        packet, peer = sock.recvfrom(4096)
        if not silent.value:
            end = packet.index(0, 12) + 5
            sock.sendto(packet[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + packet[12:end] + _RECORD, peer)


def flood(port: int, rate: int) -> None:
    """Ask for ``rate`` new names a second."""
    with client(port, 1) as sock:
        sock.setblocking(False)
        for number in count():
            try:
                sock.send(query(f"r{number}.domain{number % 997}.example"))
                while True:
                    sock.recv(4096)
            except OSError:
                time.sleep(1 / rate)


def took(port: int, name: str) -> tuple[float, int]:
    """(milliseconds until the answer, its rcode)"""
    with client(port, 10) as sock:
        started = time.perf_counter()
        sock.send(query(name))
        rcode = sock.recv(4096)[3] & 15
        return 1000 * (time.perf_counter() - started), rcode


def measure(port: int, silent: Synchronized[int], seconds: float) -> dict[str, list[float]]:
    """Milliseconds by kind of name; ``back`` is how long after its return the upstream was in use again."""
    times: dict[str, list[float]] = {"blocked": [], "cached": [], "unknown": [], "back": []}
    names = count()
    took(port, CACHED)
    silent.value = 1
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(200):
            for kind, name in (("blocked", BLOCKED), ("cached", CACHED)):
                times[kind].append(took(port, name)[0])
            time.sleep(0.002)
        times["unknown"].append(took(port, f"u{next(names)}.example.net")[0])
    silent.value = 0
    back = time.monotonic()
    while took(port, f"b{next(names)}.example.net")[1]:
        time.sleep(0.01)
    times["back"].append(1000 * (time.monotonic() - back))
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="How long the upstream is silent.")
    parser.add_argument("--rate", type=int, default=500, help="New names a second while it is.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Where to write every figure.")
    given = parser.parse_args(arguments)
    silent: Synchronized[int] = multiprocessing.Value("i", 0)
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        directory, port = Path(name), free_port()
        sock.bind(("127.0.0.1", 0))
        listed = directory / "list.txt"
        listed.write_text(f"||{BLOCKED}^\n")
        config = configure(directory, [listed], port, sock.getsockname()[1])
        command = [sys.executable, "-m", "sinkhole", "serve", "-c", str(config)]
        others = [
            multiprocessing.Process(target=upstream, args=(sock, silent), daemon=True),
            multiprocessing.Process(target=flood, args=(port, given.rate), daemon=True),
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as serving:
            try:
                wait_blocked(port, BLOCKED, 30)
                for process in others:
                    process.start()
                times = measure(port, silent, given.seconds)
                megabytes = resident(serving.pid) / 1e6
            finally:
                for process in others:
                    process.kill()
                serving.terminate()
    print("| answers | n | median ms | p99 ms | worst ms |\n|---|---|---|---|---|")
    for kind, found in times.items():
        p99 = quantiles(found, n=100)[98] if len(found) > 1 else found[0]
        print(f"| {kind} | {len(found)} | {median(found):.2f} | {p99:.2f} | {max(found):.2f} |")
    print(f"\nmemory of the resolver at the end: {megabytes:.0f} MB")
    if given.json:
        given.json.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
