"""Answers of a real server for a signed zone: all that belongs to them comes through."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype

from sinkhole.exports.verify.running import free_port
from sinkhole.resolver.upstream import Server
from tests.resolver.serving import serving

ZONE = """\
$TTL 300
@ SOA ns nobody 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
@ MX 10 mail
mail A 192.0.2.25
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
far CNAME alias
*.wild A 192.0.2.2
old DNAME new
x.new A 192.0.2.3
svc HTTPS 1 www alpn="h2" ipv4hint=192.0.2.1
empty.node TXT "below"
"""
NAMED = """\
options {{
  directory "{directory}"; pid-file none; session-keyfile none; key-directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; minimal-responses no;
}};
controls {{ }};
logging {{ category default {{ null; }}; }};
zone "example.test" {{ type primary; file "{zone}"; dnssec-policy default; inline-signing yes; }};
"""
ASKED = [
    *(("www", "A"), ("www", "AAAA"), ("www", "MX"), ("alias", "A"), ("far", "A"), ("far", "CNAME"), ("far", "MX")),
    *(
        ("x.wild", "A"),
        ("x.wild", "MX"),
        ("x.old", "A"),
        ("nothing.old", "A"),
        ("svc", "HTTPS"),
        ("", "MX"),
        ("", "SOA"),
    ),
    *(("", "NS"), ("", "DNSKEY"), ("nothing", "A"), ("node", "A"), ("a.b.nothing", "TXT"), ("www", "RRSIG")),
]


@contextmanager
def named(directory: Path, program: str) -> Iterator[int]:
    """BIND with the zone, signed; its port."""
    port = free_port()
    zone, config = directory / "zone", directory / "named.conf"
    zone.write_text(ZONE)
    config.write_text(NAMED.format(directory=directory, port=port, zone=zone))
    process = subprocess.Popen([program, "-g", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 40
        while not _signed(port):
            assert process.poll() is None, "the port may be taken"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _signed(port: int) -> bool:
    try:
        answer = ask(port, "nothing", "A", True)
    except (OSError, EOFError):
        return False
    return any(rrset.rdtype == dns.rdatatype.NSEC for rrset in answer.authority)


def ask(port: int, name: str, qtype: str, signed: bool) -> dns.message.Message:
    query = dns.message.make_query(f"{name}.example.test".lstrip("."), qtype, want_dnssec=signed)
    return dns.query.tcp(query, "127.0.0.1", port=port, timeout=5)


def test_what_a_real_server_says_comes_through(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """Answers with their chains, signatures and proofs, whole and in order; the additional section stays behind."""
    with named(tmp_path, peer("named")) as port, serving([Server("tcp", "127.0.0.1", port)]) as ours:
        for signed in (True, False):
            for name, qtype in ASKED:
                theirs, mine = (ask(one, name, qtype, signed) for one in (port, ours.port))
                assert mine.rcode() == theirs.rcode()
                assert [*map(str, mine.answer)] == [*map(str, theirs.answer)], (name, qtype)
                assert [*map(str, mine.authority)] == [*map(str, theirs.authority)], (name, qtype)
                assert not mine.additional
