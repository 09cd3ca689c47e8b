"""What a feed may never say: rules that would take out a public suffix, a protected name or a never-block name.

A refused rule is quarantined: left out, kept with its reason, and reported. The guard is for feeds; what an operator
writes into the configuration is the operator's to decide.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sinkhole.catalogue.model import Target
from sinkhole.names import key, lineage, public_suffixes, unkey
from sinkhole.rules import Kind, Rule, Scope


class Quarantined(NamedTuple):
    """A rule that was left out, and why."""

    rule: Rule
    why: str


class Fence(NamedTuple):
    """Keys that feeds must not touch: the trees and the single names that are never blocked, the ancestors of both,
    which no feed may block with everything below, and the protected names with all below them."""

    trees: tuple[bytes, ...]
    names: tuple[bytes, ...]
    above: frozenset[bytes]
    protected: tuple[bytes, ...]


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


def guard(names: Mapping[Kind, list[bytes]], keys: dict[Kind, list[bytes]], fence: Fence) -> list[Quarantined]:
    """Take out of ``keys`` (sorted, by kind) every rule that ``fence`` or the public suffix list forbids."""
    found: list[Quarantined] = []
    for kind in keys:
        refused: dict[bytes, str] = {}
        for found_key, why in _refused(kind, names[kind], keys[kind], fence):
            refused.setdefault(found_key, why)
        if refused:
            keys[kind] = [key for key in keys[kind] if key not in refused]
            found += (Quarantined(Rule(unkey(key).decode(), kind), why) for key, why in refused.items())
    return found


def _refused(kind: Kind, names: list[bytes], keys: list[bytes], fence: Fence) -> Iterator[tuple[bytes, str]]:
    for name in fence.protected:
        yield from ((key, "a protected name") for key in _under(keys, name))
    if kind.allow:
        return
    for name in fence.trees:
        yield from ((key, "a never-block name") for key in _under(keys, name))
    if kind.scope & Scope.EXACT:
        yield from ((name, "a never-block name") for name in fence.names if name in _under(keys, name)[:1])
    if kind.scope & Scope.SUBDOMAINS:
        yield from ((key, "covers a never-block name") for key in sorted(fence.above.intersection(keys)))
        yield from ((key(name), "a public suffix") for name in sorted(public_suffixes(names)))


def _under(keys: list[bytes], name: bytes) -> list[bytes]:
    """Those of the sorted ``keys`` that are ``name`` or below it."""
    return keys[bisect_left(keys, name) : bisect_left(keys, name + b"\xff")]
