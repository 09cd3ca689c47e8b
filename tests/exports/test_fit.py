"""Fitting: every export, read back as its consumer reads it, blocks what the list blocks, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports import statements
from sinkhole.exports.fit import Fitted, fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format, Header
from sinkhole.names import key
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.compiler.test_blocklist import merged
from tests.lists import MEANING, NAMES, blocked, rules, strongest

BY_NAME = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def exported(stated: list[Rule], hosts: list[str], format: Format) -> tuple[Fitted, bytes]:
    known = {key(host.encode()) for host in hosts}
    fitted = fit(resolve(merged(stated).masks), known, format)
    return fitted, b"".join(render(fitted, format, Header(title="test")))


@BY_NAME
@settings(max_examples=150)
@given(stated=rules, hosts=st.lists(st.sampled_from(NAMES), max_size=3))
def test_trees_that_are_remembered_say_what_trees_worked_out_name_by_name_do(
    format: Format, stated: list[Rule], hosts: list[str]
) -> None:
    """The same list below many domains, so that every form of a tree is met again, and in blocks of three names."""
    many = [Rule(rule.name.replace("z.test", f"z{n}.test"), rule.kind) for n in range(3) for rule in stated]
    known = [host.replace("z.test", f"z{n}.test") for n in range(3) for host in hosts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statements, "BLOCK", 3)
        fitted, text = exported(many, known, format)
        patch.setattr("sinkhole.exports.fit._SMALL", 0)
        slow, slow_text = exported(many, known, format)
    assert list(fitted.statements) == list(slow.statements) == sorted(slow.statements)
    assert (fitted.loss, fitted.rules, text) == (slow.loss, slow.rules, slow_text)
    assert text == exported(many, known, format)[1]


@BY_NAME
@settings(max_examples=400)
@given(stated=rules, hosts=st.lists(st.sampled_from(NAMES), max_size=3))
def test_an_export_never_blocks_more_than_the_list(format: Format, stated: list[Rule], hosts: list[str]) -> None:
    fitted, text = exported(stated, hosts, format)
    back = format.read(text)
    assert back.skipped == {}
    read = list(back.rules())
    assert len(set(read)) == len(fitted.statements) or format.closest  # where two may mean one rule
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


@settings(max_examples=300)
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
    assert "# Note: 1 rule also covers all names below its own, which this format cannot say\n" in text.decode()


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
    assert list(fitted.statements) == [(b"tset.z.", Kind(Scope.EXACT)), (b"tset.z.b.", Kind(Scope.TREE))]


def test_turns_from_block_to_allow_and_back_take_a_higher_rank() -> None:
    tree, allow = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
    important, own = Kind(Scope.TREE, rank=Rank.IMPORTANT), Kind(Scope.TREE, True, Rank.OWN)
    stated = [Rule("z.test", tree), Rule("a.z.test", allow), Rule("b.a.z.test", important), Rule("a.b.a.z.test", own)]
    _, text = exported(stated, [], FORMATS["adblock"])
    assert text.decode().split("\n")[4:-1] == [
        "||z.test^",
        "@@||a.z.test^",
        "||b.a.z.test^$important",
        "@@||a.b.a.z.test^$important",
    ]


def test_item_42_a_name_too_long_for_a_policy_zone_is_left_out_and_counted() -> None:
    long = ".".join(["a" * 50] * 4) + ".test"
    fitted, _ = exported([Rule(long, Kind(Scope.EXACT))], [], FORMATS["rpz"])
    assert list(fitted.statements) == []
    assert fitted.loss.too_long == 1
    assert fitted.loss.notes() == ["1 rule has a name that is too long for this format"]


LONG = ".".join(["a" * 50] * 4)


@pytest.mark.parametrize(
    ("name", "odd", "counted"), [("rpz", f"{LONG}.z.test", "too_long"), ("csv", "-a.z.test", "unfit")]
)
def test_an_exception_that_a_format_cannot_hold_takes_all_beside_it_along(name: str, odd: str, counted: str) -> None:
    tree, allow = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
    stated = [Rule("z.test", tree), Rule(odd, allow), Rule("b.z.test", tree), Rule(f"deep.{odd[3:]}", tree)]
    fitted, text = exported(stated, [], FORMATS[name])
    assert getattr(fitted.loss, counted) == 1
    read = list(FORMATS[name].read(text).rules())
    for meaning in MEANING[name]:
        assert not meaning(read, odd)
        assert not meaning(read, f"x.{odd}")
        assert meaning(read, "x.b.z.test")
        assert meaning(read, "z.test")
        assert not meaning(read, "other.z.test") or name == "rpz"  # there the hole is further down
    special = [Special(0, On.NAME, "c.z.test", Kind(Scope.EXACT), answer="DROP")]
    masks = merged(stated).masks
    again = fit(resolve(masks), (), FORMATS[name], special, masks)
    text = b"".join(render(again, FORMATS[name], Header(title="test")))
    read = list(FORMATS[name].read(text).rules())
    assert not any(meaning(read, odd) for meaning in MEANING[name])
    assert all(meaning(read, "x.b.z.test") for meaning in MEANING[name])


@pytest.mark.parametrize(
    ("name", "odd", "counted"), [("rpz", f"{LONG}.z.test", "too_long"), ("csv", "-a.z.test", "unfit")]
)
@pytest.mark.parametrize("scope", [Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE])
def test_a_block_that_a_format_cannot_hold_is_left_out_and_nothing_else(
    name: str, odd: str, counted: str, scope: Scope
) -> None:
    tree = Kind(Scope.TREE)
    stated = [Rule(odd, Kind(scope)), Rule(f"x.{odd}", tree), Rule(f"-x.{odd}", tree), Rule("b.z.test", tree)]
    fitted, text = exported(stated, [], FORMATS[name])
    read = list(FORMATS[name].read(text).rules())
    for meaning in MEANING[name]:
        assert meaning(read, "y.b.z.test")
        assert not meaning(read, odd)
        assert meaning(read, f"x.{odd}") is (name == "csv")
    below = bool(scope & Scope.SUBDOMAINS)  # and then the others say nothing new
    assert getattr(fitted.loss, counted) == {"rpz": 1 if below else 3, "csv": 1 if below else 2}[name]


def test_a_header_value_cannot_begin_a_line_of_its_own() -> None:
    fitted = fit(resolve({}), (), FORMATS["hosts"])
    text = b"".join(render(fitted, FORMATS["hosts"], Header(title="a\n0.0.0.0 evil.test\r", description="b\tc")))
    assert all(line.startswith(b"#") for line in text.split(b"\n") if line)
