"""A bad line to the upstreams: one packet in twenty lost in each direction, 300 ms there and back."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.bundles import made
from tests.dnsserver import Asked, DnsServer, reply
from tests.workers import Child, running, settings

QUERIES, SERVERS, LOSS, DELAY = 1000, 3, 0.05, 0.3


def share_answered(child: Child) -> float:
    """The part of different names, asked once each over five seconds, that has an address in the end."""
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        client.connect(child.endpoint)
        for number in range(QUERIES):
            client.send(dns.message.make_query(f"n{number}.example.org", "A", id=number).to_wire())
            time.sleep(5 / QUERIES)
        client.settimeout(10)
        for _ in range(QUERIES):
            answer = dns.message.from_wire(client.recv(4096))
            answered += answer.rcode() == dns.rcode.NOERROR and bool(answer.answer)
    return answered / QUERIES


def test_a_line_that_loses_packets_is_no_outage(tmp_path: Path) -> None:
    draw = random.Random(5)

    def script(asked: Asked) -> Iterator[bytes]:
        if draw.random() < LOSS:  # the query
            return
        time.sleep(DELAY)
        if draw.random() >= LOSS:  # the answer
            yield reply(asked.packet, A="192.0.2.1")

    bundle = made(tmp_path).path
    with ExitStack() as stack:
        servers = [stack.enter_context(DnsServer(script)) for _ in range(SERVERS)]
        child = stack.enter_context(running())
        wanted = settings(bundle, servers=[("udp", "127.0.0.1", server.port) for server in servers])
        assert child.tell(wanted._replace(timeout=2.0)).startswith("ready ")
        assert share_answered(child) >= 0.999


def netem() -> str:
    """Why a network namespace with loss and delay cannot be had here; empty when it can."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("tc")):
        return "it takes root, unshare and tc"
    script = f"ip link set lo up && tc qdisc add dev lo root netem loss {LOSS * 100}% delay {DELAY * 500}ms"
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    return done.stderr.strip()


@pytest.mark.skipif(bool(NETEM := netem()), reason=f"no netem: {NETEM}")
def test_a_line_that_loses_packets_is_no_outage_in_a_network_namespace() -> None:
    """The same on the kernel's own loss and delay. Clients and upstreams are on one interface, so a client's own
    packets are lost too: it asks as dig does, three times."""
    script = (
        f"ip link set lo up && tc qdisc add dev lo root netem loss {LOSS * 100}% delay {DELAY * 500}ms && "
        f"exec {sys.executable} -m tests.hostile.test_lines"
    )
    checkout = Path(__file__).parent.parent.parent
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], cwd=checkout, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 0.999


def _in_the_namespace() -> None:
    """Print the share that is answered when each query may be sent three times."""
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    import dns.exception
    import dns.query

    def ask(number: int) -> bool:
        query = dns.message.make_query(f"n{number}.example.org", "A")
        for _ in range(3):
            try:
                answer = dns.query.udp(query, child.endpoint.host, port=child.endpoint.port, timeout=5)
            except dns.exception.Timeout:
                continue
            return bool(answer.answer)
        return False

    with ExitStack() as stack:
        bundle = made(Path(stack.enter_context(tempfile.TemporaryDirectory()))).path
        servers = [stack.enter_context(DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.1")])) for _ in range(3)]
        child = stack.enter_context(running())
        wanted = settings(bundle, servers=[("udp", "127.0.0.1", server.port) for server in servers])
        child.tell(wanted._replace(timeout=2.0))
        with ThreadPoolExecutor(100) as pool:
            print(sum(pool.map(ask, range(QUERIES))) / QUERIES)


if __name__ == "__main__":
    _in_the_namespace()
