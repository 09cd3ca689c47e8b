"""Real resolvers with our configuration: what they block is what the list blocks."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from dnslib import RCODE, DNSRecord

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.rules import Rule
from tests.compiler.test_blocklist import merged
from tests.dnsserver import DnsServer, reply
from tests.lists import NAMES, blocked, strongest
from tests.samples import sample

ANSWER = "198.51.100.7"
#: Many lists of some five rules each, side by side in one.
CASES = [sample(random.Random(seed), 5) for seed in range(160)]


def moved(name: str, number: int) -> str:
    return name.replace("z.test", f"z{number}.example")


LIST = [rule._replace(name=moved(rule.name, number)) for number, rules in enumerate(CASES) for rule in rules]
BLOCKED = {moved(name, number) for number, rules in enumerate(CASES) for name in blocked(strongest, rules)}
ASKED = [moved(name, number) for number in range(len(CASES)) for name in NAMES]

DNSMASQ = """\
no-resolv
no-hosts
bind-interfaces
listen-address=127.0.0.1
port={port}
server=127.0.0.1#{upstream}
user=root
pid-file=
conf-file={rules}
"""
UNBOUND = """\
server:
  do-daemonize: no
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  module-config: "iterator"
  outgoing-range: 64
  num-queries-per-thread: 32
include: "{rules}"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
"""
ENGINES = {
    "dnsmasq": (["dnsmasq", "--keep-in-foreground", "--conf-file=FILE"], DNSMASQ),
    "unbound": (["unbound", "-d", "-c", "FILE"], UNBOUND),
}


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 10
        while True:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "no answer in ten seconds"
            try:
                ask(port, "up.example", 0.1)
                break
            except OSError:
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)


def ask(port: int, name: str, timeout: float = 5) -> bool:
    """Whether a name is blocked: anything but the upstream's answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect(("127.0.0.1", port))
        client.send(bytes(DNSRecord.question(name).pack()))
        answer = DNSRecord.parse(client.recv(4096))
    assert RCODE[answer.header.rcode] in ("NOERROR", "NXDOMAIN")
    return [str(record.rdata) for record in answer.rr] != [ANSWER]


def free_port() -> int:
    """A port that nobody has on 127.0.0.1, over UDP or TCP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            with suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port


@pytest.mark.parametrize("name", ["dnsmasq", "dnsmasq-address", "dnsmasq-server", "unbound", "unbound-null"])
def test_a_resolver_blocks_what_the_list_blocks(name: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    fitted = fit(resolve(merged(LIST).masks), (), FORMATS[name])
    assert len(fitted.statements) > 300
    rules = tmp_path / "rules.conf"
    rules.write_bytes(b"".join(render(fitted, FORMATS[name], Header(title="T"))))
    command, template = ENGINES[name.partition("-")[0]]
    with DnsServer(lambda asked: [reply(asked.packet, A=ANSWER)]) as upstream:
        port = free_port()
        config = tmp_path / "main.conf"
        config.write_text(template.format(port=port, upstream=upstream.port, rules=rules, directory=tmp_path))
        with running([peer(command[0]), *(part.replace("FILE", str(config)) for part in command[1:])], port):
            found = {asked for asked in ASKED if ask(port, asked)}
    stated = meant(name, rules.read_bytes())
    assert found == stated
    assert found <= BLOCKED
    if not fitted.loss:
        assert found == BLOCKED


def meant(name: str, text: bytes) -> set[str]:
    """The names that our own reader takes for blocked."""
    read = list(FORMATS[name].read(text).rules())
    by_root: dict[str, list[Rule]] = {}
    for rule in read:
        by_root.setdefault(".".join(rule.name.split(".")[-2:]), []).append(rule)
    return {asked for asked in ASKED if strongest(by_root.get(".".join(asked.split(".")[-2:]), []), asked)}
