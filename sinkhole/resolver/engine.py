"""One query from packet to answer: the order of the stages, and why each stands where it does.

The engine knows no socket. A listener hands it a packet and the asker, and gets the reply, or hands over a function
that sends it later, for an upstream's answer comes back as a call. Its state is the policy in force, what was judged by
it, and the prepared answers.

Of those there are two kinds, and both are what :func:`~sinkhole.resolver.answer.pack` made once on the long way:

* for a packet, all its octets but the id: the rest of its reply, for as long as it may be said (:data:`Told`);
* for all octets of a query but id and name (:class:`_Form`): how it was read, and for each verdict what stands around
  the question of its answer, so that a name that nobody asked for before is answered when the policy has decided.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, NamedTuple, Protocol

from sinkhole.names import present, wire_key
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver import local
from sinkhole.resolver.access import DENIED, IGNORED, PROXY, WELCOME, Access, Bucket, behind, spelled
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
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.message import (
    ANY,
    BARE_OPT,
    HEADER,
    MAX_NAME,
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

#: How many answers are kept prepared, about 500 octets each; how many forms; and how many addresses.
MAX_PREPARED, MAX_FORMS, MAX_ASKERS = 10_000, 2_000, 100_000
#: Of so many answers by form one is kept for its packet: names that are asked for once are not to push out the others.
SELDOM = 16
#: The octets of a wire name as those of its key (:func:`sinkhole.names.wire_key`), where octets that may be lengths, up
#: to :data:`_SHORT`, become dots. That is right if its *shape* says so, which many names have in common: with an ``x``
#: for each octet that is no length and means nothing in a key.
_SHORT = ord("-") - 1
_LENGTHS = bytes(range(1, _SHORT + 1))
_KEYED = bytes(range(256)).lower().translate(bytes.maketrans(_LENGTHS, b"." * _SHORT))
_SHAPED = bytes(octet if octet in _LENGTHS else 0xFF if octet in b".\xff" else ord("x") for octet in range(256))
#: How many shapes are kept.
MAX_SHAPES = 4096
_NOT_ALLOWED = Response(REFUSED, options=ede(PROHIBITED))

#: Queries for names that are only watched are logged, at most so many in a second.
MAX_LINES = 10

#: An asker, as the listener knows him that sends him the reply. To :meth:`Engine.handle` his address comes first.
Peer = Any
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
        self.now = clock()
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
        self._askers: dict[str | bytes, _Asker] = {}
        self.forget()

    @property
    def access(self) -> Access:
        """Who may ask, and how often."""
        return self._access

    @access.setter
    def access(self, access: Access) -> None:
        self._access = access
        self._askers = {}

    def forget(self) -> None:
        """Prepare every answer anew: after any change of what answers are made of."""
        self._told: dict[int, dict[bytes, Told]] = {}
        self._forms: dict[bytes, _Form] = {}
        self._shapes: set[bytes] = set()
        self._kept = self._forms_kept = self._formed = 0
        self._askers = {}

    def hears(self, client: str) -> bool:
        """Whether a query from an address gets any answer, be it that it may not ask."""
        return (self._askers.get(client) or self._meet(client)).profile != IGNORED

    def tick(self) -> None:
        """Look at the clock, which no packet does: what arrived together is answered at one instant."""
        self.now = self._clock()
        self.recorder.stamp()

    def handle(self, packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool:
        """Answer one packet by ``send(reply, peer)``, now or later; False when there will be no answer.

        Over TCP, an empty ``reply`` says later that there will be none. Never raises: a fault costs its own query a
        SERVFAIL, and the log at most a line a second.
        """
        self.now = self._clock()
        reply = self.answer(packet, peer[0], peer, send, tcp)
        if reply:
            send(reply, peer)
        return reply != b""

    def answer(self, packet: bytes, host: str | bytes, peer: Peer, send: Send, tcp: bool = False) -> bytes | None:
        """The reply to one packet, as of the last :meth:`tick`: empty for none, None when it is sent later.

        ``host`` is the address of the asker, as text or as octets (:func:`~sinkhole.resolver.access.spelled`).
        """
        counters = self.counters
        counters.queries += 1
        query = verdict = form = None
        client, keyed = "", b""
        try:
            # Who asks: a profile, or a negative standing; and how many queries there are left for that network. TCP has
            # bounds of its own, and its clients are who they say they are.
            profile, bucket, told, client = self._askers.get(host) or self._meet(host)
            if not tcp:
                bucket[0] = left = bucket[0] - 1
                if left < 0 and not self._access.refill(bucket):
                    return self._limit(packet)
            elif isinstance(peer, Private) and peer.name and profile >= 0:
                profile = self._policy.profile(client, peer.name.partition(".")[0])
                told = self._told.setdefault(profile, {})

            # The same octets as before cost one look-up.
            octets = packet[2:]
            if (same := told.get(octets)) and same[0] > self.now:
                _, barred, rest, name, said = same
                if barred:
                    counters.blocked += 1
                else:
                    counters.cached += 1
                self.recorder.note((client, name, said))
                return packet[:2] + rest

            # A name that is decided like one before costs what deciding costs: it becomes a key in one step, when its
            # shape allows that, and all else that is to be read stands around it.
            wire, _, around = packet[HEADER.size :].partition(b"\0")
            form = self._forms.get(packet[2:12] + around)
            if form is not None and profile >= 0:
                alike, qtype, like = form
                if (shape := wire.translate(_SHAPED)) in self._shapes or self._regular(shape):
                    key = wire.translate(_KEYED)[::-1]
                    zones = self.zones
                    if not (zones and (key in zones.keys or (zones.trees and key.startswith(zones.trees)))):
                        verdict = self._policy.decide(profile, key, qtype)
                        if (formed := alike.get(id(verdict))) and len(wire) <= formed[0]:
                            _, head, tail, said, _ = formed
                            counters.blocked += 1
                            reply = packet[:2] + head + wire + tail
                            self._formed = count = self._formed + 1
                            if not count % SELDOM:
                                text = named(wire.lower() + b"\0", key)
                                self._keep(told, octets, (inf, True, reply[2:], text, said))
                            self.recorder.note((client, key, said))
                            return reply
                        _, flags, rcode, _, _, _, edns, do, *_ = like
                        question, lowered = wire + b"\0" + around[:4], wire.lower() + b"\0"
                        query = Query(int.from_bytes(packet[:2]), flags, rcode, question, lowered, qtype, edns, do)
                        keyed = key

            # Header and shape: what is malformed, not for a resolver, or not from a client, reaches nothing below.
            if query is None:
                query = read_query(packet, isinstance(peer, Private))
            asker = client
            if query and profile == PROXY:
                client, profile = self._behind(asker, query.subnet)
                told = self._told.setdefault(profile, {})
            if query is None or profile == IGNORED:
                counters.dropped += 1
                return b""
            zones = self.zones
            if query.rcode:
                counters.refused += 1
                chaos = zones.chaos(query) if zones and profile != DENIED else None
                if query.name and profile != DENIED:  # of other packets nothing is known
                    outcome = Outcome.LOCAL if chaos else Outcome.REFUSED
                    self._note(client, query, outcome, chaos.rcode if chaos else query.rcode)
                return pack(query, chaos or _refusal(query.rcode), tcp=tcp)
            if profile == DENIED:  # and not noted: strangers are not to fill the query log
                counters.denied += 1
                return pack(query, _NOT_ALLOWED, tcp=tcp)
            if form is None:
                self._learn(packet, query)

            # Names that the operator states records for come before the policy: his own word stands above every list
            # and directive, as it does in `allow`, and none of them can take his printer from him.
            if verdict is None and zones and (found := zones.stated(query)):
                counters.local += 1
                if found.target:
                    noted = partial(self._note, client, query, Outcome.LOCAL)
                    self._follow(query, found.response, found.target, asker, peer, send, tcp, noted)
                    return None
                self._note(client, query, Outcome.LOCAL, found.response.rcode)
                return pack(query, found.response, tcp=tcp)

            # Policy before the cache: what is remembered is what upstreams said, and that is the same for everyone.
            if verdict is None:
                verdict = self._policy.decide(profile, wire_key(query.name), query.qtype)
            if verdict.action is Action.BLOCK:
                if verdict.mode in _ORDINARY:
                    counters.blocked += 1
                    response = blocked(query.qtype, verdict, self.blocking, query.structured)
                    reply = pack(query, response, tcp=tcp)
                    said = self.recorder.said(query.question[-4:], Outcome.BLOCKED, response.rcode, verdict)
                    if _plain(packet, query, response, reply):
                        self._keep(told, octets, (inf, True, reply[2:], _named(query), said))
                        self._form(verdict, packet, query, reply, said)
                    self.recorder.note((client, query.name, said))
                    return reply
                if not _passes(verdict, tcp):
                    counters.blocked += 1
                    noted = partial(self._note, client, query, verdict=verdict)
                    return self._by_rule(query, verdict, asker, peer, send, tcp, noted)
            elif verdict.action in _WATCHED:
                self._watch(query, verdict, client)

            # Zones that mean something only here never reach an upstream. They come after the policy, because a list
            # may well block a name below one of them, and the answer is to say so.
            if zones and (reserved := zones.reserved(query)):
                counters.local += 1
                self._note(client, query, Outcome.LOCAL, reserved.rcode)
                return pack(query, reserved, tcp=tcp)

            # ANY is never forwarded: it serves amplification better than any client.
            if query.qtype == ANY:
                counters.local += 1
                self._note(client, query, Outcome.LOCAL, NOERROR, verdict)
                return pack(query, minimal_any(), tcp=tcp)

            # Inspection after the cache, for it depends on who asks. The policy is the one that decided.
            asked = query, profile, self._inspection, verdict, client, keyed or query.name, asker, peer, send, tcp
            known = self.lookup.look(query, self.now, partial(self._relay_later, asked), asker)
            if known is None:
                return None
            relayed = self._relay(asked, *known[:3])
            if (
                relayed
                and known.until > self.now
                and self._lasts(profile, query, verdict, known.response)
                and _plain(packet, query, known.response, relayed)
            ):
                said = self.recorder.said(query.question[-4:], known.outcome, known.response.rcode, verdict)
                self._keep(told, octets, (known.until, False, relayed[2:], _named(query), said))
            return relayed
        except Exception:  # noqa: BLE001 - whatever one packet brings about, the next ones are answered
            return self._fault(query or (form and read_query(packet)), client or str(host))

    def _meet(self, host: str | bytes) -> _Asker:
        """An address that was not met under this policy."""
        client = host if isinstance(host, str) else spelled(host)
        standing, bucket = self._access.meet(client)
        if len(self._askers) >= MAX_ASKERS:
            self._askers.clear()
        profile = self._policy.profile(client) if standing == WELCOME else standing
        told = self._told.setdefault(profile, {})
        asker = self._askers[host] = _Asker(profile, bucket, told, client)
        return asker

    def _behind(self, proxy: str, subnet: bytes) -> tuple[str, int]:
        """The client that a proxy asks for, and its profile or standing; without one it asks for itself."""
        if client := behind(subnet):
            asker = self._askers.get(client) or self._meet(client)
            if asker.profile != PROXY:
                return client, asker.profile
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

    def _limit(self, packet: bytes) -> bytes:
        """A query over its network's limit: no answer, or one now and then that sends a real client to TCP."""
        self.counters.limited += 1
        every = self._access.rules.truncate
        if not every or self.counters.limited % every:
            return b""
        query = read_query(packet)
        if query is None or query.rcode:
            return b""
        return pack(query, Response(NOERROR, truncated=True))

    def _by_rule(
        self,
        query: Query,
        verdict: Verdict,
        asker: str,
        peer: Peer,
        send: Send,
        tcp: bool,
        noted: Callable[..., None],
    ) -> bytes | None:
        """The answer that the deciding rule states itself; None when it is sent later."""
        said = verdict.mode or ""
        if said == "drop":
            noted(Outcome.DROPPED)
            return b""
        target = None
        try:
            if said == "tcp-only":
                response = explained(Response(NOERROR, truncated=True), verdict, query.structured)
            elif (target := local.alias(said, query)) is None:
                response = local.answer(query, said, verdict, self.blocking)
        except OverflowError:
            response = explained(Response(YXDOMAIN), verdict, query.structured)
        if target is None:
            noted(Outcome.BLOCKED, response.rcode)
            return pack(query, response, tcp=tcp)
        way = local.way(target, query, verdict, self.blocking.ttl)
        self._follow(query, way, target, asker, peer, send, tcp, partial(noted, Outcome.BLOCKED))
        return None

    def _follow(
        self,
        query: Query,
        way: Response,
        target: bytes,
        asker: str,
        peer: Peer,
        send: Send,
        tcp: bool,
        noted: Callable[[int], None],
    ) -> None:
        """Answer later, with the aliases that lead to ``target`` and with what that resolves to.

        What a rule or the operator states is not judged: no other rule applies to its target (RPZ 6.1).
        """
        asked = local.asked(query, target)

        def found(response: Response, age: int, _: Outcome) -> bytes:
            noted(response.rcode)
            return pack(query, local.behind(query, way, asked, response, age), tcp=tcp)

        self.lookup.ask(asked, partial(self._reply, query, found, asker, peer, send, tcp), asker)

    def _relay(self, asked: _Asked, response: Response, age: int, outcome: Outcome) -> bytes | None:
        """The reply with what is known of a name, unless that leads to what is blocked."""
        query, profile, inspection, verdict, client, name, asker, peer, send, tcp = asked
        barred = inspection.verdict(profile, query, response)
        if barred and not _passes(barred, tcp):
            self.counters.blocked += 1
            if barred.mode not in _ORDINARY:
                noted = partial(self._note, client, query, verdict=barred, judged=True)
                return self._by_rule(query, barred, asker, peer, send, tcp, noted)
            # as a blocked name, and without the aliases that led there
            response = blocked(query.qtype, barred, self.blocking, query.structured)
            self._note(client, query, Outcome.BLOCKED, response.rcode, barred, True)
            return pack(query, response, tcp=tcp)
        recorder = self.recorder
        recorder.note((client, name, recorder.said(query.question[-4:], outcome, response.rcode, verdict)))
        if verdict.action is Action.WARN:  # it resolves, marked for those who look at such things
            response = response._replace(options=ede(OTHER, verdict.text) + response.options)
        if self.notice:
            response = response._replace(options=response.options + self.notice)
        return pack(query, response, tcp=tcp, age=age)

    def _relay_later(self, asked: _Asked, response: Response, age: int, outcome: Outcome) -> None:
        """Send what :meth:`_relay` gives."""
        query, _, _, _, _, _, asker, peer, send, tcp = asked
        try:
            reply = self._relay(asked, response, age, outcome)
        except Exception:  # noqa: BLE001 - as above
            reply = self._fault(query, asker)
        if reply or (tcp and reply is not None):
            send(reply, peer)

    def _reply(
        self,
        query: Query,
        made: Callable[[Response, int, Outcome], bytes],
        asker: str,
        peer: Peer,
        send: Send,
        tcp: bool,
        response: Response,
        age: int,
        outcome: Outcome,
    ) -> None:
        """Send what is made of a response that came later."""
        try:
            reply = made(response, age, outcome)
        except Exception:  # noqa: BLE001 - as above
            reply = self._fault(query, asker)
        if reply or tcp:
            send(reply, peer)

    def _lasts(self, profile: int, query: Query, verdict: Verdict, response: Response) -> bool:
        """Whether the answer to a query stays the same while what is known does, and is nothing to be noted."""
        return not (self.notice or verdict.action in _WATCHED or self._inspection.verdict(profile, query, response))

    def _keep(self, told: dict[bytes, Told], octets: bytes, same: Told) -> None:
        """Answer all who send these octets by ``same``."""
        if octets not in told:
            if self._kept >= MAX_PREPARED:
                for each in self._told.values():
                    each.clear()
                self._kept = 0
            self._kept += 1
        told[octets] = same

    def _learn(self, packet: bytes, query: Query) -> None:
        """Read queries that differ in id and name alone as this one, if it says nothing that only it may say."""
        if _bare(packet, query):
            self._count_form()
            end = 12 + len(query.question) - 5
            self._forms[packet[2:12] + packet[end + 1 :]] = _Form({}, query.qtype, query)

    def _form(self, verdict: Verdict, packet: bytes, query: Query, reply: bytes, said: str) -> None:
        """Answer all whose names are decided alike, and who send the same around them, as by ``reply``."""
        end = 12 + len(query.question) - 5
        if form := self._forms.get(packet[2:12] + packet[end + 1 :]):
            self._count_form()
            head, tail = reply[2:12], reply[end:]
            form.alike[id(verdict)] = _Alike(MAX_PLAIN - HEADER.size - len(tail), head, tail, said, verdict)

    def _regular(self, shape: bytes) -> bool:
        """Whether names of a shape become their keys as :data:`_KEYED` says: there are labels, and nothing in them."""
        at = labels = 0
        while at < len(shape) and (size := shape[at]) <= _SHORT:
            at += size + 1
            labels += 1
        if at != len(shape) or labels + shape.count(b"x") != at or at >= MAX_NAME:
            return False
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        self._shapes.add(shape)
        return True

    def _count_form(self) -> None:
        if self._forms_kept >= MAX_FORMS:
            self._forms.clear()
            self._forms_kept = 0
        self._forms_kept += 1

    def _watch(self, query: Query, verdict: Verdict, client: str) -> None:
        """Count and log a query for a name that a warning or an observation is about."""
        if verdict.action is Action.WARN:
            self.counters.warned += 1
        else:
            self.counters.observed += 1
        if self.now >= self._second + 1:
            self._second, self._lines = self.now, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            by = f"directive {verdict.directive}" if verdict.directive else f"list {verdict.list}"
            log.info("%s: %s asked for %s type %d (%s)", verdict.action, client, present(query.name), query.qtype, by)

    def _fault(self, query: Query | None, client: str) -> bytes:
        """Called from an ``except`` clause."""
        self.counters.errors += 1
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + 1
            log.exception("a query from %s failed: %s", client, query and query.name and present(query.name))
        if query is None:
            return b""
        if query.name:
            self._note(client, query, Outcome.FAILED, SERVFAIL)
        return pack(query, Response(SERVFAIL))


