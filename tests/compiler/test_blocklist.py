"""Merging rules into masks, and what each name comes to."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings

from sinkhole.compiler.blocklist import Blocklist, Code, Resolved, keys_of, resolve, resolve_nearest
from sinkhole.names import key, lineage
from sinkhole.rules import Kind, Parsed, Rank, Rule, Scope
from tests.lists import NAMES, blocked, covers, rules, strongest


def merged(stated: Sequence[Rule]) -> Blocklist:
    blocklist = Blocklist()
    for rule in stated:  # one source a rule: the order and the grouping must not matter
        parsed = Parsed()
        parsed.add(rule)
        blocklist.merge(keys_of(parsed))
    return blocklist


def by_entries(resolved: Resolved, name: str) -> bool:
    """What the entries say when the most specific one decides."""
    entries = dict(resolved.entries())
    for above in lineage(name):
        if (code := entries.get(key(above.encode()))) is not None:
            return bool(code & (Code.EXACT if above == name else Code.BELOW))
    return False


@settings(max_examples=500)
@given(rules)
def test_the_entries_of_a_list_block_what_its_rules_block(stated: list[Rule]) -> None:
    resolved = resolve(merged(stated).masks)
    assert {name for name in NAMES if by_entries(resolved, name)} == blocked(strongest, stated)


@settings(max_examples=300)
@given(rules)
def test_no_entry_repeats_what_its_ancestors_say(stated: list[Rule]) -> None:
    resolved = resolve(merged(stated).masks)
    entries = dict(resolved.entries())
    for dropped in entries:
        fewer = Resolved(
            [kept for kept in entries if kept != dropped],
            bytearray(entries[kept] for kept in entries if kept != dropped),
        )
        around = [*NAMES, *(f"x.{name}" for name in NAMES)]
        assert [by_entries(fewer, name) for name in around] != [by_entries(resolved, name) for name in around]


@given(rules)
def test_the_order_of_sources_changes_nothing(stated: list[Rule]) -> None:
    assert resolve(merged(stated).masks) == resolve(merged(stated[::-1]).masks)


@settings(max_examples=300)
@given(rules)
def test_among_the_operators_names_the_most_specific_decides(stated: list[Rule]) -> None:
    """At one name an exact rule is more specific than a tree; equal rules of both kinds do not occur."""
    first = {(rule.name, scope): rule for rule in reversed(stated) for scope in [rule.kind.scope]}
    unique = list(first.values())

    def nearest(name: str) -> bool:
        found = [rule for rule in unique if covers(rule, name)]
        found.sort(key=lambda rule: (len(rule.name), -bin(rule.kind.scope).count("1")))
        return bool(found) and not found[-1].kind.allow

    resolved = resolve_nearest(unique)
    assert {name for name in NAMES if by_entries(resolved, name)} == {name for name in NAMES if nearest(name)}


def test_a_tree_folds_what_is_below_it_and_keeps_exceptions() -> None:
    tree, allow = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
    resolved = resolve(merged([Rule("z.test", tree), Rule("a.z.test", tree), Rule("b.z.test", allow)]).masks)
    assert [(entry, code & 3) for entry, code in resolved.entries()] == [(b"tset.z.", 3), (b"tset.z.b.", 0)]


def test_what_the_author_of_a_list_states_no_feed_weakens() -> None:
    own = Rule("a.z.test", Kind(Scope.TREE, rank=Rank.OWN))
    feed = Rule("a.z.test", Kind(Scope.TREE, allow=True, rank=Rank.IMPORTANT))
    assert by_entries(resolve(merged([feed, own]).masks), "x.a.z.test")
