"""What is answered the short way is what the long way answers: random queries of every shape, to two engines.

One of them forgets all that is prepared before each query. Both have a policy of many verdicts, a cache and a clock of
their own, and upstreams that say the same of the same name, so every octet, every counter and every line of the query
log must be the same.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest

from sinkhole import bundle
from sinkhole.names import to_wire, wire_key
from sinkhole.policy.policy import Policy
from sinkhole.resolver.access import Access, Rules
from sinkhole.resolver.answer import blocking, failure, negative
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine, Peer, Private
from sinkhole.resolver.lookup import Handling, Lookup
from sinkhole.resolver.message import NOERROR, NXDOMAIN, Query, Response
from sinkhole.resolver.recorder import Note, texts
from sinkhole.resolver.zones import Local, Zones
from tests.bundles import opened
from tests.hostile.packets import mutate

#: How many queries. More by the environment, as in SINKHOLE_QUERIES=1000000.
QUERIES = int(os.environ.get("SINKHOLE_QUERIES", "18000"))
SEED = 20250205
AT = datetime(2025, 3, 1, tzinfo=UTC)

CONFIG = """
groups: {kids: {clients: [192.0.2.8], tokens: [kid-7fa1]}}
lists:
  ads: {sources: [./ads.txt]}
  own: {block: [more.test, deep.a.b.c.d.test, =exact.test], allow: [free.more.test]}
  watch: {block: [watched.test]}
  trusted: {type: allow, block: [good.ads.test]}
policy:
  - {groups: [all], lists: [ads, trusted]}
  - {groups: [kids], lists: [own]}
  - {groups: [all], lists: [watch], action: observe}
  - {groups: [all], directives: [kr-mofa-2025-02-05]}
block: [bad.example]
allow: [fine.bad.example]
"""
PLAIN = "||ads.test^\n||x.ads.test^\n||tracker.example^\n@@||ok.ads.test^\n"
SPECIAL = PLAIN + "/^ad[0-9]/\n||typed.test^$dnstype=AAAA\n||own.test^$dnsrewrite=192.0.2.99\n"
LOCAL = Local(
    records=(("printer.ads.test", ("A 192.0.2.10",)), ("*.wild.ads.test", ("A 192.0.2.11",))),
    forward=("test",),
)
NAMES = (
    *("ads.test", "x.ads.test", "www.x.ads.test", "ok.ads.test", "a.ok.ads.test", "good.ads.test", "more.test"),
    *("free.more.test", "deep.a.b.c.d.test", "exact.test", "below.exact.test", "watched.test", "chat.deepseek.com"),
    *("deepseek.com", "bad.example", "fine.bad.example", "printer.ads.test", "on.wild.ads.test", "wild.ads.test"),
    *("ad7.example", "typed.test", "own.test", "use-application-dns.net", "mask.icloud.com", "localhost", "a.onion"),
    *("www.example.com", "cloaked.example.com", "short.example.com", "none.example.com", "fails.example.com"),
    *("watched.test", "www.example.com", "short.example.com", "x.ads.test", "chat.deepseek.com") * 3,
    *("bundle.sinkhole", "1.0.0.127.in-addr.arpa", "test", "com", ""),
)
#: What looks as if it were below ads.test: lengths that are digits and as many contents like lengths; and a label
#: that goes on behind the first zero octet, where the packet ends; one label that is three by its octets, as another
#: name is; and octets that stand for dots in keys.
CUNNING = (
    *(b"\3www2" + b"x" * 50 + b"2" + b"x" * 41 + b"\3ads\4test\0", b"\3ads\7test\0"),
    *(b"\12www\3ads\4tes\0", b"\x0bwww\3ads.tes\1t\0", b"\3www\x08ads.test\0", b"\3www\x08ads\xfftest\0"),
    *(b"\3www\x08ads\4test\0", b"\x0cwww\3ads\4test\0", b"\3www\3ads\4test\0"),
)
#: So many that not every question has room beside them in 512 octets.
ADDRESSES = [f"192.0.2.{number}" for number in range(20)] + [f"2001:db8::{number}" for number in range(8)]
TYPES = (*(1,) * 20, *(28,) * 10, 65, 65, 65, 16, 5, 255, 0, 41, 252, 64_999)
FLAGS = (*(0x0100,) * 20, 0x0120, 0x0120, 0x0110, 0x0110, 0, 0x0130, 0x2100, 0x8100)
CLIENTS = (*("192.0.2.7",) * 9, *("192.0.2.8",) * 3, "2001:db8::7", "2001:db8::7", "192.0.2.200", "203.0.113.5")
RULES = Rules(("192.0.2.0/24", "2001:db8::/32"), rate=8, truncate=2, proxies=("192.0.2.200",))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Upstream:
    """Says the same of the same question, at once or when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self.asked = 0

    def route(self, name: bytes) -> Upstream:
        return self

    def ask(self, query: Query, done: Callable[[Response], object], client: str = "") -> None:
        self.asked += 1
        response = self.of(query)
        if crc32(query.name) % 3:
            done(response)
        else:
            self.waiting.append(lambda: done(response))

    def of(self, query: Query) -> Response:
        if query.name.startswith(b"\x04none"):
            return negative(NXDOMAIN, 20)._replace(ttl=20, ttls=(6,))
        if query.name.startswith(b"\x05fails"):
            return failure(22)
        names = (wire_key(to_wire("tracker.example")),) if b"cloaked" in query.name else ()
        ttl = 7 if b"short" in query.name else 3 + crc32(query.name) % 40
        record = b"\xc0\x0c" + query.question[-4:-2] + struct.pack("!HIH", 1, ttl, 4) + bytes((192, 0, 2, 1))
        return Response(NOERROR, bool(ttl % 2), (1, 0, 0), record, (6,), ttl, b"\0\x0f\0\3\0\x03x", names=names)