def _refusal(rcode: int) -> Response:
    """What is not done here says so (RFC 8914 4.22); what is malformed needs no explanation."""
    return Response(rcode, options=ede(NOT_SUPPORTED) if rcode in (NOTIMP, REFUSED) else b"")


def _passes(verdict: Verdict, tcp: bool) -> bool:
    """Whether a query goes on as if no rule applied: one that has come over TCP, as the rule wanted."""
    return tcp and verdict.mode == "tcp-only"


def _named(query: Query) -> str:
    """The name as it is noted."""
    return named(query.name, wire_key(query.name))


def _plain(packet: bytes, query: Query, response: Response, reply: bytes) -> bool:
    """Whether all who send these octets, over whatever, get this reply: nothing that was asked is left out of the
    question and the OPT, because options (cookies, padding) differ from query to query; and the reply is whole."""
    if not _bare(packet, query) or len(reply) > MAX_PLAIN or HEADER.unpack_from(reply)[1] & TC:
        return False
    return not query.edns or reply.endswith(response.options)


def _bare(packet: bytes, query: Query) -> bool:
    """Whether nothing stands in a packet but header, question and an OPT without options."""
    return query.question == (packet[12:-BARE_OPT] if query.edns else packet[12:])


_WATCHED = frozenset({Action.WARN, Action.OBSERVE})

#: Until when it may be said, whether the name is blocked, the reply without the id, and name and end of the line in the
#: query log.
Told = tuple[float, bool, bytes, str, str]

#: What :meth:`Engine._relay` has to know of a query: itself, the profile and what judges for it, the verdict on the
#: name, the client and the name as they are noted, and who is to be told, how.
_Asked = tuple[Query, int, Inspection, Verdict, str, bytes, str, Peer, Send, bool]


class _Asker(NamedTuple):
    """The profile or standing of an address, its bucket, what its profile was told, and itself as text."""

    profile: int
    bucket: Bucket
    told: dict[bytes, Told]
    client: str


class _Alike(NamedTuple):
    """The answer to all names of one verdict: the octets of the longest name that has room in it, the header without
    the id, everything from the root of the name on, and the end of the line in the query log. The verdict is kept so
    that no other one gets its ``id``."""

    longest: int
    head: bytes
    tail: bytes
    said: str
    verdict: Verdict


class _Form(NamedTuple):
    """The answers to queries like a good one by the ``id`` of their verdicts, their type, and that query."""

    alike: dict[int, _Alike]
    qtype: int
    query: Query
