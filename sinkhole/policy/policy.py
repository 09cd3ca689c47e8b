"""The policy in force at one instant, ready to decide: ``decide(profile, key) -> Verdict``.

A client's groups make its profile; a profile's steps are the order of precedence, worked out once. Nothing here reads a
clock: the instant is an argument, and :meth:`Policy.changes_at` says until when the answers hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sinkhole.bundle import MASK_SHIFT, MASKED, Bundle
from sinkhole.names import key as name_key
from sinkhole.policy import schedule
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.special import Specials, Stated, nearness, stated
from sinkhole.policy.structured import DNS_OPERATOR, NETWORK_OPERATOR, cut, structured
from sinkhole.policy.verdict import FORWARD, OPERATOR_ALLOW, OPERATOR_BLOCK, PROTECTED, Action, Verdict
from sinkhole.rules import ANY_ANSWER, On, applying, strongest

#: RFC 8914 4.16: blocked by the operator of the resolver, without an order from outside.
EDE_BLOCKED = 15
_MAX_CLIENTS = 100_000
#: Distinct ways to be on lists; each counts once for every profile.
_MAX_DECIDED = 100_000
_EXACT, _BELOW = 1, 2
#: Answers of special rules that have a name of their own as a blocking mode.
_MODES = {
    **{mode.upper(): mode for mode in ("nxdomain", "nodata", "refused", "drop", "tcp-only")},
    "NULL": "null-ip",
}


class Step(NamedTuple):
    """One line of the order of precedence: a list, and the verdict when a name is on it."""

    list: int
    verdict: Verdict
    because: str


class Hit(NamedTuple):
    """What one list says about one query: its strongest rule. ``answer`` is that of a special rule."""

    blocked: bool
    strength: tuple[int, ...] = (0, False, False, 0)
    answer: str = ""


class Permit(NamedTuple):
    """An exception in force, ready to be asked: ``trees`` and ``exact`` are keys, ``lifts`` the directives that let it
    through."""

    permission: Permission
    trees: tuple[bytes, ...]
    exact: frozenset[bytes]
    lifts: frozenset[str]
    verdict: Verdict

    def covers(self, key: bytes) -> bool:
        return key in self.exact or key.startswith(self.trees)


class Profile(NamedTuple):
    """What applies to clients of the same groups and exceptions.

    ``allows`` are the lists of type allow: a name on one of them takes the steps of ``allowed``, those that no list may
    weaken. ``always`` are special rules that meet every query of these clients.
    """

    groups: frozenset[str]
    steps: tuple[Step, ...]
    allowed: tuple[Step, ...]
    allows: frozenset[int]
    always: tuple[int, ...]
    permits: tuple[Permit, ...]


class Policy:
    """A bundle's policy at the instant ``at`` (aware), with the exceptions to it."""

    def __init__(self, bundle: Bundle, at: datetime, permissions: Sequence[Permission] = ()) -> None:
        self.bundle = bundle
        self.at = at
        self.permissions = permissions
        self._numbers = {name: number for number, name in enumerate(bundle.lists)}
        self._networks = [
            (ipaddress.ip_network(cidr), group) for group, cidrs in bundle.policy["groups"].items() for cidr in cidrs
        ]
        self._schedules = [entry["schedule"] and schedule.read(entry["schedule"]) for entry in bundle.policy["entries"]]
        self._permits = [self._permit(found) for found in permissions if found.held(at)]
        self._profiles: list[Profile] = []
        self._known: dict[tuple[frozenset[str], tuple[str, ...]], int] = {}
        self._beyond: dict[tuple[int, tuple[Step, ...], tuple[Step, ...]], int] = {}
        self._clients: dict[tuple[str, str], int] = {}
        #: By profile, and by what :meth:`Bundle.find` tells, with what special rules add to that.
        self._decided: list[dict[object, Verdict]] = []
        self._count = 0
        self._find = bundle.find
        self._specials = Specials(stated(bundle.special)) if bundle.special else None
        if self._specials:
            self._networks += [(network, group) for group, network in self._specials.clients().items()]

    def profile(self, client: str, token: str = "") -> int:
        """The number of the profile of a client's address (``192.0.2.7``, ``2001:db8::1``, ``fe80::1%eth0``), and of
        the token that it gave, if any."""
        if token not in self.bundle.policy["tokens"]:  # a client may make up as many as it likes
            token = ""
        number = self._clients.get((client, token))
        if number is None:
            groups = frozenset(self.groups(client, token))
            permits = [permit for permit in self._permits if _binds(permit.permission, client, groups)]
            number = self.profile_of(groups, permits)
            if len(self._clients) >= _MAX_CLIENTS:
                self._clients.clear()
            self._clients[client, token] = number
        return number

    def profile_of(self, groups: frozenset[str], permits: Sequence[Permit] = ()) -> int:
        """The number of the profile of clients that belong to ``groups`` and hold these exceptions."""
        alike = groups, tuple(permit.permission.id for permit in permits)
        number = self._known.get(alike)
        if number is None:
            number = self._known[alike] = self._add(self._compile(groups, tuple(permits)))
        return number

    def _add(self, profile: Profile) -> int:
        self._profiles.append(profile)
        self._decided.append({})
        return len(self._profiles) - 1

    def of_group(self, group: str) -> Profile:
        """What applies to clients of one group and of no other, with the exceptions that the whole group has."""
        groups = frozenset(("all", group))
        permits = [permit for permit in self._permits if not groups.isdisjoint(permit.permission.groups)]
        return self._profiles[self.profile_of(groups, permits)]

    def groups(self, client: str, token: str = "") -> Iterator[str]:
        """The groups that a client belongs to, ``all`` first. An IPv4-mapped address counts as the IPv4 address."""
        yield "all"
        if group := self.bundle.policy["tokens"].get(token):
            yield group
        found = address(client)
        for network, group in self._networks:
            if found in network:
                yield group

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        """The verdict on a name (:func:`sinkhole.names.wire_key`) and record type for a profile.

        It follows from the records of the name and its ancestors and the special rules it meets, and there are few
        different ones: names that are listed alike get the same object.
        """
        if self._permits and self._profiles[profile].permits and (permit := self.permitted(profile, key, qtype)):
            return permit.verdict
        known: object = self._find(key)
        if self._specials and (special := self._met(profile, key)):
            known = known, special, qtype
        return self._decided[profile].get(known) or self._decide(known, profile, key, qtype)

    def _decide(self, known: object, profile: int, key: bytes, qtype: int) -> Verdict:
        if self._count >= _MAX_DECIDED:
            for each in self._decided:
                each.clear()
            self._count = 0
        self._count += 1
        verdict = self._decided[profile][known] = first(self.trace(profile, key, qtype))
        return verdict

    def permitted(self, profile: int, key: bytes, qtype: int) -> Permit | None:
        """The exception that lets a query through: one that covers it, while no directive blocks it without allowing
        that exception."""
        met = [permit for permit in self._profiles[profile].permits if permit.covers(key)]
        if not met:
            return None
        lifted = frozenset[str]().union(*(permit.lifts for permit in met))
        return met[0] if self.orders(profile, key, qtype) <= lifted else None

    def orders(self, profile: int, key: bytes, qtype: int) -> frozenset[str]:
        """The directives that block a query for clients of a profile."""
        return frozenset(
            step.verdict.directive
            for step, hit in self.trace(profile, key, qtype)
            if hit and step.verdict.action is Action.BLOCK and step.verdict.directive
        )

    @property
    def by_address(self) -> Callable[[int, tuple[bytes, ...], int], Verdict] | None:
        """The verdict on the addresses of an answer, for a profile and record type; None without any rule on them."""
        return self._decide_addresses if self._specials and self._specials.networks else None

    def _decide_addresses(self, profile: int, addresses: tuple[bytes, ...], qtype: int) -> Verdict:
        return first(self.trace_addresses(profile, addresses, qtype))

    def trace(self, profile: int, key: bytes, qtype: int) -> list[tuple[Step, Hit | None]]:
        """Every step of a profile in order of precedence, with its hit for a query; the first that has one decides."""
        return self._ordered(profile, self.hits(profile, key, qtype))

    def trace_addresses(self, profile: int, addresses: Sequence[bytes], qtype: int) -> list[tuple[Step, Hit | None]]:
        """As :meth:`trace`, for the addresses of one answer: inside a list the narrowest network decides (RPZ 4.3)."""
        found: dict[int, Hit] = {}
        for rule, number, _ in self.special_of(profile, addresses, qtype):
            strength = *nearness(rule), rule.kind.rank, rule.kind.allow
            if number not in found or strength > found[number].strength:
                found[number] = Hit(not rule.kind.allow, strength, rule.answer)
        return self._ordered(profile, {number: hit for number, hit in found.items() if hit.blocked})

    def _ordered(self, profile: int, hits: Mapping[int, Hit]) -> list[tuple[Step, Hit | None]]:
        own = self._profiles[profile]
        first = own.steps if own.allows.isdisjoint(hits) else own.allowed
        order = [*first, *(step for step in own.steps if step not in first)]
        return [(step, hits.get(step.list)) for step in order]

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        """The profile for what a name leads to, given what was said for the name itself.

        What the operator allows may lead anywhere, what a list of type allow or an exception lets through to all but
        what a directive forbids, unless the exception lifts that. A list that excepts the name says nothing more, as
        RPZ-PASSTHRU ends all later triggers of its zone; the directives that use the list do.
        """
        own = self._profiles[profile]
        verdict = self.decide(profile, key, qtype)
        left = own.steps, own.allowed
        if verdict.action is Action.ALLOW:
            lifted = frozenset[str]().union(*(permit.lifts for permit in own.permits if permit.covers(key)))
            stay = [step for step in own.allowed if verdict.exception or verdict.list]
            left = (tuple(step for step in stay if step.verdict.directive not in lifted),) * 2
        excepted = frozenset(number for number, hit in self.weighed(profile, key, qtype).items() if not hit.blocked)
        steps, allowed = (
            tuple(step for step in steps if step.list not in excepted or step.verdict.directive) for steps in left
        )
        if (steps, allowed) == (own.steps, own.allowed):
            return profile
        number = self._beyond.get((profile, steps, allowed))
        if number is None:
            other = own._replace(steps=steps, allowed=allowed, allows=own.allows - excepted)
            number = self._beyond[profile, steps, allowed] = self._add(other)
        return number

    def hits(self, profile: int, key: bytes, qtype: int) -> dict[int, Hit]:
        """List number -> hit, of the lists that block a query."""
        return {number: hit for number, hit in self.weighed(profile, key, qtype).items() if hit.blocked}

    def weighed(self, profile: int, key: bytes, qtype: int) -> dict[int, Hit]:
        """List number -> what its strongest rule says: a block, or an exception from one.

        In a list of plain rules the most specific entry decides. In one with special rules its entries are masks, and
        the strongest of all rules that apply decides; one with an answer of its own comes first.
        """
        found: dict[int, Hit] = {}
        masks: dict[int, int] = {}
        for matched, attribute in self.bundle.matches(key):
            own = matched == key
            for number, code in attribute:
                if code & MASKED:
                    masks[number] = masks.get(number, 0) | applying(code >> MASK_SHIFT, own)
                elif (blocks := bool(code & (_EXACT if own else _BELOW))) or number in found:
                    found[number] = Hit(blocks)  # an entry of an ancestor's name alone says nothing
        for number, bits in masks.items():
            if deciding := strongest(bits):
                rank, allow = deciding
                found[number] = Hit(not allow, (rank, allow, False, 0))
        special = self.special(profile, key, qtype)
        taken = {(number, rule.answer) for rule, number, _ in special if rule.kind.allow and rule.answer}
        for rule, number, _ in special:
            if rule.answer and (rule.kind.allow or not taken.isdisjoint(((number, rule.answer), (number, ANY_ANSWER)))):
                continue
            near = len(rule.what) if rule.on is On.NAME else 0  # in a policy zone the longest owner decides
            strength = rule.kind.rank, rule.kind.allow, bool(rule.answer), near
            if number not in found or strength > found[number].strength:
                found[number] = Hit(not rule.kind.allow, strength, rule.answer)
        return found

    def special(self, profile: int, key: bytes, qtype: int) -> list[Stated]:
        """The special rules that apply to a query."""
        if not self._specials:
            return []
        return self._holding(profile, self._met(profile, key), qtype)

    def special_of(self, profile: int, addresses: Sequence[bytes], qtype: int) -> list[Stated]:
        """The special rules that apply to the addresses of an answer."""
        if not self._specials:
            return []
        found = {number for address in addresses for number in self._specials.networks.find(address)}
        return self._holding(profile, sorted(found), qtype)

    def _holding(self, profile: int, numbers: Sequence[int], qtype: int) -> list[Stated]:
        assert self._specials
        groups = self._profiles[profile].groups
        return [self._specials.rules[number] for number in numbers if self._specials.holds(number, qtype, groups)]

    def _met(self, profile: int, key: bytes) -> tuple[int, ...]:
        assert self._specials
        return self._specials.match(key) + self._profiles[profile].always

    def changes_at(self) -> datetime | None:
        """The next instant after ``at`` at which a directive starts, ends or is announced, a schedule opens or closes,
        or an exception starts or ends."""
        fields = ("announce-from", "effective-from", "effective-until")
        stated = [directive[field] for directive in self.bundle.policy["directives"].values() for field in fields]
        stated += [instant for found in self.permissions if found.since for instant in (found.since, found.until)]
        instants = [datetime.fromisoformat(text) for text in stated if text]
        instants += [instant for entry in self._schedules if entry and (instant := schedule.changes_at(entry, self.at))]
        return min((instant for instant in instants if instant > self.at), default=None)

    def _permit(self, found: Permission) -> Permit:
        keys = [(name_key(name.removeprefix("=").encode()), name.startswith("=")) for name in found.names]
        return Permit(
            found,
            tuple(key for key, exact in keys if not exact),
            frozenset(key for key, exact in keys if exact),
            frozenset(id for id, entry in self.bundle.policy["directives"].items() if found.meets(entry["exceptions"])),
            Verdict(Action.ALLOW, exception=found.id),
        )

    def _compile(self, groups: frozenset[str], permits: tuple[Permit, ...]) -> Profile:
        """The order of precedence for clients of ``groups``: this function is that order."""
        policy = self.bundle.policy
        entries = [
            entry
            for entry, when in zip(policy["entries"], self._schedules, strict=True)
            if not groups.isdisjoint(entry["groups"]) and (not when or schedule.active(when, self.at))
        ]
        orders = list(self._directives(entries))
        lists = list(self._lists(entries))
        strong = [*self._operator(), *self._protected(), *_acting(orders, Action.BLOCK)]
        weak = {action: _acting(orders, action) for action in (Action.WARN, Action.OBSERVE)}
        allowing = _acting(lists, Action.ALLOW)
        return Profile(
            groups,
            steps=(
                *strong,
                *_acting(lists, Action.BLOCK),
                *weak[Action.WARN],
                *_acting(lists, Action.WARN),
                *weak[Action.OBSERVE],
                *_acting(lists, Action.OBSERVE),
            ),
            allowed=(*strong, *weak[Action.WARN], *weak[Action.OBSERVE], *allowing),
            allows=frozenset(step.list for step in allowing),
            always=self._specials.of_client(groups) if self._specials else (),
            permits=permits,
        )

    def _operator(self) -> Iterator[Step]:
        for name, verdict in (
            (OPERATOR_ALLOW, Verdict(Action.ALLOW)),
            (OPERATOR_BLOCK, _by_operator(Action.BLOCK, "blocked by the operator")),
        ):
            yield Step(self._numbers[name], verdict, "the operator's own names")

    def _protected(self) -> Iterator[Step]:
        for name, mode in PROTECTED.items():
            verdict = _by_operator(Action.BLOCK, "protected name")._replace(mode=mode)
            yield Step(self._numbers[name], verdict, "protected name: this is its one right answer")

    def _directives(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
        named = dict.fromkeys((name, entry["action"]) for entry in entries for name in entry["directives"])
        for name, action in named:
            directive = self.bundle.policy["directives"][name]
            if stage := _stage(directive, action, self.at):
                action, why = stage
                message = directive["message"].get("en") or directive["title"]
                text, ede = cut(f"{name}: {message}"), directive["ede"]
                who = {"contact": directive["contact"] or "", "organisation": directive["authority"]}
                texts = structured(ede, text, NETWORK_OPERATOR, **who)
                told = Verdict(action, name, ede=ede, text=text, structured=texts)
                for list_name in directive["lists"]:
                    verdict = _verdict(told, list_name)
                    yield Step(self._numbers[list_name], verdict, f"directive {name}, {why}")

    def _lists(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
        allowing = frozenset(self.bundle.policy["allow-lists"])
        for entry in entries:
            for name in entry["lists"]:
                action = Action.ALLOW if name in allowing else Action(entry["action"] or "block")
                verdict = _verdict(_by_operator(action, f"list {name}"), name)
                yield Step(self._numbers[name], verdict, f"list {name}, by policy for {', '.join(entry['groups'])}")


def first(trace: Sequence[tuple[Step, Hit | None]]) -> Verdict:
    """The verdict of the first step that has a hit."""
    return next((_answered(step, hit) for step, hit in trace if hit), FORWARD)


def address(client: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A client's address, without its zone; an IPv4-mapped one as the IPv4 address. Raises ValueError."""
    found = ipaddress.ip_address(client.partition("%")[0])
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def _binds(found: Permission, client: str, groups: frozenset[str]) -> bool:
    """Whether an exception is for a client."""
    if not groups.isdisjoint(found.groups):
        return True
    asker = address(client)
    return any(asker in ipaddress.ip_network(network) for network in found.clients)


def _answered(step: Step, hit: Hit) -> Verdict:
    """The step's verdict, with the answer of the special rule that decided."""
    if not hit.answer or step.verdict.action is not Action.BLOCK:
        return step.verdict
    return step.verdict._replace(mode=_MODES.get(hit.answer, hit.answer))


def _acting(steps: Sequence[Step], action: Action) -> list[Step]:
    return [step for step in steps if step.verdict.action is action]


def _by_operator(action: Action, text: str) -> Verdict:
    texts = structured(EDE_BLOCKED, text, DNS_OPERATOR)
    return Verdict(action, ede=EDE_BLOCKED, text=text, structured=texts)


def _verdict(told: Verdict, list_name: str) -> Verdict:
    """What a name of a list comes to. A client is told of a block and of a warning, and of nothing else."""
    if told.action is Action.BLOCK:
        return told._replace(list=list_name)
    return Verdict(told.action, told.directive, list_name, text=told.text if told.action is Action.WARN else "")


def _stage(directive: Mapping[str, Any], action: str | None, at: datetime) -> tuple[Action, str] | None:
    """What a directive does at an instant: nothing, a warning while it is announced, or its action in force.

    A policy entry's ``action`` takes the place of the directive's own.
    """

    def instant(field: str) -> datetime | None:
        return datetime.fromisoformat(directive[field]) if directive[field] else None

    announced, since, until = instant("announce-from"), instant("effective-from"), instant("effective-until")
    if until and at >= until:
        return None
    if since and at >= since:
        review = instant("review-at")
        due = f", to be reviewed by {directive['review-at']}" if review and at >= review else ""
        return Action(action or directive["action"]), f"in force since {directive['effective-from']}{due}"
    if announced and at >= announced:
        return Action.WARN, f"announced for {directive['effective-from']}"
    return None
