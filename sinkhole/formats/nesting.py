"""Formats where the most specific rule wins, in the terms of lists where an exception beats every block of its rank.

A block below an exception is read at a higher rank. A tree with the opposite below it, which is how some formats say
that they mean a name alone, is read as that name alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from sinkhole.names import key, unkey
from sinkhole.rules import Kind, Parsed, Rank, Scope

_SIDES = (Scope.EXACT, Scope.SUBDOMAINS)


def nest(parsed: Parsed) -> None:
    """Give the rules of ``parsed``, all of rank FEED, the ranks with which the most specific one wins.

    A turn from allow to block takes the next rank; a block below the second exception stays below it: that is narrower.
    """
    if not any(kind.allow for kind in parsed.kinds):
        return
    gone: dict[Kind, set[bytes]] = {}
    above: list[tuple[bytes, bool, int]] = []
    for found, group in groupby(sorted(_concerned(parsed)), itemgetter(0)):
        while above and not found.startswith(above[-1][0]):
            above.pop()
        allowed, level = above[-1][1:] if above else (False, 0)
        given = {kind for _, kind in group}
        meant = set()
        for kind in _told_once(given, bool(above) and not allowed):
            turns = level + (kind.allow is not allowed)
            meant.add(kind._replace(rank=Rank(min(turns // 2, Rank.IMPORTANT))))
            if kind.scope & Scope.SUBDOMAINS:
                below = found, kind.allow, turns
        for kind in given - meant:
            gone.setdefault(kind, set()).add(unkey(found))
        for kind in meant - given:
            parsed.names.setdefault(kind, []).append(unkey(found))
        if any(kind.scope & Scope.SUBDOMAINS for kind in meant):
            above.append(below)
    for kind, names in gone.items():
        parsed.names[kind] = [name for name in parsed.names[kind] if name not in names]


def _told_once(kinds: set[Kind], inherited: bool) -> set[Kind]:
    """The rules of one name without a tree that one of its sides contradicts: that side, or else the other one, is as
    it would be without any rule (``inherited``: blocked)."""
    sides = {side: kind for kind in sorted(kinds, reverse=True) for side in _SIDES if side & kind.scope}
    blocked = {side: not kind.allow for side, kind in sides.items()}
    if len(set(blocked.values())) < 2 or not any(kind.scope == Scope.TREE for kind in kinds):
        return kinds
    return {Kind(side, allow=not wanted) for side, wanted in blocked.items() if wanted is not inherited}


def _concerned(parsed: Parsed) -> set[tuple[bytes, Kind]]:
    """(key, kind) of every exception, and of every block that stands below one, or above one with all below it."""
    found = {(key(name), kind) for kind, names in parsed.names.items() if kind.allow for name in names}
    tops = sorted({above for above, _ in found})
    if tops:
        for kind, names in parsed.names.items():
            if not kind.allow:
                keys = sorted(map(key, names))
                found.update((below, kind) for below in _below(keys, tops))
                if kind.scope & Scope.SUBDOMAINS:
                    found.update((above, kind) for above in _above(frozenset(keys), tops))
    return found


def _below(keys: list[bytes], tops: list[bytes]) -> Iterator[bytes]:
    done = b"\xff"
    for top in tops:
        if not top.startswith(done):
            done = top
            at = bisect_left(keys, top)
            while at < len(keys) and keys[at].startswith(top):
                yield keys[at]
                at += 1


def _above(keys: frozenset[bytes], tops: list[bytes]) -> Iterator[bytes]:
    for top in tops:
        end = top.find(b".") + 1
        while end < len(top):
            if top[:end] in keys:
                yield top[:end]
            end = top.find(b".", end) + 1