class Side:
    """An engine with all that is its own; ``forgetful`` is the one without short ways."""

    def __init__(
        self, opened: bundle.Bundle, clock: Clock, forgetful: bool, handling: Handling, mode: str | list[str]
    ) -> None:
        self.upstream = Upstream()
        self.forgetful = forgetful
        cache = Cache(1 << 30)  # what is dropped first may differ: the short way counts as one use a second
        lookup = Lookup(self.upstream.route, cache, handling, clock=clock)
        access, zones = Access(RULES, clock), Zones(LOCAL)
        self.engine = Engine(Policy(opened, AT), lookup, blocking(mode), clock, access, zones)
        self.noted: list[Note] = []
        self.engine.recorder.note = self._note

    def _note(self, note: Note) -> None:
        """Names are noted as keys, as wire or as text, and mean the same."""
        client, name, said = note
        self.noted.append((client, texts([name])[0], said))

    def ask(self, packet: bytes, peer: Peer, tcp: bool) -> list[bytes]:
        replies: list[bytes] = []
        if self.forgetful:
            self.engine.forget()
        said = self.engine.handle(packet, peer, lambda reply, _: replies.append(reply), tcp)
        return [*replies, b"%d" % said]


def name(draw: random.Random) -> bytes:
    """A wire name: a known one, one below it, in any letters, and now and then with odd octets or labels."""
    if draw.random() < 0.02:
        return draw.choice(CUNNING)
    text = draw.choice(NAMES)
    labels = [label.encode() for label in text.split(".")] if text else []
    kind = draw.random()
    if kind < 0.3:
        labels.insert(0, b"%d" % draw.randrange(1 << draw.choice((2, 20))))
    elif kind < 0.36:  # one label that reads as two, or as a length and a label
        at = draw.randrange(len(labels) + 1)
        labels[at : at + 2] = [
            draw.choice((b".", b"\x03", b"\n", b"\xff", b"\0")).join(labels[at : at + 2])[:63] or b"x"
        ]
    elif kind < 0.4:
        labels.insert(0, draw.randbytes(draw.choice((1, 44, 45, 50, 63))))
    elif kind < 0.46:
        labels = [b"x" * draw.choice((30, 40, 44, 44, 45)) for _ in range(draw.randrange(2, 7))] + labels
    if draw.random() < 0.3:
        labels = [bytes(draw.choice((o, o ^ 32 if 65 <= o & ~32 <= 90 else o)) for o in label) for label in labels]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def query(draw: random.Random) -> bytes:
    ident, flags = draw.randrange(65_536), draw.choice(FLAGS)
    question = name(draw) + struct.pack("!2H", draw.choice(TYPES), draw.choice((*(1,) * 30, 3, 255)))
    extra = b""
    if draw.random() < 0.5:
        options = draw.choice((b"", b"", b"", b"\0\x0a\0\x08" + bytes(8), b"\0\x0f\0\2\0\0", b"\0\x0c\0\3\0\0\0"))
        if draw.random() < 0.1:
            options += b"\0\x08\0\x08\0\1\x20\0" + bytes((192, 0, 2, draw.choice((7, 8))))
        size, do = draw.choice((0, 512, 1232, 4096)), draw.choice((0, 0, 0x8000, 1 << 16))
        extra = b"\0" + struct.pack("!2HIH", 41, size, do, len(options)) + options
    if draw.random() < 0.02:
        extra += draw.randbytes(draw.randrange(1, 12))
    return struct.pack("!6H", ident, flags, 1, 0, 0, bool(extra)) + question + extra


