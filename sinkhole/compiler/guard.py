"""What a feed may never say: rules that would take out a public suffix, a protected name or a never-block name.

A refused rule is quarantined: left out, kept with its reason, and reported. The guard is for feeds; what an operator
writes into the configuration is the operator's to decide.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from sinkhole.names import key, lineage, listed_suffixes, unkey, wild_suffixes
from sinkhole.rules import Kind, On, Rule, Scope, Special

if TYPE_CHECKING:  # which would bring the whole model of the catalogue along
    from sinkhole.catalogue.model import Target

#: Names that no pattern is about: one that finds any of them finds nearly all below that suffix.
_NOBODYS = tuple(
    f"q7-zk_4w.{suffix}" for suffix in ("com", "net", "org", "io", "de", "kr", "cn", "ru", "co.uk", "github.io")
)
#: Prefixes of public networks that are blocked have at least this length: that of what a registry has, by IP version.
_NARROWEST = {4: 8, 6: 19}


class Quarantined(NamedTuple):
    """A rule that was left out, and why."""

    rule: Rule | Special
    why: str


class Fence(NamedTuple):
    """Keys that feeds must not touch: the trees and the single names that are never blocked, the ancestors of both,
    which no feed may block with everything below, and the protected names with all below them."""

    trees: tuple[bytes, ...]
    names: tuple[bytes, ...]
    above: frozenset[bytes]
    protected: tuple[bytes, ...]

    @property
    def portable(self) -> Fence:
        """All that it is made from, without what follows from that and has no order."""
        return self._replace(above=frozenset())


def fence(never: Iterable[Target], protected: Iterable[str]) -> Fence:
    """The fence around never-block names, each a tree or exact, and protected names."""
    kept = sorted(never)
    ancestors = {_key(parent) for target in kept for parent in lineage(target.name) if parent != target.name}
    trees, names = (
        tuple(_key(target.name) for target in kept if (Scope.SUBDOMAINS in target.scope) is deep)
        for deep in (True, False)
    )
    return Fence(trees, names, frozenset(ancestors), tuple(sorted(map(_key, protected))))


def _key(name: str) -> bytes:
    return key(name.encode())


def guard(keys: dict[Kind, list[bytes]], fence: Fence) -> list[Quarantined]:
    """Sort ``keys``, given by kind in any order, and take out what ``fence`` or the public suffix list forbids."""
    found: list[Quarantined] = []
    for kind, stated in keys.items():
        suffixes = listed_suffixes(stated) if _covers(kind) else set()  # before they lie about in memory in this order
        stated.sort()
        refused: dict[bytes, str] = {}
        for found_key, why in _refused(kind, stated, suffixes, fence):
            refused.setdefault(found_key, why)
        for found_key in refused:
            del stated[bisect_left(stated, found_key) : bisect_right(stated, found_key)]
        found += (Quarantined(Rule(unkey(key).decode(), kind), why) for key, why in refused.items())
    return found


def _covers(kind: Kind) -> bool:
    """Whether a rule blocks names below its own."""
    return not kind.allow and Scope.SUBDOMAINS in kind.scope


def guard_special(rules: Iterable[Special], fence: Fence) -> tuple[list[Special], list[Quarantined]]:
    """(rules that may stay, rules that may not): as :func:`guard`, and no pattern may match a never-block name."""
    kept, found = [], []
    for rule in rules:
        if why := _special_refusal(rule, fence):
            found.append(Quarantined(rule, why))
        else:
            kept.append(rule)
    return kept, found


def _special_refusal(rule: Special, fence: Fence) -> str | None:
    if rule.on is On.NAME:
        stated = [key(rule.what.encode())]
        return next((why for _, why in _refused(rule.kind, stated, listed_suffixes(stated), fence)), None)
    if rule.on is On.ADDRESS and not rule.kind.allow:
        network = ip_network(rule.what)
        wide = network.prefixlen < _NARROWEST[network.version] and not network.is_private
        return "a network as wide as many" if wide else None
    if rule.kind.allow or rule.on not in (On.PATTERN, On.NOT_PATTERN):
        return None
    import re2  # for the few texts that have patterns

    pattern = re2.compile(rule.what)
    if any(bool(pattern.search(name)) is (rule.on is On.PATTERN) for name in _NOBODYS):
        return "matches every name below a public suffix"
    for name in (*fence.trees, *fence.names):
        if bool(pattern.search(unkey(name).decode())) is (rule.on is On.PATTERN):
            return "matches a never-block name"
    return None


def _refused(kind: Kind, keys: list[bytes], suffixes: set[bytes], fence: Fence) -> Iterator[tuple[bytes, str]]:
    for name in fence.protected:
        yield from ((key, "a protected name") for key in _under(keys, name))
    if kind.allow:
        return
    for name in fence.trees:
        yield from ((key, "a never-block name") for key in _under(keys, name))
    if kind.scope & Scope.EXACT:
        yield from ((name, "a never-block name") for name in fence.names if name in _under(keys, name)[:1])
    if _covers(kind):
        yield from ((key, "covers a never-block name") for key in sorted(fence.above) if key in _under(keys, key)[:1])
        yield from ((key, "a public suffix") for key in sorted(suffixes | wild_suffixes(keys)))


def _under(keys: list[bytes], name: bytes) -> list[bytes]:
    """Those of the sorted ``keys`` that are ``name`` or below it."""
    return keys[bisect_left(keys, name) : bisect_left(keys, name + b"\xff")]
