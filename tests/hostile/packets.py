"""Packets to be hostile with: recorded ones from files, made ones of every type, and mutations of both.

A file in ``tests/data/packets`` is hexadecimal text; ``; answer:`` says what comes back (an rcode, or ``none``) from a
server whose upstreams do not answer, and the line before that what it is.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
from dns.edns import OptionType

DIRECTORY = Path(__file__).parent.parent / "data" / "packets"

_NAMES = ("chat.deepseek.com", "www.deepseek.com", "example.org", "a.b.c.d.example.org", "_dns.resolver.arpa", ".")
_TYPES = (
    "A",
    "AAAA",
    "HTTPS",
    "SVCB",
    "TXT",
    "MX",
    "NS",
    "SOA",
    "CNAME",
    "PTR",
    "SRV",
    "DS",
    "DNSKEY",
    "TYPE65280",
    "ANY",
)
#: Octets that mean something somewhere: lengths, pointers, types, flags.
_TELLING = (0, 1, 12, 15, 41, 63, 64, 0x80, 0xC0, 0xFA, 0xFC, 0xFF)


class Recorded(NamedTuple):
    """A packet from a file, what it is, and the name of the rcode that answers it (``none``: silence)."""

    name: str
    what: str
    answer: str
    packet: bytes


def recorded() -> list[Recorded]:
    return [_read(path) for path in sorted(DIRECTORY.glob("*.txt"))]


def _read(path: Path) -> Recorded:
    lines = path.read_text().splitlines()
    what, answer = (line.removeprefix("; ") for line in lines[:2])
    return Recorded(path.stem, what, answer.removeprefix("answer: "), bytes.fromhex("".join(lines[2:])))


def made() -> Iterator[bytes]:
    """Queries of every type in every form that honest clients use."""
    options: Sequence[list[dns.edns.Option]] = (
        [],
        [dns.edns.CookieOption(b"12345678", b"")],
        [dns.edns.ECSOption("192.0.2.0", 24), dns.edns.GenericOption(OptionType.NSID, b"")],
        [dns.edns.GenericOption(OptionType(12), bytes(100))],
        [
            dns.edns.EDEOption(dns.edns.EDECode.BLOCKED, "x" * 50),
            dns.edns.GenericOption(OptionType(65001), b"\xff" * 20),
        ],
    )
    for name in _NAMES:
        for rtype in _TYPES:
            yield dns.message.make_query(name, rtype).to_wire()
            for chosen in options:
                for dnssec in (False, True):
                    query = dns.message.make_query(name, rtype, want_dnssec=dnssec)
                    query.use_edns(0, dns.flags.DO if dnssec else 0, 1232, options=chosen)
                    yield query.to_wire()


def seeds() -> list[bytes]:
    """About a thousand."""
    return [*(found.packet for found in recorded()), *made()]


def mutate(draw: random.Random, originals: Sequence[bytes]) -> bytes:
    """One of the originals after one to four accidents."""
    packet = bytearray(draw.choice(originals))
    for _ in range(draw.randint(1, 4)):
        packet = draw.choice(_MUTATIONS)(draw, packet, originals)
    return bytes(packet[:4096])


def _flip(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    if packet:
        packet[draw.randrange(len(packet))] ^= 1 << draw.randrange(8)
    return packet


def _set(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    if packet:
        packet[draw.randrange(len(packet))] = draw.choice(_TELLING)
    return packet


def _cut(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    return packet[: draw.randint(0, len(packet))]


def _extend(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    return packet + draw.randbytes(draw.choice((1, 2, 11, 64)))


def _double(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    start, end = sorted(draw.choices(range(len(packet) + 1), k=2))
    return packet[:end] + packet[start:end] * draw.choice((1, 2, 8)) + packet[end:]


def _splice(draw: random.Random, packet: bytearray, originals: Sequence[bytes]) -> bytearray:
    other = draw.choice(originals)
    return packet[: draw.randint(0, len(packet))] + other[draw.randint(0, len(other)) :]


def _count(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    if len(packet) >= 12:
        struct.pack_into("!H", packet, draw.choice((4, 6, 8, 10)), draw.choice((0, 1, 2, 3, 255, 65535)))
    return packet


def _point(draw: random.Random, packet: bytearray, _: Sequence[bytes]) -> bytearray:
    if len(packet) > 14:
        at = draw.randrange(12, len(packet) - 1)
        struct.pack_into("!H", packet, at, 0xC000 | draw.choice((0, 12, at, at + 2, draw.randrange(len(packet)))))
    return packet


_MUTATIONS = (_flip, _flip, _set, _set, _cut, _extend, _double, _splice, _count, _point)
