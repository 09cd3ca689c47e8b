"""What is written down of every query: collected while queries are answered, handed over as JSON lines in batches.

A query costs one append: ``note((client, name, said))``. ``said`` is the constant end of its line, made once for all
queries alike (:meth:`Recorder.said`). A listener calls :meth:`Recorder.stamp` for each batch of packets, which is the
only clock. Lines are made of many notes at once, and go over a socket to the process that stores them; nobody waits
for it: what it does not take in time is dropped and counted. docs/operation.md has the members of a line.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import ip_network
from itertools import compress
from typing import NamedTuple, Protocol, cast

from sinkhole.names import present, wire_key
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.access import Networks, packed
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.message import CH, IN, QUESTION

#: Notes that are made into lines at once, and the seconds that others wait for that.
BATCH, TICK = 512, 0.1
#: Ticks with nothing to do after which they end until the next packet: by then no lookup is under way any more.
REST = 100
#: Octets of a message to the process that stores, and messages that wait for it.
MAX_MESSAGE, MAX_WAITING = 60_000, 64
#: Seconds that the last messages wait when a process ends.
FAREWELL = 0.5
#: Ends of lines, and addresses, that are kept.
_MAX_SAID, _MAX_CLIENTS = 10_000, 10_000

_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-_.\n"
_DECISIONS = "|".join(action for action in Action if action is not Action.FORWARD)
_DECIDED = re.compile(f'^","type":"[^"]+","action":"(?:{_DECISIONS})"').match
#: Bits of the networks that stand for a client where addresses are not recorded, by octets of an address.
_PREFIXES = {4: 24, 16: 56}
#: Types that are met every day; the library that knows the others is imported for the first of those.
_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV"}
_TYPES |= {43: "DS", 48: "DNSKEY", 64: "SVCB", 65: "HTTPS", 255: "ANY"}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN"}
_RCODES |= {9: "NOTAUTH", 16: "BADVERS"}


class Outcome(StrEnum):
    """What became of a query: how it was answered, or that it was not."""

    BLOCKED = "blocked"
    LOCAL = "local"
    CACHED = "cached"
    STALE = "stale"
    FORWARDED = "forwarded"
    REFUSED = "refused"
    DROPPED = "dropped"
    FAILED = "failed"


class Recording(NamedTuple):
    """What is recorded: ``all`` queries, those that a policy made a ``decisions`` on, or ``none``; of clients the
    ``full`` address, the ``network`` (/24, /56), or ``none``; and nothing of clients in ``exempt`` networks."""

    record: str = "all"
    clients: str = "full"
    exempt: tuple[str, ...] = ()


#: A name for a note: its wire name, or its key unless that has an octet 0xFF, which may stand for several; or the text
#: that :func:`named` makes of it, which is for names that are noted again and again.
Named = bytes | str
#: (client's address, name, end of the line)
Note = tuple[str, Named, str]


class Timer(Protocol):
    def cancel(self) -> None: ...


def _later(delay: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, call)


def named(wire: bytes, key: bytes) -> str:
    """The text of a name in a line, given its wire name and its key."""
    if key and not key.translate(None, _PLAIN):
        return key[-2::-1].decode()
    return json.dumps(present(wire))[1:-1]


class Recorder:
    """Collects notes and sends them over ``sock`` (SOCK_SEQPACKET), each message some whole lines; without one it
    forgets them. ``clock`` gives seconds since 1970, ``later`` calls a function after some."""

    def __init__(
        self,
        sock: socket.socket | None = None,
        counters: Counters | None = None,
        clock: Callable[[], float] = time.time,
        later: Callable[[float, Callable[[], None]], Timer] = _later,
    ) -> None:
        self._sock = sock
        self._counters = counters or Counters()
        self._clock = clock
        self._later = later
        self._timer: Timer | None = None
        self._idle = 0
        self._notes: list[Note] = []
        self._stamps: list[tuple[int, float]] = []
        self._said: dict[tuple[bytes, Outcome, int | None, Verdict | None, bool], str] = {}
        self._second, self._second_text = -1, ""
        self._waiting: deque[bytes] = deque()
        self.configure(Recording() if sock else Recording("none"))

    def configure(self, recording: Recording) -> None:
        """Record so from now on. What was noted before is handed over as it was to be."""
        self.flush()
        self._off = self._sock is None or recording.record == "none"
        self._decisions = recording.record == "decisions"
        self._picky = self._decisions or bool(recording.exempt)
        self._clients = _Clients(recording.clients, Networks(recording.exempt))
        #: Takes a note.
        self.note: Callable[[Note], None] = deque[Note](maxlen=0).append if self._off else self._notes.append

    def said(
        self,
        question: bytes,
        outcome: Outcome,
        rcode: int | None = None,
        verdict: Verdict | None = None,
        judged: bool = False,
    ) -> str:
        """The end of a line, everything after the name. ``question`` is the type and class as octets; ``rcode`` is
        None without an answer, ``verdict`` where no policy was asked; ``judged``: it is on what the name led to."""
        alike = question, outcome, rcode, verdict, judged
        said = self._said.get(alike)
        if said is None:
            if len(self._said) >= _MAX_SAID:
                self._said.clear()
            said = self._said[alike] = _said(*alike)
        return said

    def stamp(self) -> None:
        """Say that what is noted from here on happens now."""
        if self._off:
            return
        self._stamps.append((len(self._notes), self._clock()))
        if len(self._notes) >= BATCH:
            self.flush()
        if self._timer is None:
            self._idle = 0
            self._timer = self._later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._idle = 0 if self._notes or self._waiting else self._idle + 1
        self.flush()
        if self._idle < REST:
            self._timer = self._later(TICK, self._tick)

    def flush(self) -> None:
        """Hand over what was noted."""
        if notes := self._notes[:]:
            self._notes.clear()
            text = self._lines(notes).encode()
            at = 0
            while at < len(text):
                end = len(text) if len(text) - at <= MAX_MESSAGE else text.rfind(b"\n", at, at + MAX_MESSAGE) + 1
                self._waiting.append(text[at:end])
                at = end
        self._stamps = [(0, self._clock())]
        if self._waiting:
            self._send()

    def close(self) -> None:
        """Hand over the rest, waiting a moment for who takes it."""
        if self._timer:
            self._timer.cancel()
        self.flush()
        if self._sock:
            self._sock.settimeout(FAREWELL)
            self._send(0)
            self._sock.close()
            self._sock, self._off = None, True

    def _send(self, flags: int = socket.MSG_DONTWAIT) -> None:
        assert self._sock
        waiting = self._waiting
        try:
            while waiting:
                self._sock.send(waiting[0], flags)
                waiting.popleft()
        except OSError:  # it has not yet taken what came before, or is gone: then so are we, soon
            while len(waiting) > MAX_WAITING:
                self._counters.unlogged += waiting.popleft().count(b"\n")

    def _lines(self, notes: list[Note]) -> str:
        askers, names, ends = zip(*notes, strict=True)
        columns = [self._times(len(notes)), [*map(self._clients.__getitem__, askers)], names, ends]
        if self._picky:
            picked = zip(columns[1], ends, strict=True)
            kept = [client and (not self._decisions or _DECIDED(end)) for client, end in picked]
            columns = [[*compress(column, kept)] for column in columns]
        columns[2] = texts(columns[2])
        parts = [""] * (4 * len(columns[0]))
        for number, column in enumerate(columns):
            parts[number::4] = column
        return "".join(parts)

    def _times(self, count: int) -> list[str]:
        """The beginning of each line, with the time of the stamp before its note."""
        times: list[str] = []
        stamps = self._stamps or [(0, self._clock())]
        for (_, at), (until, _) in zip(stamps, [*stamps[1:], (count, 0.0)], strict=True):
            if until > len(times):
                times += [self._time(at)] * (until - len(times))
        return times

    def _time(self, at: float) -> str:
        second, milliseconds = divmod(int(at * 1000), 1000)
        if second != self._second:
            self._second, self._second_text = second, time.strftime('{"time":"%Y-%m-%dT%H:%M:%S', time.gmtime(second))
        return f'{self._second_text}.{milliseconds:03}Z",'


class _Clients(dict[str, str]):
    """The part of a line that tells the client, up to the name, by its address; empty for one that is exempt."""

    def __init__(self, mode: str, exempt: Networks) -> None:
        self._mode = mode
        self._exempt = exempt

    def __missing__(self, client: str) -> str:
        if len(self) >= _MAX_CLIENTS:
            self.clear()
        octets = packed(client)
        shown = "" if self._mode == "none" else f'"client":{json.dumps(self._shown(client, octets))},'
        self[client] = told = "" if octets in self._exempt else f'{shown}"name":"'
        return told

    def _shown(self, client: str, octets: bytes) -> str:
        if self._mode == "network":
            return str(ip_network((octets, _PREFIXES[len(octets)]), strict=False))
        if len(octets) == 4:  # an IPv4 address, however a socket writes it
            return socket.inet_ntop(socket.AF_INET, octets)
        return client


def _said(question: bytes, outcome: Outcome, rcode: int | None, verdict: Verdict | None, judged: bool) -> str:
    qtype, qclass = QUESTION.unpack(question)
    action = verdict.action if verdict else "local" if outcome is Outcome.LOCAL else None
    members = {
        "type": _type(qtype),
        "class": {IN: None, CH: "CH"}.get(qclass, f"CLASS{qclass}"),
        "action": action,
        "directive": verdict and verdict.directive,
        "list": verdict and verdict.list,
        "exception": verdict and verdict.exception,
        "judged": "answer" if judged else None,
        "outcome": outcome,
        "rcode": None if rcode is None else _RCODES.get(rcode, f"RCODE{rcode}"),
    }
    told = json.dumps({key: value for key, value in members.items() if value is not None}, separators=(",", ":"))
    return f'","{told[2:]}\n'


def _type(number: int) -> str:
    if number not in _TYPES:
        from dnslib import QTYPE  # here, because every worker would pay for it

        _TYPES[number] = QTYPE.forward.get(number, f"TYPE{number}")  # RFC 3597 5
    return _TYPES[number]


def texts(noted: Sequence[Named]) -> Sequence[str]:
    """The texts of names."""
    raw = [name for name in noted if name.__class__ is bytes]
    if not raw:
        return cast(Sequence[str], noted)
    if len(raw) == len(noted):
        return _made(raw)
    made = iter(_made(raw))
    return [next(made) if name.__class__ is bytes else cast(str, name) for name in noted]


def _made(noted: list[bytes]) -> list[str]:
    """:func:`named` for many names, by a few calls when none of them is odd."""
    keys, text = noted, b"\n".join(noted)
    if text.translate(None, _PLAIN):  # at least one wire name: each has a zero
        keys = [name if name[-1:] == b"." else wire_key(name) for name in noted]
        text = b"\n".join(keys)
    if all(keys) and not text.translate(None, _PLAIN):
        return text.decode()[-2::-1].replace("\n.", "\n").split("\n")[::-1]
    return [named(_wire(key) if name is key else name, key) for name, key in zip(noted, keys, strict=True)]


def _wire(key: bytes) -> bytes:
    """The wire name of a key without ambiguous octets."""
    return b"".join(bytes((len(label),)) + label for label in key[-2::-1].split(b".")) + b"\0"
