"""Thousands of DNS questions at once over UDP on one machine, and the upstream that answers what nobody blocks.

An answer comes to one word: ``pass``, ``null``, ``nxdomain``, ``nodata``, ``refused``, ``drop``, ``tcp-only``,
``alias``, ``servfail``, or the records that it has, as ``A 192.0.2.9``.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType
from typing import NamedTuple, Self

from sinkhole.names import to_wire

A, AAAA, HTTPS, CNAME = 1, 28, 65, 5
PASSED, NULL, ALIAS = "pass", "null", "alias"
DROP, TCP_ONLY = "drop", "tcp-only"
#: What the upstream says of every name, by type: addresses that nobody else has (RFC 5737, RFC 3849).
DATA = {
    A: ip_address("198.51.100.53").packed,
    AAAA: ip_address("2001:db8:53::53").packed,
    HTTPS: b"\0\x01\0",
}
#: Below this name the upstream gives the address that the name holds in hexadecimal digits.
PROBE = "sinkhole-address-probe.example"
_PROBE = re.compile(rb"\x00?[\x0b\x23]ip-([0-9a-f]{8}|[0-9a-f]{32})\x16sinkhole-address-probe\x07example\x00", re.I)
_RCODES = {2: "servfail", 3: "nxdomain", 5: "refused"}
_SINKS = {ip_address("0.0.0.0").packed, ip_address("::").packed}
#: How many questions are under way at once at first, and at most, more for each time that all of them stay silent; and
#: for how long, in seconds, nothing may come before those without an answer are asked again, or at the end given up.
WINDOW, MAX_WINDOW = 128, 4096
QUIET = (0.1, 0.3, 0.6, 2.0)


class Question(NamedTuple):
    """A name in text and a record type by number."""

    name: str
    type: int = A

    def addresses(self) -> tuple[bytes, ...]:
        """The addresses that the upstream gives."""
        found = re.match(rf"ip-([0-9a-f]+)\.{re.escape(PROBE)}$", self.name.lower())
        data = bytes.fromhex(found[1]) if found else DATA[self.type]
        return (data,) if self.type != HTTPS and len(data) == len(DATA[self.type]) else ()


def probe(address: str) -> Question:
    """The question whose answer from upstream is ``address``."""
    found = ip_address(address)
    return Question(f"ip-{found.packed.hex()}.{PROBE}", A if found.version == 4 else AAAA)


def ask(port: int, questions: Sequence[Question], patience: Sequence[float] = QUIET) -> list[str]:
    """The word for each question, asked at 127.0.0.1; one that stays without an answer is a ``drop``."""
    words: list[str] = [DROP] * len(questions)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        for first in range(0, len(questions), 0x10000):
            left = list(range(first, min(first + 0x10000, len(questions))))
            for turn, quiet in enumerate(patience):
                _ask_some(client, questions, left, words, quiet, WINDOW << 2 * turn)
                left = [at for at in left if words[at] == DROP]
    return words


def _ask_some(
    client: socket.socket,
    questions: Sequence[Question],
    numbers: Sequence[int],
    words: list[str],
    quiet: float,
    window: int,
) -> None:
    """Ask the questions ``numbers``, all of one block of 65536, each by its place as id, until all are answered or
    nothing comes any more."""
    base = numbers[0] & ~0xFFFF if numbers else 0
    sent = answered = 0
    allowed = window
    while answered < len(numbers):
        while sent < min(allowed, len(numbers)):
            with suppress(BlockingIOError, ConnectionRefusedError):
                client.send(query(numbers[sent] & 0xFFFF, questions[numbers[sent]]))
            sent += 1
        if not select.select([client], [], [], quiet)[0]:
            if sent == len(numbers):
                return
            allowed = sent + window  # those that stay silent must not keep the rest from being asked
            window = min(2 * window, MAX_WINDOW)
        with suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                packet = client.recv(65535)
                at = base + int.from_bytes(packet[:2])
                if at < len(words) and words[at] == DROP and _answers(packet, questions[at]):
                    words[at] = word(packet, questions[at])
                    answered += 1
                    allowed += 1


def _answers(packet: bytes, question: Question) -> bool:
    """Whether an answer is to this question, in whatever case it has the name."""
    asked = query(0, question)[12:]
    return packet[12 : 12 + len(asked)].lower() == asked.lower()


def query(id: int, question: Question) -> bytes:
    header = struct.pack(">6H", id, 0x0100, 1, 0, 0, 0)
    return header + to_wire(question.name) + struct.pack(">2H", question.type, 1)


def word(packet: bytes, question: Question) -> str:
    """What an answer comes to."""
    flags, _, answers = struct.unpack_from(">3H", packet, 2)
    if flags & 0x0200:
        return TCP_ONLY
    if rcode := flags & 15:
        return _RCODES.get(rcode, f"rcode-{rcode}")
    records = list(_records(packet, answers))
    data = [found for rtype, found in records if rtype == question.type]
    if not records:
        return PASSED if not question.addresses() and question.type != HTTPS else "nodata"
    if any(rtype == CNAME for rtype, _ in records):
        return ALIAS  # the upstream has none
    if not data:
        return " ".join(sorted({f"type-{rtype}" for rtype, _ in records}))
    if question.type == HTTPS:
        return PASSED if DATA[HTTPS] in data else "https"
    if question.addresses() == tuple(data):
        return PASSED
    if _SINKS.issuperset(data):
        return NULL
    kind = {A: "A", AAAA: "AAAA"}[question.type]
    return "\n".join(sorted(f"{kind} {ip_address(found)}" for found in data))


def _records(packet: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    """(type, data) of the records of the answer section."""
    at = _after_name(packet, 12) + 4
    for _ in range(count):
        at = _after_name(packet, at)
        rtype, _, _, size = struct.unpack_from(">2HLH", packet, at)
        yield rtype, packet[at + 10 : at + 10 + size]
        at += 10 + size


def _after_name(packet: bytes, at: int) -> int:
    while size := packet[at]:
        if size >= 0xC0:
            return at + 2
        at += size + 1
    return at + 1


class Upstream:
    """A context manager: a server on a free port of 127.0.0.1 that has an address for every name."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended:
            with suppress(TimeoutError, ConnectionError):
                packet, client = self._socket.recvfrom(4096)
                if answer := reply(packet):
                    self._socket.sendto(answer, client)


def reply(packet: bytes) -> bytes:
    """The upstream's answer; nothing for what is no query."""
    if len(packet) < 17 or packet[2] & 0x80:
        return b""
    end = _after_name(packet, 12)
    (rtype,) = struct.unpack_from(">H", packet, end)
    question = packet[12 : end + 4]
    data = DATA.get(rtype)
    if rtype in (A, AAAA) and (found := _PROBE.match(question)):
        data = bytes.fromhex(found[1].decode())
        data = data if len(data) == len(DATA[rtype]) else None
    record = b"\xc0\x0c" + struct.pack(">2HLH", rtype, 1, 60, len(data)) + data if data else b""
    return packet[:2] + struct.pack(">5H", 0x8180, 1, bool(data), 0, 0) + question + record
