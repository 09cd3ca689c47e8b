"""What a group may not reach at an instant, as one list: the lists of a bundle, merged as the policy decides.

It follows :class:`~sinkhole.policy.policy.Policy`: directives in force, lists, the operator's names, and the exceptions
that the whole group has; what is only warned of or observed is not blocked. The merged list never blocks what the
policy lets through. What it cannot hold is left out and counted: blocks by pattern, for some record types, with an
answer of their own, or by address. Exceptions of these kinds count for all queries that they may meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from heapq import merge
from typing import NamedTuple

from sinkhole.bundle import MASK_SHIFT, MASKED, NOTHING, Attribute
from sinkhole.compiler.blocklist import Code, Resolved
from sinkhole.exports.special import SIMPLE, cutting
from sinkhole.names import key, unkey
from sinkhole.policy.policy import Permit, Policy, Profile, Step
from sinkhole.policy.span import Span, span
from sinkhole.policy.special import binds, stated
from sinkhole.policy.verdict import INTERNAL, PROTECTED, Action
from sinkhole.rules import On, Rank, Special, applying, strongest

_PATTERNS = (On.PATTERN, On.NOT_PATTERN)


class Group(NamedTuple):
    """A group's merged list, with and without the ``protected`` names, which only some formats can answer rightly.

    ``lists`` and ``directives`` are what it was merged from, ``exceptions`` the ids of those it takes into account;
    ``special`` is how many rules were left out.
    """

    id: str
    span: Span
    lists: tuple[str, ...]
    directives: tuple[str, ...]
    exceptions: tuple[str, ...]
    resolved: Resolved
    protected: Resolved
    special: int


def group(policy: Policy, id: str) -> Group:
    """The merged list of a group, or of ``all``, at the instant of ``policy``."""
    profile = policy.of_group(id)
    deciding = [step.verdict for step in (*profile.steps, *profile.allowed) if _decides(step.verdict.action)]
    names = dict.fromkeys(found.list for found in deciding if found.list and not found.directive)
    merger = _Merger(policy, profile)
    resolved, protected = merger.resolved()
    return Group(
        id,
        span(policy.bundle.policy, policy.permissions, policy.at, id),
        tuple(sorted(name for name in names if name and name not in INTERNAL)),
        tuple(sorted({found.directive for found in deciding if found.directive})),
        tuple(sorted(permit.permission.id for permit in profile.permits)),
        resolved,
        protected,
        merger.left_out,
    )


def version(resolved: Iterable[Resolved], extra: Iterable[str]) -> str:
    """Twelve hex digits that change exactly when what is stated changes."""
    digest = hashlib.sha256()
    for part in (*(part for each in resolved for part in (each.text, bytes(each.codes))), "\n".join(extra).encode()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:12]


def _decides(action: Action) -> bool:
    return action in (Action.BLOCK, Action.ALLOW)


class _Side(NamedTuple):
    """A list in one of its two parts: as one that blocks, or as one that allows."""

    list: int
    allows: bool


#: Whether a rule may apply to a name, and whether it may to any name below one.
_Cut = tuple[Callable[[bytes], object], Callable[[bytes], bool]]
#: Bits of sides that have the name, of those that have what is below it, and the masks of both by side.
_Found = tuple[int, int, tuple[int, ...], tuple[int, ...]]


class _Merger:
    """Walks the keys of a bundle once; sides and, behind them, exceptions are known by a bit each."""

    def __init__(self, policy: Policy, profile: Profile) -> None:
        self._bundle = policy.bundle
        self._profile = profile
        sides = map(_side, (*profile.steps, *profile.allowed))
        self._sides = list(dict.fromkeys(side for side in sides if side))
        self._numbers: dict[int, list[int]] = {}
        for number, side in enumerate(self._sides):
            self._numbers.setdefault(side.list, []).append(number)
        self._special: dict[bytes, list[tuple[int, int]]] = {}  # key -> (side, mask)
        self._permitted: dict[bytes, list[tuple[int, int]]] = {}  # key -> (bit, code)
        self._cuts: dict[int, list[tuple[Rank, _Cut]]] = {}
        self.left_out = 0
        self._take_special()
        for number, permit in enumerate(profile.permits, len(self._sides)):
            self._take_permit(number, permit)

    def _take_special(self) -> None:
        rules: dict[int, list[Special]] = {}
        for rule, number, _ in stated(self._bundle.special):
            if binds(rule, self._profile.groups):
                rules.setdefault(number, []).append(rule)
        for number, side in enumerate(self._sides):
            found = rules.get(side.list, ())
            takers = any(rule.kind.allow and rule.answer for rule in found)
            patterns = []
            for rule in found:
                if rule.kind.allow and rule.answer:  # it allows nothing
                    continue
                plain = not rule.types and not rule.except_names and rule.answer in SIMPLE and not takers
                lets_through = rule.kind.allow is not side.allows
                if lets_through and rule.on in _PATTERNS:
                    patterns.append(rule)
                elif rule.on is On.NAME and (lets_through or plain):
                    self._special.setdefault(key(rule.what.encode()), []).append((number, rule.kind.mask))
                elif not lets_through:
                    self.left_out += not side.allows
            self._cuts[number] = [
                (rank, cutting([rule for rule in patterns if rule.kind.rank >= rank]))
                for rank in Rank
                if any(rule.kind.rank >= rank for rule in patterns)
            ]

    def _take_permit(self, number: int, permit: Permit) -> None:
        for found in permit.trees:
            self._permitted.setdefault(found, []).append((1 << number, Code.EXACT | Code.BELOW))
        for found in permit.exact:
            self._permitted.setdefault(found, []).append((1 << number, Code.EXACT))

    def resolved(self) -> tuple[Resolved, Resolved]:
        """What the keys come to without the protected names, unless something else blocks them, and with those whose
        one answer is that they do not exist."""
        answers = {number: PROTECTED.get(self._bundle.lists[side.list]) for number, side in enumerate(self._sides)}
        absent, others = (
            sum(1 << number for number, answer in answers.items() if answer and (answer == "nxdomain") is wanted)
            for wanted in (True, False)
        )
        blocks = cache(lambda bits: self._blocks(bits & ~others))
        apart: list[int] = []
        cuts = {number: cut for number, cut in self._cuts.items() if cut}
        keys: list[bytes] = []
        codes = bytearray()
        none = (0,) * len(self._sides)
        above: list[tuple[bytes, int, tuple[int, ...], bool]] = []
        top, bits, masks, inherited = b"", 0, none, False
        known: dict[tuple[object, ...], _Found] = {}
        for found, attribute in self._items():
            while not found.startswith(top):
                top, bits, masks, inherited = above.pop()
            special, permitted = self._special.get(found), self._permitted.get(found)
            if special or permitted:
                told = self._told(attribute, special or (), permitted or (), bits, masks)
            else:
                same = attribute, bits, masks
                if (met := known.get(same)) is None:
                    met = known[same] = self._told(attribute, (), (), bits, masks)
                told = met
            exact, below, _, reach = told
            cut = self._cut(cuts, unkey(found), told) if cuts else (exact, below)
            name, rest = blocks(cut[0]), blocks(cut[1])
            if name or rest or inherited:
                if cut[0] & absent and name and not blocks(cut[0] & ~absent):
                    apart.append(len(keys))
                keys.append(found)
                codes.append(name * Code.EXACT | rest * Code.BELOW | inherited * Code.INHERITED)
            if below != bits or reach != masks or rest is not inherited:
                above.append((top, bits, masks, inherited))
                top, bits, masks, inherited = found, below, reach, rest
        without = codes.copy()
        for at in apart:
            without[at] &= ~Code.EXACT
        return Resolved(keys, without), Resolved(keys, codes)

    def _items(self) -> Iterator[tuple[bytes, Attribute]]:
        """The entries of the bundle, and the keys that only special rules and exceptions have."""
        more = sorted(found for found in {*self._special, *self._permitted} if not self._bundle.entry(found))
        items = self._bundle.items()
        return merge(items, ((found, NOTHING) for found in more)) if more else items

    def _told(
        self,
        attribute: Attribute,
        special: Iterable[tuple[int, int]],
        permitted: Iterable[tuple[int, int]],
        bits: int,
        masks: tuple[int, ...],
    ) -> _Found:
        """What the entry of a key comes to below names that come to ``bits`` and ``masks``."""
        exact = below = bits
        added: dict[int, int] = {}
        for listed, code in attribute:
            for number in self._numbers.get(listed, ()):
                bit = 1 << number
                if code & MASKED:
                    added[number] = added.get(number, 0) | code >> MASK_SHIFT
                else:
                    exact = exact | bit if code & Code.EXACT else exact & ~bit
                    below = below | bit if code & Code.BELOW else below & ~bit
        for number, mask in special:
            added[number] = added.get(number, 0) | mask
        if not added:
            own = reach = masks
        else:
            owns, reaches = list(masks), list(masks)
            for number, mask in added.items():
                owns[number] |= applying(mask, True)
                reaches[number] |= applying(mask, False)
                bit = 1 << number
                exact = exact | bit if _hit(owns[number]) else exact & ~bit
                below = below | bit if _hit(reaches[number]) else below & ~bit
            own, reach = tuple(owns), tuple(reaches)
        for bit, code in permitted:
            exact |= bit
            below |= bit if code & Code.BELOW else 0
        return exact, below, own, reach

    def _cut(self, cuts: Mapping[int, list[tuple[Rank, _Cut]]], name: bytes, told: _Found) -> tuple[int, int]:
        """The bits of a name without what patterns may let through."""
        exact, below, own, reach = told
        for number, ranked in cuts.items():
            bit = 1 << number
            if self._sides[number].allows:
                _, (meets, meets_below) = ranked[0]
                exact |= bit if meets(name) else 0
                below |= bit if meets_below(name) else 0
                continue
            for rank, (meets, meets_below) in ranked:
                if exact & bit and _rank(own[number]) == rank and meets(name):
                    exact &= ~bit
                if below & bit and _rank(reach[number]) == rank and meets_below(name):
                    below &= ~bit
        return exact, below

    def _blocks(self, bits: int) -> bool:
        """Whether the policy blocks what these sides have, and these exceptions cover."""
        profile = self._profile
        hit = {side for number, side in enumerate(self._sides) if bits >> number & 1}
        steps = (
            profile.steps if profile.allows.isdisjoint(side.list for side in hit if side.allows) else profile.allowed
        )
        deciding = next((step for step in steps if _side(step) in hit), None)
        if deciding is None or deciding.verdict.action is Action.ALLOW:
            return False
        permits = [permit for at, permit in enumerate(profile.permits, len(self._sides)) if bits >> at & 1]
        orders = {step.verdict.directive for step in (*profile.steps, *profile.allowed) if _side(step) in hit}
        return not permits or not orders - {None} <= frozenset[str]().union(*(permit.lifts for permit in permits))


def _side(step: Step) -> _Side | None:
    action = step.verdict.action
    return _Side(step.list, action is Action.ALLOW) if _decides(action) else None


def _hit(bits: int) -> bool:
    deciding = strongest(bits)
    return deciding is not None and not deciding[1]


def _rank(bits: int) -> Rank | None:
    deciding = strongest(bits)
    return deciding and deciding[0]
