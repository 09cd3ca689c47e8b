"""What is wrong with an export is seen and named: each test spoils one that is right."""

from __future__ import annotations

import pytest

from sinkhole.exports.fit import Fitted
from sinkhole.exports.loss import Loss
from sinkhole.exports.publish import export
from sinkhole.exports.verify.comparison import Asked, Row, in_standin
from sinkhole.exports.verify.meaning import Meaning
from sinkhole.exports.verify.standins import STANDINS
from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.exports.verify.everything import answers, compiled, conditions, rules
from tests.lists import NAMES, strongest

TREE, EXACT, ALLOW = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.TREE, allow=True)
MADE = compiled([Rule("a.example", TREE), Rule("ok.a.example", ALLOW), Rule("b.example", EXACT)])


def made(format: str) -> tuple[Fitted, bytes]:
    fitted, pieces = export(MADE, FORMATS[format])
    return fitted, b"".join(pieces)


def judged(name: str, format: str, text: bytes, loss: Loss) -> Row:
    return in_standin(STANDINS[name], "path", format, text, loss, Asked(MADE, 1000))


def test_an_export_that_is_right_is_right() -> None:
    fitted, text = made("adblock")
    row = judged("AdGuard Home", "adblock", text, fitted.loss)
    assert row.right
    assert row.asked > 30
    assert row.narrower == 0


def test_a_rule_too_many_is_wider_and_its_names_are_told() -> None:
    fitted, text = made("adblock")
    row = judged("AdGuard Home", "adblock", text.replace(b"@@||ok.a.example^\n", b""), fitted.loss)
    assert not row.right
    assert "ok.a.example: refused" in row.wider
    assert "a.ok.a.example: refused" in row.wider
    row = judged("AdGuard Home", "adblock", text.replace(b"|b.example^", b"||b.example^"), fitted.loss)
    assert all("b.example" in name for name in row.wider)
    assert "a.b.example: refused" in row.wider


def test_a_rule_too_few_is_narrower_and_right_only_where_the_loss_says_so() -> None:
    fitted, text = made("adblock")
    spoilt = text.replace(b"|b.example^\n", b"")
    row = judged("AdGuard Home", "adblock", spoilt, fitted.loss)
    assert list(row.undeclared) == ["b.example", "B.EXAMPLE"]
    assert not row.right
    row = judged("AdGuard Home", "adblock", spoilt, Loss(dropped=1))
    assert row.right
    assert row.narrower == 2


def test_more_rules_that_fall_short_than_the_loss_counts_are_wrong() -> None:
    fitted, text = made("pihole")
    assert (fitted.loss.narrowed, fitted.loss.dropped) == (1, 0)
    assert judged("Pi-hole", "pihole", text, fitted.loss).right
    row = judged("Pi-hole", "pihole", text.replace(b"\nb.example\n", b"\n"), fitted.loss)
    assert {"b.example", "a.a.example"} <= set(row.undeclared)


def test_a_line_that_the_software_does_not_take_is_an_error() -> None:
    row = judged("Pi-hole", "pihole", b"a.example\n$INCLUDE /etc/passwd\n", Loss())
    assert row.error == "gravity takes no $INCLUDE /etc/passwd"
    assert not row.right


@pytest.mark.parametrize("seed", range(5))
def test_the_meaning_of_a_list_is_that_of_its_rules(seed: int) -> None:
    """Both ways to work it out: nearest entries of a plain list, and masks of one with special rules."""
    stated = rules(seed, 1)[:5]
    special = [*answers(), *conditions()]
    plain, mixed = Meaning(compiled(stated)), Meaning(compiled(stated, special))
    for name in NAMES:
        moved = name.replace("z.test", "z0.example")
        wanted = strongest(stated, moved)
        assert plain.said(moved, 1, ()).blocked is wanted
        assert mixed.said(moved, 1, ()).blocked is wanted


def test_special_rules_mean_what_they_say() -> None:
    found = Meaning(compiled([], [*answers(), *conditions()]))
    assert found.said("s1exact.answers.example", 1, ())[:2] == (True, "NODATA")
    assert found.said("a.s1exact.answers.example", 1, ())[:2] == (False, "")
    assert found.said("a.s2subdomains.answers.example", 1, ())[:2] == (True, "DROP")
    assert found.said("c0.conditions.example", 28, ())[:2] == (False, "")
    assert found.said("c2.conditions.example", 1, ()).blocked
    assert not found.said("c3.conditions.example", 1, ()).blocked
    assert not found.said("x.ok.c4.conditions.example", 1, ()).blocked
    assert found.said("ads12.x.example", 1, ()).blocked


def test_of_the_networks_of_an_answer_the_narrowest_decides() -> None:
    wide = Special(0, On.ADDRESS, "203.0.113.0/24", EXACT)
    narrow = Special(0, On.ADDRESS, "203.0.113.64/26", Kind(Scope.EXACT, allow=True, rank=Rank.FEED))
    found = Meaning(compiled([], [wide, narrow]))
    assert found.said("x.example", 1, (bytes([203, 0, 113, 1]),)).blocked
    assert not found.said("x.example", 1, (bytes([203, 0, 113, 65]),)).blocked
    assert not found.said("x.example", 1, (bytes([192, 0, 2, 1]),)).blocked


def test_questions_are_about_every_kind_of_entry_and_as_many_as_wanted() -> None:
    made = compiled(rules(), answers())
    few, many = Asked(made, 500), Asked(made, 9_000)
    assert 300 < len(few.questions) <= 500
    assert len(many.questions) > 8_000
    codes = {said.blocked for said in few.said.values()}
    assert codes == {False, True}
    assert len(set(many.questions)) == len(many.questions)
    assert {question.type for question in few.questions} == {1, 28, 65}


def test_names_that_only_look_alike_are_asked_for() -> None:
    asked = {question.name for question in Asked(MADE, 1000).questions}
    assert {"b.example", "B.EXAMPLE", "a.b.example", "notb.example", "b.examplex", "b.example.other.example"} <= asked
