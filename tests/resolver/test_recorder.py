from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sinkhole.names import present, to_wire, wire_key
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.access import Access, Rules
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.engine import Engine, Private
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.message import Query, Response
from sinkhole.resolver.recorder import (
    BATCH,
    MAX_MESSAGE,
    MAX_WAITING,
    REST,
    TICK,
    Named,
    Outcome,
    Recorder,
    Recording,
    named,
)
from sinkhole.resolver.upstream import Done, Forwarder
from sinkhole.resolver.zones import Local, Zones
from tests.resolver.serving import BLOCK, Trees
from tests.resolver.test_engine import ADDRESS, wire

A, AAAA = b"\0\1\0\1", b"\0\x1c\0\1"
AT = 1_741_000_000.25
CLIENT = "192.0.2.7"


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class World:
    """A recorder, the end of the socket that its lines arrive at, its clock and its timers."""

    def __init__(self) -> None:
        self.far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.setblocking(False)
        self.now = AT
        self.timers: list[Timer] = []
        self.counters = Counters()
        self.recorder = Recorder(near, self.counters, lambda: self.now, self.later)

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        assert delay == TICK
        self.timers.append(timer := Timer(call))
        return timer

    def tick(self) -> None:
        """Let the time of a tick pass."""
        due, self.timers = self.timers, []
        self.now += TICK
        for timer in due:
            if timer.call:
                timer.call()

    def messages(self) -> Iterator[bytes]:
        with suppress(BlockingIOError):
            while message := self.far.recv(1 << 20):
                yield message

    def lines(self) -> list[dict[str, Any]]:
        """What has arrived: one JSON object a line."""
        return [json.loads(line) for message in self.messages() for line in message.decode("ascii").splitlines()]

    def written(self) -> list[dict[str, Any]]:
        self.recorder.flush()
        return self.lines()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.recorder.close()
    made.far.close()


def note(recorder: Recorder, name: str = "www.example.com", client: str = CLIENT) -> None:
    recorder.note((client, wire_key(to_wire(name)), recorder.said(A, Outcome.BLOCKED, 0, BLOCK)))


def test_a_line_has_what_decided(world: World) -> None:
    world.recorder.stamp()
    note(world.recorder)
    assert world.written() == [
        {
            "time": "2025-03-03T11:06:40.250Z",
            "client": "192.0.2.7",
            "name": "www.example.com",
            "type": "A",
            "action": "block",
            "directive": "xx-2025-01-01",
            "list": "ai",
            "outcome": "blocked",
            "rcode": "NOERROR",
        }
    ]


@pytest.mark.parametrize(
    ("said", "members"),
    [
        ((AAAA, Outcome.FORWARDED, 3, FORWARD), {"type": "AAAA", "action": "forward", "rcode": "NXDOMAIN"}),
        ((A, Outcome.LOCAL, 0), {"type": "A", "action": "local", "rcode": "NOERROR"}),
        ((b"\0\xff\0\1", Outcome.LOCAL, 0, FORWARD), {"type": "ANY", "action": "forward", "rcode": "NOERROR"}),
        ((A, Outcome.REFUSED, 4), {"type": "A", "rcode": "NOTIMP"}),
        ((A, Outcome.DROPPED, None, BLOCK), {"type": "A", "action": "block", "directive": "xx-2025-01-01"}),
        ((b"\0\x10\0\3", Outcome.REFUSED, 5), {"type": "TXT", "class": "CH", "rcode": "REFUSED"}),
        ((b"\x01\x01\0\1", Outcome.CACHED, 2, FORWARD), {"type": "CAA", "action": "forward", "rcode": "SERVFAIL"}),
        ((b"\xff\x01\xab\xcd", Outcome.REFUSED, 77), {"type": "TYPE65281", "class": "CLASS43981", "rcode": "RCODE77"}),
        ((A, Outcome.BLOCKED, 0, BLOCK, True), {"type": "A", "action": "block", "judged": "answer"}),
        (
            (A, Outcome.FORWARDED, 0, Verdict(Action.ALLOW, exception="e7")),
            {"type": "A", "action": "allow", "exception": "e7", "rcode": "NOERROR"},
        ),
    ],
    ids=lambda case: str(case)[:40],
)
def test_every_kind_of_end(world: World, said: Any, members: dict[str, str]) -> None:
    world.recorder.note((CLIENT, b"\1a\0", world.recorder.said(*said)))
    (line,) = world.written()
    assert members.items() <= line.items()
    assert line["outcome"] == said[1]
    assert (line["name"], "class" in line, "rcode" in line) == ("a", "class" in members, said[2] is not None)


