"""A worker whose upstream is hostile, slow or gone, and real ones (Unbound, BIND) for what the fake one cannot know."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from sinkhole.exports.verify.running import free_port
from tests.bundles import made
from tests.dnsserver import Asked, DnsServer, reply
from tests.hostile.packets import mutate
from tests.workers import Child, running, settings

RIGHT, POISON = "192.0.2.1", "198.51.100.66"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bundle"), "block: [blocked.example.com]").path


@contextmanager
def behind(bundle: Path, *ports: int, timeout: float = 2.0) -> Iterator[Child]:
    """A worker that forwards to servers on these ports; at the end it still runs and has met no fault."""
    with running() as child:
        wanted = settings(bundle, servers=[("udp", "127.0.0.1", port) for port in ports])._replace(timeout=timeout)
        assert child.tell(wanted).startswith("ready ")
        yield child
        assert child.process.poll() is None
        assert child.status()["counters"]["errors"] == 0


def addresses(answer: dns.message.Message) -> set[str]:
    return {str(record) for rrset in answer.answer for record in rrset}


def right(asked: Asked) -> bytes:
    return reply(asked.packet, A=RIGHT)


def test_all_65535_wrong_ids_come_before_the_right_one(bundle: Path) -> None:
    """No TCP here, so nothing but patience helps: the right answer is the one that is returned."""

    def script(asked: Asked) -> Iterator[bytes]:
        true = int.from_bytes(asked.packet[:2])
        forged = reply(asked.packet, A=POISON)[2:]
        for ident in range(65536):
            if ident != true:
                if not ident % 256:
                    time.sleep(0.002)  # a sender that outruns the wire would only lose its own packets
                yield ident.to_bytes(2) + forged
        yield right(asked)

    with DnsServer(script, tcp=False) as server, behind(bundle, server.port, timeout=5) as child:
        answer = child.ask("example.org")
    assert addresses(answer) == {RIGHT}
    assert len(server.asked) == 1 or all(asked.transport == "udp" for asked in server.asked)


def test_mutated_answers_never_fault_and_never_poison(bundle: Path) -> None:
    """A thousand names whose upstream sends mutations before the right answer: what is returned is an answer to this
    question, and what is asked later is right."""
    draw = random.Random(1)
    hostile = threading.Event()
    hostile.set()

    def script(asked: Asked) -> Iterator[bytes]:
        good = right(asked)
        if hostile.is_set():
            for _ in range(3):
                changed = mutate(
                    draw, [good, reply(asked.packet, A=POISON, NS="ns.poison.example.net.", SOA="a. b. 1 1 1 1 9")]
                )
                yield asked.packet[:2] + changed[2:]
        yield good

    with DnsServer(script, tcp=False) as server, behind(bundle, server.port, timeout=0.3) as child:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(child.endpoint)
            client.settimeout(5)
            for number in range(1000):
                query = dns.message.make_query(f"n{number}.example.org", "A", id=number).to_wire()
                client.send(query)
                answer = client.recv(4096)
                assert answer[:2] == query[:2]
                assert answer[12:].startswith(query[12:])  # the question; records of odd types are relayed as octets
                dns.message.from_wire(answer, continue_on_error=True)
        hostile.clear()
        for number in range(100):
            assert addresses(child.ask(f"fresh{number}.example.org")) == {RIGHT}
        assert addresses(child.ask("blocked.example.com")) == {"0.0.0.0"}
        assert addresses(child.ask("ns.poison.example.net")) == {RIGHT}


@contextmanager
def hole() -> Iterator[int]:
    """The port of somebody who takes everything and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield mute.getsockname()[1]


