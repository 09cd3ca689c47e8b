"""BIND as an upstream, over every transport."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sinkhole.exports.verify.running import free_port
from sinkhole.resolver.message import NOERROR, NXDOMAIN
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.upstream.transports import Transports
from tests.authority import Authority
from tests.resolver.upstream.asking import ADDRESS, asked, query, run


class Ports(NamedTuple):
    """Where it listens."""

    plain: int
    tls: int
    https: int


@pytest.fixture(scope="module")
def bind(authority: Authority, peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    directory = Path(tmp_path_factory.mktemp("bind"))
    issued = authority.issue("127.0.0.1")
    ports = Ports(*(free_port() for _ in range(3)))
    (directory / "zone").write_text(
        "$TTL 300\n@ SOA ns.example.test. nobody.example.test. 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"
        "*.many A 192.0.2.1\nbig TXT " + " ".join(f'"{"x" * 200}"' for _ in range(60)) + "\n"
    )
    config = directory / "named.conf"
    config.write_text(f"""
tls own {{ cert-file "{issued.certificate}"; key-file "{issued.key}"; }};
http own {{ endpoints {{ "/dns-query"; }}; }};
options {{
  directory "{directory}"; pid-file none; session-keyfile none; recursion no; dnssec-validation no;
  listen-on port {ports.plain} {{ 127.0.0.1; }};
  listen-on port {ports.tls} tls own {{ 127.0.0.1; }};
  listen-on port {ports.https} tls own http own {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
}};
controls {{ }};
zone "example.test" {{ type primary; file "zone"; }};
""")
    with subprocess.Popen([peer("named"), "-g", "-n", "1", "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 15
            for port in ports:
                while True:
                    try:
                        socket.create_connection(("127.0.0.1", port)).close()
                        break
                    except OSError:
                        assert time.monotonic() < end
                        time.sleep(0.05)
            yield ports
        finally:
            process.terminate()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
def test_bind(transport: str, bind: Ports, authority: Authority) -> None:
    """A hundred at once, one whose answer is too long for UDP, and one for a name that there is not."""
    port = {"tls": bind.tls, "https": bind.https}.get(transport, bind.plain)
    server = Server(transport, "127.0.0.1", port, "/dns-query" if transport == "https" else "")
    forwarder = Forwarder([server], 7.0, transports=Transports(None, str(authority.file)), token="f" * 32)
    many = [query(f"n{number}.many.example.test") for number in range(100)]
    found = run(asked(forwarder, *many, query("big.example.test", "TXT"), query("none.example.test")))
    for response in found[:100]:
        assert response.rcode == NOERROR
        assert ADDRESS in response.records
    assert len(found[100].records) > 12_000
    assert (found[101].rcode, found[101].ttl) == (NXDOMAIN, 60)
    assert forwarder.remotes[0].up
    assert forwarder.strays == 0