def test_ends_alike_are_one_object_and_are_bounded(world: World) -> None:
    said = world.recorder.said
    assert said(A, Outcome.BLOCKED, 0, BLOCK) is said(A, Outcome.BLOCKED, 0, BLOCK._replace())
    for number in range(30_000):  # as many types as a client may ask for
        said(number.to_bytes(2) + b"\0\1", Outcome.FORWARDED, 0, FORWARD)
    assert len(world.recorder._said) <= 10_000


def octets(*labels: bytes) -> bytes:
    """A wire name of labels."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


ODD = {
    "line feed and NUL": octets(b"a\nb", b"c\0d", b"test"),
    "quote and backslash": octets(b'"a\\b"', b"test"),
    "escape and bell": octets(b"\x1b[31m\x07", b"test"),
    "not ASCII": octets(b"\xff\xfe\xc3\xa9", b"test"),
    "a dot inside a label": octets(b"ads.example"),
    "a length that is a letter": octets(b"z" * 63, b"test"),
    "markup": octets(b"<img/src='x'/onerror=alert(1)> &", b"test"),
    "an octet that is a length": octets(b"a\3com"),
    "U+2028 and U+0085": octets(b"\xe2\x80\xa8\xc2\x85", b"test"),
    "space, tab, delete": octets(b" \t\x7f,", b"test"),
    "the root": octets(),
    "255 octets": octets(*[b"\n" * 63] * 3, b"\0" * 61),
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_odd_names_are_escaped_on_one_line_among_others(world: World, name: bytes) -> None:
    """Names with control characters, quotes, escapes and other octets: one line each, in ASCII, reversible."""
    assert len(name) <= 255
    for sent in (octets(b"x", b"y"), name, to_wire("www.example.com")):
        key = wire_key(sent)
        noted: list[Named] = [sent, named(sent, key), *([key] if key and b"\xff" not in key else [])]
        for shape in noted:
            world.recorder.note((CLIENT, shape, world.recorder.said(A, Outcome.FORWARDED, 0, FORWARD)))
    lines = world.written()
    assert [line["name"] for line in lines].count(present(name)) >= 2
    assert {line["name"] for line in lines} == {"x.y", "www.example.com", present(name)}


def test_random_names_are_written_as_they_are_shown(world: World) -> None:
    """Ten thousand names of every octet: the short way and the long one say the same."""
    draw = random.Random(7)
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
    names, written = list[bytes](), list[str]()
    for number in range(10_000):
        some = plain if draw.random() < 0.999 else bytes(range(256))
        labels = [bytes(draw.choices(some, k=draw.randint(1, 12))).lower() for _ in range(draw.randint(0, 5))]
        names.append(name := octets(*labels))
        key = wire_key(name)
        shapes: list[Named] = [name, named(name, key), key if key and b"\xff" not in key else name]
        world.recorder.note((CLIENT, draw.choice(shapes), world.recorder.said(A, Outcome.CACHED, 0, FORWARD)))
        if number % 100 == 99:
            written += [line["name"] for line in world.written()]
    assert written == [present(name) for name in names]


def test_times_are_those_of_the_batch(world: World) -> None:
    world.recorder.stamp()
    note(world.recorder, "a.test")
    world.now += 0.0504
    world.recorder.stamp()
    world.recorder.stamp()  # a batch in which nothing was noted
    world.now += 1
    world.recorder.stamp()
    note(world.recorder, "b.test")
    note(world.recorder, "c.test")
    assert [(line["name"], line["time"][17:]) for line in world.written()] == [
        ("a.test", "40.250Z"), ("b.test", "41.300Z"), ("c.test", "41.300Z"),
    ]  # fmt: skip


def test_a_note_waits_for_no_more_than_a_tick_and_an_idle_recorder_for_nothing(world: World) -> None:
    world.recorder.stamp()
    note(world.recorder)
    world.tick()
    assert len(world.lines()) == 1
    note(world.recorder)  # the answer of an upstream, long after its query
    world.tick()
    assert [line["time"] for line in world.lines()] == ["2025-03-03T11:06:40.350Z"]
    for _ in range(REST):
        world.tick()
    assert not world.timers
    world.recorder.stamp()
    assert world.timers


def test_many_notes_go_before_the_tick(world: World) -> None:
    for _ in range(BATCH):
        note(world.recorder)
    assert world.lines() == []
    world.recorder.stamp()
    assert len(world.lines()) == BATCH


def test_messages_are_whole_lines_of_bounded_size(world: World) -> None:
    for number in range(2 * BATCH):
        world.recorder.note((CLIENT, ODD["255 octets"], world.recorder.said(A, Outcome.FORWARDED, 0, FORWARD)))
        note(world.recorder, f"{number}.test")
        if number % 60 == 59:
            world.recorder.flush()
            found = [*world.messages()]
            assert len(found) > 1
            assert all(message.endswith(b"\n") and len(message) <= MAX_MESSAGE for message in found)
            assert sum(message.count(b"\n") for message in found) == 120
    assert not world.counters.unlogged


def test_who_does_not_take_lines_is_not_waited_for_and_loses_the_oldest(world: World) -> None:
    """Nobody reads: memory is bounded, every line that is lost is counted, and the newest come when somebody does."""
    count = 300
    for number in range(count):
        for _ in range(BATCH):
            note(world.recorder, f"{number}.test")
        world.recorder.flush()
    assert len(world.recorder._waiting) == MAX_WAITING
    lost = world.counters.unlogged
    assert lost > 0
    arrived = [line["name"] for line in world.written()]
    for _ in range(MAX_WAITING):
        world.recorder.flush()
        arrived += [line["name"] for line in world.lines()]
    assert len(arrived) + lost == count * BATCH
    assert arrived[-1] == f"{count - 1}.test"
    assert world.counters.unlogged == lost


def test_nobody_is_there_any_more(world: World) -> None:
    world.far.close()
    for _ in range(2 * MAX_WAITING):
        note(world.recorder)
        world.recorder.flush()
    assert world.counters.unlogged == MAX_WAITING


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("full", ["192.0.2.7", "192.0.2.7", "2001:db8:1:2ff::7", 'fe80::1%"eth\n0']),
        ("network", ["192.0.2.0/24", "192.0.2.0/24", "2001:db8:1:200::/56", "fe80::/56"]),
        ("none", [None] * 4),
    ],
)
def test_what_is_told_of_clients(world: World, mode: str, told: list[str | None]) -> None:
    world.recorder.configure(Recording(clients=mode))
    for client in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1:2ff::7", 'fe80::1%"eth\n0'):
        note(world.recorder, client=client)
    lines = world.written()
    assert [line.get("client") for line in lines] == told
    assert all(("client" in line) == (mode != "none") for line in lines)


def test_clients_that_are_known_are_bounded(world: World) -> None:
    for number in range(25_000):
        note(world.recorder, client=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        if number % BATCH == 0:
            assert world.written()[-1]["client"].startswith("10.0.")
    assert len(world.recorder._clients) <= 10_000


class Told(Forwarder):
    """A forwarder that answers at once."""

    def __init__(self) -> None:
        super().__init__([])
        self.response = ADDRESS
        self.askers: list[Done] = []

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        done(self.response)


def verdict(action: Action, **more: Any) -> Verdict:
    return Verdict(action, list="ads", **more)


POLICY = Trees(
    {
        "blocked.example.com": BLOCK,
        "allow.example.com": Verdict(Action.ALLOW, exception="e1"),
        "warn.example.com": verdict(Action.WARN),
        "observe.example.com": verdict(Action.OBSERVE),
        "drop.example.com": verdict(Action.BLOCK, mode="drop"),
        "tcp.example.com": verdict(Action.BLOCK, mode="tcp-only"),
        "own.example.com": verdict(Action.BLOCK, mode="A 192.0.2.80"),
        "long.example.com": verdict(Action.BLOCK, mode="CNAME *." + "x" * 63),
        "alias.example.com": verdict(Action.BLOCK, mode="CNAME garden.example"),
    }
)


def engine(world: World, response: Response = ADDRESS, access: Rules | None = None) -> Engine:
    told = Told()
    told.response = response
    zones = Zones(Local((("printer.lan", ("A 192.0.2.10",)), ("alias.lan", ("CNAME example.com",))), version="7"))
    lookup = Lookup(lambda name: told, Cache(stale=86_400), clock=lambda: world.now)
    return Engine(
        POLICY, lookup, blocking("null-ip"), lambda: world.now, access and Access(access), zones, world.recorder
    )


def asked(target: Engine, *names: str, qtype: str = "A", peer: Any = (CLIENT, 4242), **options: Any) -> None:
    for name in names:
        target.handle(wire(name, qtype, **options), peer, lambda reply, to: None, bool(options.get("tcp")))


def test_every_answer_is_written_down_once(world: World) -> None:
    target = engine(world)
    asked(target, "a.blocked.example.com", "A.BLOCKED.example.COM")
    asked(target, "example.net", "example.net", "printer.lan", "alias.lan")
    asked(
        target, *(f"{kind}.example.com" for kind in ("x.allow", "x.warn", "x.observe", "drop", "tcp", "own", "alias"))
    )
    asked(target, "nothing.example.net", "example.net", qtype="ANY")
    asked(target, ".".join(["y" * 60] * 3) + ".long.example.com")
    told = [(line["name"][:21], line.get("action"), line["outcome"], line.get("rcode")) for line in world.written()]
    assert told == [
        ("a.blocked.example.com", "block", "blocked", "NOERROR"),
        ("a.blocked.example.com", "block", "blocked", "NOERROR"),
        ("example.net", "forward", "forwarded", "NOERROR"),
        ("example.net", "forward", "cached", "NOERROR"),
        ("printer.lan", "local", "local", "NOERROR"),
        ("alias.lan", "local", "local", "NOERROR"),
        ("x.allow.example.com", "allow", "forwarded", "NOERROR"),
        ("x.warn.example.com", "warn", "forwarded", "NOERROR"),
        ("x.observe.example.com", "observe", "forwarded", "NOERROR"),
        ("drop.example.com", "block", "dropped", None),
        ("tcp.example.com", "block", "blocked", "NOERROR"),
        ("own.example.com", "block", "blocked", "NOERROR"),
        ("alias.example.com", "block", "blocked", "NOERROR"),
        ("nothing.example.net", "forward", "local", "NOERROR"),
        ("example.net", "forward", "local", "NOERROR"),
        ("y" * 21, "block", "blocked", "YXDOMAIN"),
    ]


def test_a_stale_answer_is_written_down_as_such(world: World) -> None:
    target = engine(world, ADDRESS)
    asked(target, "example.net")
    world.now += 400
    target.lookup.route = lambda name: Silent()
    target.lookup._later = world_later = Later()
    asked(target, "example.net")
    assert [line["outcome"] for line in world.written()] == ["forwarded"]
    world_later.call()
    asked(target, "example.net")
    assert [line["outcome"] for line in world.written()] == ["stale", "stale"]


class Silent:
    def ask(self, query: Query, done: Callable[[Response], None], client: str) -> None:
        """Nobody answers."""


class Later:
    def __call__(self, delay: float, call: Callable[[], None]) -> Timer:
        self.call = call
        return Timer(call)


def test_what_an_answer_led_to_is_named_as_the_reason(world: World) -> None:
    target = engine(world, ADDRESS._replace(names=(b"moc.elpmaxe.dekcolb.x.",)))
    asked(target, "www.example.net")
    (line,) = world.written()
    assert (line["action"], line["outcome"], line["list"], line["judged"]) == ("block", "blocked", "ai", "answer")


def test_what_is_refused_is_written_down_and_strangers_are_not(world: World) -> None:
    """Whoever may not ask, with whatever, cannot fill the log."""
    target = engine(world, access=Rules(allow=("192.0.2.0/24",)))
    chaos = wire("version.bind", "TXT")[:-1] + b"\3"
    for client in ("198.51.100.7", CLIENT):
        asked(target, "example.net", "x.blocked.example.com", peer=(client, 4242))
        asked(target, "example.net", qtype="AXFR", peer=(client, 4242))
        target.handle(chaos, (client, 1), lambda reply, to: None)
        target.handle(wire("x.test")[:14], (client, 1), lambda reply, to: None)  # cut short: no name is known
    assert [(line["client"], line["type"], line["outcome"], line["rcode"]) for line in world.written()] == [
        (CLIENT, "A", "forwarded", "NOERROR"),
        (CLIENT, "A", "blocked", "NOERROR"),
        (CLIENT, "AXFR", "refused", "REFUSED"),
        (CLIENT, "TXT", "local", "NOERROR"),
    ]


def test_of_clients_that_are_exempt_nothing_is_written(world: World) -> None:
    world.recorder.configure(Recording(exempt=("192.0.2.8/29", "2001:db8::/32")))
    for client in ("192.0.2.7", "192.0.2.8", "192.0.2.15", "192.0.2.16", "2001:db8::1", "::ffff:192.0.2.9", "::1"):
        note(world.recorder, client=client)
    assert [line["client"] for line in world.written()] == ["192.0.2.7", "192.0.2.16", "::1"]


def test_the_client_is_the_one_that_a_trusted_forwarder_names(world: World) -> None:
    target = engine(world, access=Rules(proxies=("192.0.2.53",)))
    subnet = b"\0\1\x20\0\xc0\0\2\x63"  # 192.0.2.99/32
    packet = wire("a.blocked.example.com", edns=0, options=[__import__("dns.edns").edns.GenericOption(8, subnet)])
    for peer in (("192.0.2.53", 9), ("192.0.2.7", 9), Private("192.0.2.53", 9, "x")):
        target.handle(packet, peer, lambda reply, to: None)
    assert [line["client"] for line in world.written()] == ["192.0.2.99", "192.0.2.7", "192.0.2.99"]


def test_queries_over_the_limit_are_counted_and_not_written(world: World) -> None:
    target = engine(world, access=Rules(rate=5))
    asked(target, *["a.blocked.example.com"] * 50)
    assert target.counters.limited == 45
    assert len(world.written()) == 5


def test_decisions_alone(world: World) -> None:
    world.recorder.configure(Recording("decisions"))
    target = engine(world)
    asked(target, "example.net", "a.blocked.example.com", "printer.lan", "a.blocked.example.com")
    asked(target, "x.warn.example.com", "x.allow.example.com")
    assert [line["action"] for line in world.written()] == ["block", "block", "warn", "allow"]


def test_nothing_is_kept_when_nothing_is_recorded(world: World) -> None:
    world.recorder.configure(Recording("none"))
    target = engine(world)
    asked(target, "a.blocked.example.com", "a.blocked.example.com", "example.com")
    world.recorder.stamp()
    assert (world.written(), world.timers) == ([], [])
    world.recorder.configure(Recording())
    asked(target, "a.blocked.example.com")
    assert len(world.written()) == 1


def test_the_last_lines_go_out_at_the_end(world: World) -> None:
    note(world.recorder)
    world.recorder.close()
    assert len(world.lines()) == 1
