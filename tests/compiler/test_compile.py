"""Merging in parts: where a list is cut changes nothing."""

from __future__ import annotations

import pytest

from sinkhole.compiler.merge import Merge, fixed
from sinkhole.compiler.ranges import BOUNDS, COUNT, cut, keys_in, range_of
from sinkhole.names import key
from sinkhole.rules import Kind, Rank, Rule, Scope

TREE, EXACT, ALLOW = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.TREE, allow=True)
NAMES = [f"{word}.{top}" for word in ("a", "x.ba", "ba", "m-0", "q1") for top in ("com", "net", "xyz", "uk.com", "zz")]
KEYS = sorted(key(name.encode()) for name in NAMES)


def test_ranges_hold_every_key_once_and_in_order() -> None:
    ranges = cut(KEYS)
    assert len(ranges) == COUNT
    assert [found for text in ranges for found in keys_in(text)] == KEYS
    assert all(range_of(found) == at for at, text in enumerate(ranges) for found in keys_in(text))
    assert list(BOUNDS) == sorted(set(BOUNDS))


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("top", [Kind(Scope.TREE, rank=Rank.OWN), Kind(Scope.SUBDOMAINS), ALLOW])
def test_what_stands_above_a_cut_is_known_below_it(top: Kind, special: bool) -> None:
    sources = [{TREE: cut(KEYS[::2]), EXACT: cut(KEYS[::3])}, {ALLOW: cut(KEYS[::5]), EXACT: cut(KEYS)}]
    merge = Merge(sources, fixed([Rule("a.com", EXACT)], {top: [b"moc.", b"ten."]}), special)
    whole = list(merge.parts(0, COUNT))
    assert sum(len(part.codes) for part in whole) == len({*KEYS, b"moc.", b"ten."})
    for at in sorted({range_of(found) for found in KEYS} | {1, COUNT - 1}):
        assert [*merge.parts(0, at), *merge.parts(at, COUNT)] == whole
