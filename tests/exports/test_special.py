"""Special rules in exports: what a format can say comes back, and what it cannot never makes the list wider."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.bundle import MASK_SHIFT
from sinkhole.compiler.blocklist import Fold, resolve
from sinkhole.exports.fit import Fitted, fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format, Header
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.compiler.test_blocklist import merged
from tests.lists import MEANING, Meaning, rules, strongest
from tests.specials import CONSUMERS, Consumer, Query, blocked, meant, special, specials

SAYING = {name: FORMATS[name] for name in CONSUMERS}


def consumers(format: Format) -> tuple[Consumer, ...]:
    """What the consumers of a format do with a query."""
    if format.name in CONSUMERS or MEANING[format.name] == (strongest,):
        return CONSUMERS.get(format.name, (meant,))
    return tuple(map(_by_name, MEANING[format.name]))


def _by_name(meaning: Meaning) -> Consumer:
    """A consumer that has no special rules."""

    def consumer(stated: Sequence[Rule], special: Sequence[Special], query: Query) -> bool:
        assert not special
        return meaning(stated, query.name)

    return consumer


def exported(stated: list[Rule], special: list[Special], format: Format) -> tuple[Fitted, bytes]:
    blocklist = merged(stated)
    masks = {key: code >> MASK_SHIFT for key, code in Fold().masked(blocklist.masks)}
    fitted = fit(resolve(blocklist.masks), (), format, special, masks)
    return fitted, b"".join(render(fitted, format, Header(title="test")))


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@settings(max_examples=100)
@given(stated=rules, special=specials)
def test_an_export_never_blocks_more_than_the_list(format: Format, stated: list[Rule], special: list[Special]) -> None:
    check(format, stated, special)


@pytest.mark.parametrize("format", SAYING.values(), ids=SAYING)
@settings(max_examples=150)
@given(stated=rules, data=st.data())
def test_nor_does_one_of_rules_that_the_format_can_say(format: Format, stated: list[Rule], data: st.DataObject) -> None:
    can_say = special.filter(lambda rule: format.special(rule) is not None)
    check(format, stated, data.draw(st.lists(can_say, max_size=4)))


def check(format: Format, stated: list[Rule], special: list[Special]) -> None:
    fitted, text = exported(stated, special, format)
    back = format.read(text)
    assert back.skipped == {}
    names = list(back.rules())
    wanted = blocked(meant, stated, special)
    for meaning in consumers(format):
        found = blocked(meaning, names, back.special)
        assert found <= wanted
        if not fitted.loss:
            assert found == wanted


@pytest.mark.parametrize("name", [name for name in SAYING if not name.startswith("rpz-")])
@settings(max_examples=150)
@given(rule=special)
def test_what_a_format_states_comes_back_as_the_same_rule(name: str, rule: Special) -> None:
    format = FORMATS[name]
    text = format.special(rule)
    if text is None:
        return
    back = format.read(text.encode())
    assert back.skipped == {}
    assert not back.names
    answers = rule.answer.split("\n") if len(back.special) > 1 else [rule.answer]
    rank = Rank.FEED if format.nested else rule.kind.rank
    again = [found._replace(line=0, kind=found.kind._replace(rank=rank)) for found in back.special]
    assert again == [rule._replace(answer=answer, kind=rule.kind._replace(rank=rank)) for answer in answers]


def lines(text: bytes, sign: str = "!") -> list[str]:
    return [line for line in text.decode().split("\n") if line and not line.startswith(sign)]


TREE, ALLOW = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)


def test_an_exception_for_one_client_is_one_for_all_where_clients_cannot_be_said() -> None:
    stated = [Rule("z.test", TREE), Rule("b.z.test", Kind(Scope.EXACT))]
    rule = Special(0, On.NAME, "a.z.test", ALLOW, clients=("192.0.2.1",))
    fitted, text = exported(stated, [rule], FORMATS["pihole"])
    assert lines(text, "#") == ["z.test", "||b.z.test^"]
    assert fitted.loss.special == 1
    assert "# Note: 1 rule has a pattern, a condition or an answer that this format cannot say\n" in text.decode()
    assert lines(exported(stated, [rule], FORMATS["adblock"])[1]) == ["||z.test^", "@@||a.z.test^$client=192.0.2.1"]


def test_a_pattern_that_allows_takes_out_names_and_cuts_the_trees_below_which_it_may_find_some() -> None:
    stated = [Rule(name, TREE) for name in ("a.test", "b.test", "c.example")]
    rule = Special(0, On.PATTERN, r"a\.test$", ALLOW)
    fitted, text = exported([*stated, Rule("x.a.test", Kind(Scope.EXACT))], [rule], FORMATS["pihole"])
    assert lines(text, "#") == ["||c.example^", "||b.test^"]
    assert (fitted.loss.narrowed, fitted.loss.special) == (1, 1)
    _, text = exported(stated, [rule._replace(what="^ok")], FORMATS["pihole"])
    assert lines(text, "#") == ["c.example", "a.test", "b.test"]


def test_an_exception_that_no_name_needs_is_stated_where_a_pattern_would_block_it() -> None:
    rule = Special(0, On.PATTERN, "^ads", Kind(Scope.EXACT))
    assert lines(exported([Rule("ads.test", ALLOW)], [], FORMATS["adblock"])[1]) == []
    assert lines(exported([Rule("ads.test", ALLOW)], [rule], FORMATS["adblock"])[1]) == ["@@||ads.test^", "/^ads/"]
    fitted, text = exported([Rule("ads.test", ALLOW)], [rule], FORMATS["pihole-regex"])
    assert lines(text, "#") == []
    assert fitted.loss.special == 1


def test_no_special_exception_weakens_what_the_list_itself_states() -> None:
    stated = [Rule("z.test", Kind(Scope.TREE, rank=Rank.OWN))]
    rule = Special(0, On.NAME, "a.z.test", ALLOW, clients=("192.0.2.1",))
    assert lines(exported(stated, [rule], FORMATS["hosts"])[1], "#") == ["0.0.0.0 z.test", "0.0.0.0 a.z.test"]
    _, text = exported(stated, [rule], FORMATS["adblock"])
    assert lines(text) == ["||z.test^$important", "@@||a.z.test^$client=192.0.2.1"]


def test_an_answer_that_comes_to_a_block_is_one_where_answers_cannot_be_said() -> None:
    rules = [Special(0, On.NAME, f"{at}.test", TREE, answer=answer) for at, answer in enumerate(("NXDOMAIN", "DROP"))]
    fitted, text = exported([], rules, FORMATS["pihole"])
    assert lines(text, "#") == ["||0.test^"]
    assert fitted.loss.special == 1


def test_answers_stand_at_their_owners_in_a_policy_zone() -> None:
    stated = [Rule("z.test", TREE), Rule("ok.b.z.test", Kind(Scope.EXACT, allow=True))]
    rule = Special(0, On.NAME, "b.z.test", TREE, answer="A 192.0.2.9")
    fitted, text = exported(stated, [rule], FORMATS["rpz"])
    assert sorted(lines(text.split(b"NS localhost.\n")[1], ";")) == [
        "*.b.z.test A 192.0.2.9",
        "*.ok.b.z.test A 192.0.2.9",
        "*.z.test CNAME .",
        "b.z.test A 192.0.2.9",
        "ok.b.z.test CNAME rpz-passthru.",
        "z.test CNAME .",
    ]
    assert not fitted.loss


def test_of_networks_of_answers_the_longest_decides_and_of_clients_the_strongest() -> None:
    wide = Special(0, On.ADDRESS, "192.0.2.0/24", Kind(Scope.EXACT, allow=True))
    narrow = Special(0, On.ADDRESS, "192.0.2.1/32", Kind(Scope.EXACT))
    _, text = exported([], [wide, narrow], FORMATS["rpz"])
    assert b"24.0.2.0.192.rpz-ip CNAME rpz-passthru.\n" in text
    assert b"32.1.2.0.192.rpz-ip CNAME .\n" in text
    clients = [rule._replace(on=On.CLIENT) for rule in (wide, narrow)]
    _, text = exported([], clients, FORMATS["rpz"])
    assert b"24.0.2.0.192.rpz-client-ip CNAME rpz-passthru.\n" in text
    assert b"32.1.2.0.192" not in text
    clients[1] = clients[1]._replace(kind=Kind(Scope.EXACT, rank=Rank.IMPORTANT))
    assert b"32.1.2.0.192.rpz-client-ip CNAME .\n" in exported([], clients, FORMATS["rpz"])[1]


def test_a_packet_filter_that_lets_exceptions_win_leaves_out_what_is_blocked_inside_one() -> None:
    networks = (("192.0.2.0/24", False), ("192.0.2.0/28", True), ("192.0.2.1/32", False))
    rules = [Special(0, On.ADDRESS, what, Kind(Scope.EXACT, allow)) for what, allow in networks]
    fitted, text = exported([], rules, FORMATS["nftables"])
    assert b"192.0.2.1/32" not in text
    assert fitted.loss.special == 1
    fitted, text = exported([], rules, FORMATS["ipset"])
    assert b"192.0.2.1/32" in text
    assert not fitted.loss


def test_special_rules_stand_in_one_order_whatever_theirs_was() -> None:
    rules = [Special(at, On.PATTERN, f"ads{at}", Kind(Scope.EXACT)) for at in range(5)]
    assert exported([], rules, FORMATS["adblock"])[1] == exported([], rules[::-1], FORMATS["adblock"])[1]
