"""One query from packet to answer: the order of the stages, and why each stands where it does.

The engine knows no socket. A listener hands it a packet, the asker and a function that sends; an upstream's answer
comes back as a call. Its state is the policy in force, what was judged by it, and the prepared answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from sinkhole.names import present, wire_key
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver import local
from sinkhole.resolver.access import DENIED, IGNORED, PROXY, WELCOME, Access, Bucket, behind
from sinkhole.resolver.answer import (
    MAX_PLAIN,
    MODES,
    NOT_SUPPORTED,
    OTHER,
    PROHIBITED,
    Blocking,
    blocked,
    ede,
    explained,
    minimal_any,
    pack,
)
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.inspection import Inspection
from sinkhole.resolver.lookup import Done, Lookup
from sinkhole.resolver.message import (
    ANY,
    BARE_OPT,
    HEADER,
    NOERROR,
    NOTIMP,
    REFUSED,
    SERVFAIL,
    TC,
    YXDOMAIN,
    Query,
    Response,
    read_query,
)
from sinkhole.resolver.recorder import Outcome, Recorder, named
from sinkhole.resolver.zones import Zones

log = logging.getLogger(__name__)

#: What a verdict may say of the answer that :func:`~sinkhole.resolver.answer.blocked` knows.
_ORDINARY = frozenset({None, *MODES})

#: How many answers are kept prepared, about 300 octets each, and how many addresses.
MAX_PREPARED, MAX_ASKERS = 20_000, 100_000
_NOT_ALLOWED = Response(REFUSED, options=ede(PROHIBITED))

#: Queries for names that are only watched are logged, at most so many in a second.
MAX_LINES = 10

#: An asker: what ``recvfrom`` gives, with the address first.
Peer = tuple[Any, ...]
Send = Callable[[bytes, Peer], object]


class Private(NamedTuple):
    """An asker over an encrypted connection, and the name that it called us by (SNI), lower-cased; empty without."""

    host: str
    port: int
    name: str


class Handle(Protocol):
    """:meth:`Engine.handle`."""

    def __call__(self, packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool: ...


class Policy(Protocol):
    """What decides. It is constant while in force: a change is another object."""

    def profile(self, client: str, token: str = "") -> int:
        """The number of the set of rules that holds for an address, and for the token that its user gave."""

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        """The verdict on a name, given as its key (:func:`sinkhole.names.wire_key`), and a record type."""

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        """The number of the set of rules that holds for what a name leads to."""

    @property
    def by_address(self) -> Callable[[int, tuple[bytes, ...], int], Verdict] | None:
        """The verdict on the addresses of an answer (profile, addresses, record type); None without rules on them."""


class Engine:
    """Answers queries. ``clock`` gives monotonic seconds; without ``zones`` nothing is answered locally, and without
    ``recorder`` nothing is written down."""

    def __init__(
        self,
        policy: Policy,
        lookup: Lookup,
        blocking: Blocking,
        clock: Callable[[], float] = time.monotonic,
        access: Access | None = None,
        zones: Zones | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._access = access or Access()
        self.policy = policy
        self.lookup = lookup
        self.blocking = blocking
        #: EDNS options that every forwarded answer gets besides.
        self.notice = b""
        self.zones = zones
        self.recorder = recorder or Recorder()
        self.counters: Counters = lookup.counters
        self._clock = clock
        self._quiet_until = 0.0
        self._second, self._lines = 0.0, 0

    @property
    def policy(self) -> Policy:
        """The policy in force. Setting it forgets every answer that the former prepared, and what it judged."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._inspection = Inspection(policy)
        self._askers: dict[str, tuple[int, Bucket]] = {}
        self._prepared: dict[tuple[int, bytes], tuple[_Prepared, bytes]] = {}
        self._shared: dict[_Prepared, _Prepared] = {}

    @property
    def access(self) -> Access:
        """Who may ask, and how often."""
        return self._access

    @access.setter
    def access(self, access: Access) -> None:
        self._access = access
        self._askers = {}

    def hears(self, client: str) -> bool:
        """Whether a query from an address gets any answer, be it that it may not ask."""
        return (self._askers.get(client) or self._meet(client))[0] != IGNORED

    def handle(self, packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool:
        """Answer one packet by ``send(reply, peer)``, now or later; False when there will be no answer.

        Over TCP, an empty ``reply`` says later that there will be none. Never raises: a fault costs its own query a
        SERVFAIL, and the log at most a line a second.
        """
        counters = self.counters
        counters.queries += 1
        query, client = None, peer[0]
        try:
            # Who asks: a profile, or a negative standing; and how many queries there are left for that network. TCP has
            # bounds of its own, and its clients are who they say they are.
            profile, bucket = self._askers.get(client) or self._meet(client)
            if not tcp:
                bucket[0] = left = bucket[0] - 1
                if left < 0 and not self._access.refill(bucket):
                    return self._limit(packet, peer, send)
            elif isinstance(peer, Private) and peer.name and profile >= 0:
                profile = self._policy.profile(client, peer.name.partition(".")[0])

            # A name that was blocked before costs one look-up. The key is the packet but for its id, with the name in
            # lower case: up to the first zero octet that is only the name, lengths being under 64 and so no letters.
            end = packet.find(0, HEADER.size)
            key = profile, packet[2:12] + packet[12:end].lower() + packet[end:]
            if prepared := self._prepared.get(key):
                (head, cut, tail, said), name = prepared
                send(packet[:2] + head + packet[12:cut] + tail, peer)
                counters.blocked += 1
                self.recorder.note((client, name, said))
                return True

            # Header and shape: what is malformed, not for a resolver, or not from a client, reaches nothing below.
            query = read_query(packet, isinstance(peer, Private))
            if query and profile == PROXY:
                client, profile = self._behind(client, query.subnet)
                key = profile, key[1]
            if query is None or profile == IGNORED:
                counters.dropped += 1
                return False
            zones = self.zones
            if query.rcode:
                counters.refused += 1
                told = zones.chaos(query) if zones and profile != DENIED else None
                send(pack(query, told or _refusal(query.rcode), tcp=tcp), peer)
                if query.name:  # of other packets nothing is known
                    outcome = Outcome.LOCAL if told else Outcome.REFUSED
                    self._note(client, query, outcome, told.rcode if told else query.rcode)
                return True
            if profile == DENIED:
                counters.denied += 1
                send(pack(query, _NOT_ALLOWED, tcp=tcp), peer)
                self._note(client, query, Outcome.DENIED, REFUSED)
                return True

            # Names that the operator states records for come before the policy: his own word stands above every list
            # and directive, as it does in `allow`, and none of them can take his printer from him.
            if zones and (found := zones.stated(query)):
                counters.local += 1
                if found.target:
                    noted = partial(self._note, client, query, Outcome.LOCAL)
                    self._follow(query, found.response, found.target, peer, send, tcp, noted)
                else:
                    send(pack(query, found.response, tcp=tcp), peer)
                    self._note(client, query, Outcome.LOCAL, found.response.rcode)
                return True

            # Policy before the cache: what is remembered is what upstreams said, and that is the same for everyone.
            verdict = self._policy.decide(profile, wire_key(query.name), query.qtype)
            if verdict.action is Action.BLOCK and verdict.mode not in _ORDINARY:
                noted = partial(self._note, client, query, verdict=verdict)
                if (answered := self._by_rule(query, verdict, peer, send, tcp, noted)) is not None:
                    counters.blocked += 1
                    return answered
            elif verdict.action is Action.BLOCK:
                counters.blocked += 1
                response = blocked(query.qtype, verdict, self.blocking, query.structured)
                reply = pack(query, response, tcp=tcp)
                said = self.recorder.said(query.question[-4:], Outcome.BLOCKED, response.rcode, verdict)
                self._prepare(key, packet, query, reply, said)
                send(reply, peer)
                self.recorder.note((client, query.name, said))
                return True
            elif verdict.action in _WATCHED:
                self._watch(query, verdict, peer)

            # Zones that mean something only here never reach an upstream. They come after the policy, because a list
            # may well block a name below one of them, and the answer is to say so.
            if zones and (reserved := zones.reserved(query)):
                counters.local += 1
                send(pack(query, reserved, tcp=tcp), peer)
                self._note(client, query, Outcome.LOCAL, reserved.rcode)
                return True

            # ANY is never forwarded: it serves amplification better than any client.
            if query.qtype == ANY:
                counters.local += 1
                send(pack(query, minimal_any(), tcp=tcp), peer)
                self._note(client, query, Outcome.LOCAL, NOERROR, verdict)
                return True

            # Inspection after the cache, for it depends on who asks. The policy is the one that decided.
            done = partial(self._reply, query, profile, self._inspection, peer, send, tcp, client, verdict)
            if verdict.action is Action.WARN:
                done = partial(_warned, verdict.text, done)
            self.lookup.ask(query, done, peer[0])
        except Exception:  # noqa: BLE001 - whatever one packet brings about, the next ones are answered
            return self._fault(query, peer, send)
        return True

    def _meet(self, client: str) -> tuple[int, Bucket]:
        """(profile or standing, bucket) of an address that was not met under this policy."""
        standing, bucket = self._access.meet(client)
        if len(self._askers) >= MAX_ASKERS:
            self._askers.clear()
        asker = self._policy.profile(client) if standing == WELCOME else standing, bucket
        self._askers[client] = asker
        return asker

    def _behind(self, proxy: str, subnet: bytes) -> tuple[str, int]:
        """The client that a proxy asks for, and its profile or standing; without one it asks for itself."""
        if client := behind(subnet):
            asker, _ = self._askers.get(client) or self._meet(client)
            if asker != PROXY:
                return client, asker
        return proxy, self._policy.profile(proxy)

    def _note(
        self,
        client: str,
        query: Query,
        outcome: Outcome,
        rcode: int | None = None,
        verdict: Verdict | None = None,
        judged: bool = False,
    ) -> None:
        """Write down what became of a query."""
        recorder = self.recorder
        recorder.note((client, query.name, recorder.said(query.question[-4:], outcome, rcode, verdict, judged)))

    def _limit(self, packet: bytes, peer: Peer, send: Send) -> bool:
        """A query over its network's limit: no answer, or one now and then that sends a real client to TCP."""
        self.counters.limited += 1
        every = self._access.rules.truncate
        if not every or self.counters.limited % every:
            return False
        query = read_query(packet)
        if query is None or query.rcode:
            return False
        send(pack(query, Response(NOERROR, truncated=True)), peer)
        return True

    def _by_rule(
        self, query: Query, verdict: Verdict, peer: Peer, send: Send, tcp: bool, noted: Callable[..., None]
    ) -> bool | None:
        """The answer that the deciding rule states itself; None when the query goes on as if nothing applied."""
        said = verdict.mode or ""
        if said == "drop":
            noted(Outcome.DROPPED)
            return False
        if said == "tcp-only" and tcp:
            return None
        target = None
        try:
            if said == "tcp-only":
                response = explained(Response(NOERROR, truncated=True), verdict, query.structured)
            elif (target := local.alias(said, query)) is None:
                response = local.answer(query, said, verdict, self.blocking)
        except OverflowError:
            response = explained(Response(YXDOMAIN), verdict, query.structured)
        if target is None:
            send(pack(query, response, tcp=tcp), peer)
            noted(Outcome.BLOCKED, response.rcode)
        else:
            way = local.way(target, query, verdict, self.blocking.ttl)
            self._follow(query, way, target, peer, send, tcp, partial(noted, Outcome.BLOCKED))
        return True

    def _follow(
        self,
        query: Query,
        way: Response,
        target: bytes,
        peer: Peer,
        send: Send,
        tcp: bool,
        noted: Callable[[int], None],
    ) -> None:
        """Answer with the aliases that lead to ``target`` and with what that resolves to.

        What a rule or the operator states is not judged: no other rule applies to its target (RPZ 6.1).
        """
        asked = local.asked(query, target)

        def found(response: Response, age: int, _: Outcome) -> None:
            try:
                send(pack(query, local.behind(query, way, asked, response, age), tcp=tcp), peer)
                noted(response.rcode)
            except Exception:  # noqa: BLE001 - as above
                self._fault(query, peer, send)

        self.lookup.ask(asked, found, peer[0])

    def _reply(
        self,
        query: Query,
        profile: int,
        inspection: Inspection,
        peer: Peer,
        send: Send,
        tcp: bool,
        client: str,
        verdict: Verdict,
        response: Response,
        age: int,
        outcome: Outcome,
    ) -> None:
        try:
            judged = inspection.verdict(profile, query, response)
            if judged:
                verdict = judged
                if verdict.mode in _ORDINARY:  # as a blocked name, and without the aliases that led there
                    self.counters.blocked += 1
                    response, age = blocked(query.qtype, verdict, self.blocking, query.structured), 0
                    outcome = Outcome.BLOCKED
                else:
                    noted = partial(self._note, client, query, verdict=verdict, judged=True)
                    if (answered := self._by_rule(query, verdict, peer, send, tcp, noted)) is not None:
                        self.counters.blocked += 1
                        if tcp and not answered:
                            send(b"", peer)
                        return
            if self.notice:
                response = response._replace(options=response.options + self.notice)
            send(pack(query, response, tcp=tcp, age=age), peer)
            self._note(client, query, outcome, response.rcode, verdict, bool(judged))
        except Exception:  # noqa: BLE001 - as above
            self._fault(query, peer, send)

    def _prepare(self, key: tuple[int, bytes], packet: bytes, query: Query, reply: bytes, said: str) -> None:
        """Keep ``reply``, and what is noted with it, for all who send these octets, if it depends on nothing else and
        fits each of them."""
        cut = -BARE_OPT if query.edns else None  # options (cookies, padding) differ from query to query
        if packet[12:cut] != query.question or len(reply) > MAX_PLAIN or HEADER.unpack_from(reply)[1] & TC:
            return
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
            self._shared.clear()
        prepared = reply[2:12], cut, reply[12 + len(query.question) :], said
        name = named(query.name, wire_key(query.name))
        self._prepared[key] = self._shared.setdefault(prepared, prepared), name

    def _watch(self, query: Query, verdict: Verdict, peer: Peer) -> None:
        """Count and log a query for a name that a warning or an observation is about."""
        if verdict.action is Action.WARN:
            self.counters.warned += 1
        else:
            self.counters.observed += 1
        now = self._clock()
        if now >= self._second + 1:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            by = f"directive {verdict.directive}" if verdict.directive else f"list {verdict.list}"
            log.info("%s: %s asked for %s type %d (%s)", verdict.action, peer[0], present(query.name), query.qtype, by)

    def _fault(self, query: Query | None, peer: Peer, send: Send) -> bool:
        """Called from an ``except`` clause."""
        self.counters.errors += 1
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + 1
            log.exception("a query from %s failed: %s", peer[0], query and query.name and present(query.name))
        if query is None:
            return False
        send(pack(query, Response(SERVFAIL)), peer)
        if query.name:
            self._note(peer[0], query, Outcome.FAILED, SERVFAIL)
        return True


def _refusal(rcode: int) -> Response:
    """What is not done here says so (RFC 8914 4.22); what is malformed needs no explanation."""
    return Response(rcode, options=ede(NOT_SUPPORTED) if rcode in (NOTIMP, REFUSED) else b"")


def _warned(text: str, done: Done, response: Response, age: int, outcome: Outcome) -> None:
    """The answer to a name that resolves, marked for those who look at such things."""
    done(response._replace(options=ede(OTHER, text) + response.options), age, outcome)


_WATCHED = frozenset({Action.WARN, Action.OBSERVE})

#: (header without the id, where the question ends, everything after it, the end of the line in the query log)
_Prepared = tuple[bytes, int | None, bytes, str]