@pytest.mark.parametrize(
    ("feed", "mode"), [(PLAIN, "null-ip"), (SPECIAL, "nxdomain"), (PLAIN, ADDRESSES)], ids=["plain", "special", "long"]
)
@pytest.mark.parametrize("handling", [Handling(), Handling(prefetch=False, cloaking=False)], ids=["", "no prefetch"])
def test_the_short_way_says_what_the_long_way_says(
    tmp_path: Path, feed: str, mode: str | list[str], handling: Handling
) -> None:
    draw = random.Random(SEED)
    lists = opened(tmp_path, CONFIG, {"ads.txt": feed})
    clock = Clock()
    short, long = (Side(lists, clock, forgetful, handling, mode) for forgetful in (False, True))
    asked = [query(draw)]
    for number in range(QUERIES // 6):
        if draw.random() < 0.75:
            packet = draw.randbytes(2) + draw.choice(asked[-draw.choice((3, 400)) :])[2:]  # the same once more
        else:
            packet = query(draw) if draw.random() < 0.9 else mutate(draw, asked[-50:])
            asked.append(packet)
            if len(asked) > 400:
                del asked[: draw.choice((1, 300))]
        tcp = draw.random() < 0.2
        host = draw.choice(CLIENTS)
        peer = Private(host, 853, draw.choice(("", "kid-7fa1.dns.test"))) if tcp and number % 2 else (host, 4242)
        said = short.ask(packet, peer, tcp)
        assert said == long.ask(packet, peer, tcp), packet.hex()
        assert short.noted == long.noted, packet.hex()
        short.noted, long.noted = [], []
        if draw.random() < 0.1:
            clock.now += draw.choice((0.0625, 0.25, 0.5, 1, 5))
        if draw.random() < 0.05:
            for side in (short, long):
                waiting, side.upstream.waiting = side.upstream.waiting, []
                for done in waiting:
                    done()
        if number % 500 == 499:
            assert asdict(short.engine.counters) == asdict(long.engine.counters)
    counters = short.engine.counters
    assert counters.errors == 0
    assert short.upstream.asked == long.upstream.asked
    assert min(counters.blocked, counters.cached, counters.local, counters.refused, counters.limited) > 20
    assert handling.prefetch == bool(counters.prefetched)
    assert short.engine._kept > 50
    assert short.engine._formed > 50
    assert len(short.engine._shapes) > 50
