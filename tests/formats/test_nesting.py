"""Texts in which the most specific rule wins, read into lists in which exceptions beat blocks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, Rank, Rule, Scope
from tests.formats.lines import everything
from tests.lists import NAMES, blocked, most_specific, strongest

SCRIPT = FORMATS["powerdns"]


def text(stated: list[Rule]) -> bytes:
    return b"".join(SCRIPT.lines[rule.kind] % rule.name.encode() + b"\n" for rule in stated)


# One name never has two rules that contradict each other: what that means differs between programs.
states = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from([(True, True), (True, False), (False, True), (False, False), (True,), (False,)]),
    max_size=6,
)


@settings(max_examples=500)
@given(states=states)
def test_what_is_read_means_the_same_as_long_as_ranks_suffice(states: dict[str, tuple[bool, ...]]) -> None:
    stated = []
    for name, sides in states.items():
        if sides in ((True, False), (False, True)):
            stated.append(Rule(name, Kind(Scope.EXACT, allow=not sides[0])))
            stated.append(Rule(name, Kind(Scope.SUBDOMAINS, allow=not sides[1])))
        else:
            stated.append(Rule(name, Kind(Scope.TREE, allow=not sides[0])))
    found = list(SCRIPT.read(text(stated)).rules())
    assert blocked(strongest, found) <= blocked(most_specific, stated)
    if all(name.count(".") < 4 for name in states):  # four levels turn more often than there are ranks
        assert blocked(strongest, found) == blocked(most_specific, stated)


def test_a_tree_with_the_opposite_on_one_side_is_read_as_the_other_side() -> None:
    read = FORMATS["dnsmasq"].read
    assert everything(read(b"local=/a.test/\nserver=/*.a.test/#\n")) == ["block exact a.test"]
    assert everything(read(b"local=/*.a.test/\nserver=/a.test/#\n")) == ["block subdomains a.test"]
    assert everything(read(b"local=/test.test/\nlocal=/a.test.test/\nserver=/*.a.test.test/#\n")) == [
        "allow subdomains a.test.test",
        "block tree test.test",
    ]


def test_the_same_rule_twice_is_read_once_or_twice_but_never_lost() -> None:
    assert set(everything(FORMATS["dnsmasq"].read(b"server=/b.a.test/#\n" * 2 + b"local=/a.test/\n" * 2))) == {
        "allow tree b.a.test",
        "block tree a.test",
    }


def test_blocks_without_any_exception_keep_their_rank() -> None:
    parsed = FORMATS["dnsmasq"].read(b"local=/a.test/\nlocal=/b.a.test/\n")
    assert {kind.rank for kind in parsed.names} == {Rank.FEED}
