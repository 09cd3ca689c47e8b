"""Fitting: every export, read back as its consumer reads it, blocks what the list blocks, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import Fitted, fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format, Header
from sinkhole.names import key
from sinkhole.rules import Kind, Rank, Rule, Scope
from tests.compiler.test_blocklist import merged
from tests.lists import MEANING, NAMES, blocked, rules, strongest

BY_NAME = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def exported(stated: list[Rule], hosts: list[str], format: Format) -> tuple[Fitted, bytes]:
    known = {key(host.encode()) for host in hosts}
    fitted = fit(resolve(merged(stated).masks), known, format)
    return fitted, b"".join(render(fitted, format, Header(title="test")))


@BY_NAME
@settings(max_examples=400, deadline=None)
@given(stated=rules, hosts=st.lists(st.sampled_from(NAMES), max_size=3))
def test_an_export_never_blocks_more_than_the_list(format: Format, stated: list[Rule], hosts: list[str]) -> None:
    fitted, text = exported(stated, hosts, format)
    back = format.read(text)
    assert back.skipped == {}
    read = list(back.rules())
    assert len(read) == len(fitted.statements) or format.closest  # where two may mean one rule
    wanted = blocked(strongest, stated)
    for meaning in MEANING[format.name]:
        found = blocked(meaning, read)
        assert found <= wanted
        if not fitted.loss:
            assert found == wanted
    # what is read back into a list of ours means the same once more
    assert blocked(strongest, read) <= wanted
    if not fitted.loss:
        assert blocked(strongest, read) == wanted


@settings(max_examples=300, deadline=None)
@given(stated=rules)
def test_a_policy_zone_can_say_everything_and_each_owner_once(stated: list[Rule]) -> None:
    fitted, text = exported(stated, [], FORMATS["rpz"])
    assert not fitted.loss
    owners = [line.split()[0] for line in text.split(b"\n") if b" CNAME " in line]
    assert len(owners) == len(set(owners))


def test_a_zone_states_apex_and_wildcard_of_every_exception_and_of_what_lies_between() -> None:
    stated = [Rule("z.test", Kind(Scope.TREE)), Rule("a.b.z.test", Kind(Scope.EXACT, allow=True))]
    _, text = exported(stated, [], FORMATS["rpz"])
    assert text.split(b"@ NS localhost.\n")[1].decode() == (
        "z.test CNAME .\n*.z.test CNAME .\nb.z.test CNAME .\n*.b.z.test CNAME .\n"
        "a.b.z.test CNAME rpz-passthru.\n*.a.b.z.test CNAME .\n"
    )


def test_exact_formats_list_known_hosts_in_place_of_trees_and_count_the_loss() -> None:
    stated = [
        Rule("z.test", Kind(Scope.TREE)),
        Rule("b.test", Kind(Scope.SUBDOMAINS)),
        Rule("ok.z.test", Kind(Scope.TREE, True)),
    ]
    fitted, text = exported(stated, ["a.z.test", "x.ok.z.test", "m.b.test", "elsewhere.test"], FORMATS["hosts"])
    assert fitted.loss.data() == {"narrowed": 1, "dropped": 1, "too_long": 0, "unfit": 0, "special": 0, "hosts": 2}
    assert [line for line in text.decode().split("\n") if line.startswith("0.0.0.0")] == [
        "0.0.0.0 m.b.test",
        "0.0.0.0 z.test",
        "0.0.0.0 a.z.test",
    ]
    assert "# Note: 1 rules also cover all names below theirs, which this format cannot say\n" in text.decode()


def test_names_folded_into_a_tree_come_back_where_trees_cannot_be_said() -> None:
    stated = [Rule("z.test", Kind(Scope.TREE)), Rule("a.z.test", Kind(Scope.EXACT))]
    assert len(exported(stated, [], FORMATS["hosts"])[0].statements) == 2
    assert len(exported(stated, [], FORMATS["adblock"])[0].statements) == 1


def test_a_tree_with_a_hole_shrinks_where_exceptions_cannot_be_said() -> None:
    stated = [
        Rule("z.test", Kind(Scope.TREE)),
        Rule("a.z.test", Kind(Scope.TREE, True)),
        Rule("b.z.test", Kind(Scope.EXACT)),
    ]
    fitted, _ = exported(stated, [], FORMATS["pihole"])
    assert fitted.statements == [(b"tset.z.", Kind(Scope.EXACT)), (b"tset.z.b.", Kind(Scope.TREE))]


def test_turns_from_block_to_allow_and_back_take_a_higher_rank() -> None:
    tree, allow = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
    important, own = Kind(Scope.TREE, rank=Rank.IMPORTANT), Kind(Scope.TREE, True, Rank.OWN)
    stated = [Rule("z.test", tree), Rule("a.z.test", allow), Rule("b.a.z.test", important), Rule("a.b.a.z.test", own)]
    _, text = exported(stated, [], FORMATS["adblock"])
    assert text.decode().split("\n")[3:-1] == [
        "||z.test^",
        "@@||a.z.test^",
        "||b.a.z.test^$important",
        "@@||a.b.a.z.test^$important",
    ]


def test_item_42_a_name_too_long_for_a_policy_zone_is_left_out_and_counted() -> None:
    long = ".".join(["a" * 50] * 4) + ".test"
    fitted, _ = exported([Rule(long, Kind(Scope.EXACT))], [], FORMATS["rpz"])
    assert fitted.statements == []
    assert fitted.loss.too_long == 1
    assert fitted.loss.notes() == ["1 rules have a name that is too long for this format"]


def test_a_header_value_cannot_begin_a_line_of_its_own() -> None:
    fitted = fit(resolve({}), (), FORMATS["hosts"])
    text = b"".join(render(fitted, FORMATS["hosts"], Header(title="a\n0.0.0.0 evil.test\r", description="b\tc")))
    assert all(line.startswith(b"#") for line in text.split(b"\n") if line)
