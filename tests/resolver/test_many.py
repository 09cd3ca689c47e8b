"""Many connections at once: descriptors run out, thousands idle, and the others do not notice."""

from __future__ import annotations

import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.resolver.test_listener import LOCAL, framed, read, wire

ROOT = Path(__file__).parent.parent.parent

SERVER = """
import logging, resource, sys, time
from sinkhole.resolver.listener import Limits
from tests.resolver.serving import serving
descriptors, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
logging.basicConfig(format="%(message)s")
with serving(limits=Limits(connections=connections, per_client=connections, idle=60)) as resolver:
    print(resolver.port, flush=True)
    sys.stdin.read()
"""


class Server:
    """A resolver in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection((LOCAL, self.port), 5)

    def udp(self) -> float:
        """Seconds until a blocked name is answered over UDP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((LOCAL, self.port))
            started = time.perf_counter()
            sock.send(wire())
            assert sock.recv(2000)[:2] == wire()[:2]
            return time.perf_counter() - started

    def used(self) -> float:
        """Processor time so far, in seconds."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self) -> int:
        """Octets in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def server(descriptors: int, connections: int) -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(descriptors), str(connections)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        try:
            yield Server(process, int(process.stdout.readline()))
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.stdin.close()  # type: ignore[union-attr]
                process.wait(5)
            process.kill()


def test_no_descriptor_is_left_for_a_connection() -> None:
    """It neither spins nor gives up: the longest idle makes room, UDP is answered, and the log has one line."""
    with server(descriptors=40, connections=1000) as running, ExitStack() as stack:
        clients = [stack.enter_context(running.connect()) for _ in range(60)]
        for _ in range(20):
            running.udp()
        time.sleep(0.5)
        before, started = running.used(), time.monotonic()
        while time.monotonic() < started + 1:
            running.udp()
            time.sleep(0.05)
        assert running.used() - before < 0.3
        with running.connect() as late:
            late.sendall(framed(wire()))
            assert read(late)
        for client in clients:
            client.close()
        for _ in range(10):
            with running.connect() as client:
                client.sendall(framed(wire()))
                assert read(client)
        running.process.stdin.close()  # type: ignore[union-attr]
        said = running.process.stderr.read()  # type: ignore[union-attr]
    assert said.count("\n") == 1
    assert said.endswith("connections open, and no more are possible: Too many open files\n")


def test_thousands_of_idle_connections_do_not_slow_udp() -> None:
    """5,000 of them, and 500 that send a query octet by octet: UDP's 99th percentile is at most twice that of a server
    without any. Both are asked in turn, so that a busy machine is unfair to both, and three times, as it is in bursts.
    A connection costs little memory, and new ones are served."""
    idle, slow = 5000, 500
    count = idle + slow
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with server(hard, count + 1) as quiet, server(hard, count + 1) as crowded, ExitStack() as stack:
            memory = crowded.memory()
            clients = [stack.enter_context(crowded.connect()) for _ in range(count)]
            while crowded.descriptors() < count:
                time.sleep(0.01)
            each = (crowded.memory() - memory) / count
            times = [p99(quiet, crowded, clients[idle:]) for _ in range(3)]
            said = ", ".join(f"{1e6 * alone:.0f}/{1e6 * beside:.0f}" for alone, beside in times)
            print(f"UDP p99 in microseconds, alone/beside {count} connections of {each:.0f} octets: {said}")
            assert any(beside <= 2 * alone for alone, beside in times)
            assert each < 12_000
            for client in (clients[0], stack.enter_context(crowded.connect())):
                client.sendall(framed(wire()))
                assert read(client)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def p99(quiet: Server, crowded: Server, slow: list[socket.socket]) -> tuple[float, float]:
    pairs = []
    for number in range(600):
        pairs.append((quiet.udp(), crowded.udp()))
        with suppress(OSError):  # its time may be over
            slow[number % len(slow)].send(b"\0")
    alone, beside = (statistics.quantiles(times, n=100)[98] for times in zip(*pairs, strict=True))
    return alone, beside