def test_a_black_hole_leaves_blocked_and_remembered_names_alone(bundle: Path) -> None:
    """And it ends by itself when the upstream is back."""
    gone = threading.Event()

    def script(asked: Asked) -> Iterator[bytes]:
        if not gone.is_set():
            yield right(asked)

    with DnsServer(script) as server, behind(bundle, server.port, timeout=1) as child:
        assert addresses(child.ask("known.example.org")) == {RIGHT}
        gone.set()
        flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flood.connect(child.endpoint)
        delays = []
        for number in range(200):
            for part in range(10):
                flood.send(dns.message.make_query(f"x{number}-{part}.example.org", "A").to_wire())
            for name, expected in (("blocked.example.com", "0.0.0.0"), ("known.example.org", RIGHT)):
                started = time.monotonic()
                assert addresses(child.ask(name)) == {expected}
                delays.append(time.monotonic() - started)
        flood.close()
        assert sorted(delays)[len(delays) * 95 // 100] < 0.1, "blocked and remembered names wait for an upstream"
        gone.clear()
        back = time.monotonic()
        while addresses(child.ask(f"fresh{time.monotonic_ns()}.example.org")) != {RIGHT}:
            assert time.monotonic() < back + 5


def test_random_names_below_one_zone_fill_nothing_and_delay_no_blocked_name(bundle: Path) -> None:
    """Water torture: thousands of names that no upstream answers."""
    with hole() as port, behind(bundle, port, timeout=1) as child:
        before = child.resident()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect(child.endpoint)
            for number in range(8_000):
                flood.send(dns.message.make_query(f"{number:x}.victim.example.org", "A").to_wire())
                if number % 500 == 0:
                    assert addresses(child.ask("blocked.example.com")) == {"0.0.0.0"}
        assert child.status()["counters"]["waiting"] <= 10_000
        assert child.resident() - before < 100e6


ZONE = f"""\
$TTL 300
@ SOA ns.real.example.net. admin.real.example.net. 1 3600 600 86400 300
@ NS ns
ns A 192.0.2.53
www A 192.0.2.7
alias CNAME www
big TXT {" ".join(f'"{"x" * 200}"' for _ in range(8))}
"""
CONFIGURATIONS = {
    "unbound": (["-d", "-c"], """\
server:
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  module-config: "iterator"
  local-zone: "example.net." nodefault
remote-control:
  control-enable: no
auth-zone:
  name: "real.example.net"
  zonefile: "real.zone"
  for-downstream: yes
"""),
    "named": (["-g", "-c"], """\
options {{
  directory "{directory}"; pid-file none; session-keyfile none; recursion no; dnssec-validation no;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
}};
controls {{ }};
zone "real.example.net" {{ type primary; file "real.zone"; }};
"""),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_real_servers_as_upstreams(bundle: Path, tmp_path: Path, peer: Callable[[str], str], name: str) -> None:
    """Addresses, aliases, what is truncated, what is not there; and SERVFAIL in time when it is killed."""
    port = free_port()
    options, text = CONFIGURATIONS[name]
    (tmp_path / "real.zone").write_text(ZONE)
    (tmp_path / "conf").write_text(text.format(directory=tmp_path, port=port))
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        process = subprocess.Popen([peer(name), *options, tmp_path / "conf"], stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        end = time.monotonic() + 15
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("127.0.0.1", port))
            probe.settimeout(0.1)
            while True:
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                with suppress(OSError):
                    probe.send(dns.message.make_query("ns.real.example.net", "A").to_wire())
                    if probe.recv(4096):
                        break
                time.sleep(0.05)
        child = stack.enter_context(behind(bundle, port, timeout=0.5))
        assert addresses(child.ask("www.real.example.net")) == {"192.0.2.7"}
        assert addresses(child.ask("alias.real.example.net")) == {"www.real.example.net.", "192.0.2.7"}
        whole = child.ask("big.real.example.net", "TXT", tcp=True)
        assert sum(len(text) for rrset in whole.answer for record in rrset for text in record.strings) == 1600
        gone = child.ask("no.real.example.net")
        assert gone.rcode() == dns.rcode.NXDOMAIN
        assert gone.authority
        process.kill()
        process.wait()
        started = time.monotonic()
        assert child.ask("other.real.example.net").rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - started < 2
        assert addresses(child.ask("www.real.example.net")) == {"192.0.2.7"}  # remembered
        assert addresses(child.ask("blocked.example.com")) == {"0.0.0.0"}
