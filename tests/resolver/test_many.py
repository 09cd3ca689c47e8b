"""Many connections at once: descriptors run out, thousands idle, and the others do not notice."""

from __future__ import annotations

import os
import resource
import socket
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

    def udp(self) -> None:
        """Have a blocked name answered over UDP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((LOCAL, self.port))
            sock.send(wire())
            assert sock.recv(2000)[:2] == wire()[:2]

    def busy(self) -> int:
        """Nanoseconds of the processor's time so far (proc(5), schedstat)."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)

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
        before, started = running.busy(), time.monotonic()
        while time.monotonic() < started + 1:
            running.udp()
            time.sleep(0.05)
        assert running.busy() - before < 300_000_000
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
    """5,000 of them, and 500 that send a query octet by octet: a query over UDP costs hardly more than in a server
    without any. A connection costs little memory, and new ones are served. (benchmarks/abuse.py has the delays.)"""
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
            alone, beside = costs(quiet, crowded, clients[idle:])
            print(f"a query takes {alone:.0f} us, beside {count} connections of {each:.0f} octets {beside:.0f} us")
            assert (
                beside < alone + 200
            )  # an octet over TCP is read with each; to look at all connections would take more
            assert each < 12_000
            for client in (clients[0], stack.enter_context(crowded.connect())):
                client.sendall(framed(wire()))
                assert read(client)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def costs(quiet: Server, crowded: Server, slow: list[socket.socket]) -> tuple[float, float]:
    """Microseconds of the processor's time that a query over UDP takes in each server, asked in turn."""
    servers, count = (quiet, crowded), 2000
    before = [server.busy() for server in servers]
    for number in range(count):
        for server in servers:
            server.udp()
        with suppress(OSError):  # its time may be over
            slow[number % len(slow)].send(b"\0")
    alone, beside = ((server.busy() - was) / count / 1000 for server, was in zip(servers, before, strict=True))
    return alone, beside
