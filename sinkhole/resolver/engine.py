"""One query from packet to answer: the order of the stages, and why each stands where it does.

The engine knows no socket. A listener hands it a packet, the asker and a function that sends; an upstream's answer
comes back as a call. Its state is the policy in force, what was judged by it, and the prepared answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sinkhole.names import present, wire_key
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver import local
from sinkhole.resolver.answer import MAX_PLAIN, MODES, Blocking, blocked, minimal_any, pack
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.inspection import Inspection
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.message import (
    ANY,
    BARE_OPT,
    HEADER,
    NOERROR,
    SERVFAIL,
    TC,
    YXDOMAIN,
    Query,
    Response,
    read_query,
)

log = logging.getLogger(__name__)

#: What a verdict may say of the answer that :func:`~sinkhole.resolver.answer.blocked` knows.
_ORDINARY = frozenset({None, *MODES})

#: How many answers are kept prepared: about 300 octets each.
MAX_PREPARED = 20_000

#: An asker: what ``recvfrom`` gives, with the address first.
Peer = tuple[Any, ...]
Send = Callable[[bytes, Peer], object]


class Policy(Protocol):
    """What decides. It is constant while in force: a change is another object."""

    def profile(self, client: str) -> int:
        """The number of the set of rules that holds for an address."""

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        """The verdict on a name, given as its key (:func:`sinkhole.names.wire_key`), and a record type."""

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        """The number of the set of rules that holds for what a name leads to."""

    @property
    def by_address(self) -> Callable[[int, tuple[bytes, ...], int], Verdict] | None:
        """The verdict on the addresses of an answer (profile, addresses, record type); None without rules on them."""


class Engine:
    """Answers queries. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        policy: Policy,
        lookup: Lookup,
        blocking: Blocking,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.lookup = lookup
        self.blocking = blocking
        self.counters: Counters = lookup.counters
        self._clock = clock
        self._quiet_until = 0.0

    @property
    def policy(self) -> Policy:
        """The policy in force. Setting it forgets every answer that the former prepared, and what it judged."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._inspection = Inspection(policy)
        self._prepared: dict[tuple[int, bytes], _Prepared] = {}
        self._shared: dict[_Prepared, _Prepared] = {}

    def handle(self, packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool:
        """Answer one packet by ``send(reply, peer)``, now or later; False when there will be no answer.

        Over TCP, an empty ``reply`` says later that there will be none.

        Never raises: a fault costs its own query a SERVFAIL, and the log at most a line a second.
        """
        counters = self.counters
        counters.queries += 1
        query = None
        try:
            # A name that was blocked before costs one look-up. The key is the packet but for its id, with the name in
            # lower case: up to the first zero octet that is only the name, lengths being under 64 and so no letters.
            profile = self._policy.profile(peer[0])
            end = packet.find(0, HEADER.size)
            key = profile, packet[2:12] + packet[12:end].lower() + packet[end:]
            if prepared := self._prepared.get(key):
                head, cut, tail = prepared
                send(packet[:2] + head + packet[12:cut] + tail, peer)
                counters.blocked += 1
                return True

            # Header and shape: what is malformed, or not for a resolver, reaches nothing below.
            query = read_query(packet)
            if query is None:
                counters.dropped += 1
                return False
            if query.rcode:
                counters.refused += 1
                send(pack(query, Response(query.rcode), tcp=tcp), peer)
                return True

            # Policy before the cache: what is remembered is what upstreams said, and that is the same for everyone.
            verdict = self._policy.decide(profile, wire_key(query.name), query.qtype)
            if verdict.action is Action.BLOCK and verdict.mode not in _ORDINARY:
                if (answered := self._by_rule(query, verdict, peer, send, tcp)) is not None:
                    counters.blocked += 1
                    return answered
            elif verdict.action is Action.BLOCK:
                counters.blocked += 1
                reply = pack(query, blocked(query.qtype, verdict, self.blocking), tcp=tcp)
                self._prepare(key, packet, query, reply)
                send(reply, peer)
                return True

            # ANY is never forwarded: it serves amplification better than any client.
            if query.qtype == ANY:
                counters.local += 1
                send(pack(query, minimal_any(), tcp=tcp), peer)
                return True

            # Inspection after the cache, for it depends on who asks. A name that is allowed may lead anywhere: who
            # allowed it wants it to work, and RPZ-PASSTHRU ends all later triggers. The policy is the one that decided.
            inspection = None if verdict.action is Action.ALLOW else self._inspection
            self.lookup.ask(query, partial(self._reply, query, profile, inspection, peer, send, tcp), peer[0])
        except Exception:  # noqa: BLE001 - whatever one packet brings about, the next ones are answered
            return self._fault(query, peer, send)
        return True

    def _by_rule(self, query: Query, verdict: Verdict, peer: Peer, send: Send, tcp: bool) -> bool | None:
        """The answer that the deciding rule states itself; None when the query goes on as if nothing applied."""
        said = verdict.mode or ""
        if said == "drop":
            return False
        if said == "tcp-only":
            if tcp:
                return None
            send(pack(query, Response(NOERROR, truncated=True)), peer)
            return True
        try:
            target = local.alias(said, query)
        except OverflowError:
            send(pack(query, Response(YXDOMAIN), tcp=tcp), peer)
            return True
        if target is None:
            send(pack(query, local.answer(query, said, verdict, self.blocking), tcp=tcp), peer)
            return True

        def behind_alias(response: Response, _age: int) -> None:
            try:
                found = local.aliased(query, said, target, response, verdict, self.blocking.ttl)
                send(pack(query, found, tcp=tcp), peer)
            except Exception:  # noqa: BLE001 - as above
                self._fault(query, peer, send)

        self.lookup.ask(target, behind_alias, peer[0])  # to what a rule states, no other rule applies (RPZ 6.1)
        return True

    def _reply(
        self,
        query: Query,
        profile: int,
        inspection: Inspection | None,
        peer: Peer,
        send: Send,
        tcp: bool,
        response: Response,
        age: int,
    ) -> None:
        try:
            if inspection and (verdict := inspection.verdict(profile, query, response)):
                if verdict.mode in _ORDINARY:  # as a blocked name, and without the aliases that led there
                    self.counters.blocked += 1
                    response, age = blocked(query.qtype, verdict, self.blocking), 0
                elif (answered := self._by_rule(query, verdict, peer, send, tcp)) is not None:
                    self.counters.blocked += 1
                    if tcp and not answered:
                        send(b"", peer)
                    return
            send(pack(query, response, tcp=tcp, age=age), peer)
        except Exception:  # noqa: BLE001 - as above
            self._fault(query, peer, send)

    def _prepare(self, key: tuple[int, bytes], packet: bytes, query: Query, reply: bytes) -> None:
        """Keep ``reply`` for all who send these octets, if it depends on nothing else and fits each of them."""
        cut = -BARE_OPT if query.edns else None  # options (cookies, padding) differ from query to query
        if packet[12:cut] != query.question or len(reply) > MAX_PLAIN or HEADER.unpack_from(reply)[1] & TC:
            return
        if len(self._prepared) >= MAX_PREPARED:
            self.policy = self._policy
        prepared = reply[2:12], cut, reply[12 + len(query.question) :]
        self._prepared[key] = self._shared.setdefault(prepared, prepared)

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
        return True


#: (header without the id, where the question ends, everything after it)
_Prepared = tuple[bytes, int | None, bytes]
