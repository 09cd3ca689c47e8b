"""Protected names have one right answer, and no format that would give another ever states them."""

from __future__ import annotations

import pytest

from sinkhole.compiler.compile import Compiled
from sinkhole.exports.publish import export
from sinkhole.exports.sparing import DENYING
from sinkhole.exports.verify.meaning import Meaning
from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.exports.verify.everything import compiled
from tests.lists import MEANING

PROTECTED = ("mask.icloud.com", "use-application-dns.net", "_dns.resolver.arpa")
TREE = Kind(Scope.TREE)
LISTS = {
    "the name": [Rule("use-application-dns.net", Kind(Scope.EXACT))],
    "its tree": [Rule("mask.icloud.com", Kind(Scope.TREE, rank=Rank.OWN)), Rule("x.mask.icloud.com", TREE)],
    "a tree above": [Rule("icloud.com", Kind(Scope.TREE, rank=Rank.OWN)), Rule("b.mask.icloud.com", TREE)],
    "below it": [Rule("a.mask.icloud.com", TREE), Rule("c.a.mask.icloud.com", Kind(Scope.EXACT, allow=True))],
}
ASKED = ["mask.icloud.com", "a.mask.icloud.com", "c.a.mask.icloud.com", "x.mask.icloud.com", "use-application-dns.net"]
OTHER = Rule("other.example", TREE)


def made(rules: list[Rule], special: list[Special]) -> Compiled:
    found = compiled([*rules, OTHER], special)
    plan = found.plan._replace(protected=PROTECTED)
    return Compiled(plan, found.resolved, found.entries, found.hosts, (), found.stated)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("rules", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if format.lines and name not in DENYING])
def test_a_format_that_gives_addresses_never_blocks_them(name: str, rules: list[Rule], mixed: bool) -> None:
    special = [Special(0, On.NAME, "s.example", TREE, answer="DROP")] if mixed else []
    fitted, pieces = export(made(rules, special), FORMATS[name])
    read = list(FORMATS[name].read(b"".join(pieces)).rules())
    for meaning in MEANING[name]:
        assert not any(meaning(read, asked) for asked in ASKED)
        assert meaning(read, "other.example") or name == "technitium"
    assert fitted.loss.unfit >= 1


@pytest.mark.parametrize("rules", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("name", sorted(DENYING))
def test_a_format_whose_blocked_names_do_not_exist_says_what_the_list_says(name: str, rules: list[Rule]) -> None:
    fitted, pieces = export(made(rules, []), FORMATS[name])
    read = list(FORMATS[name].read(b"".join(pieces)).rules())
    wanted = Meaning(compiled(rules))
    for meaning in MEANING[name]:
        assert [meaning(read, asked) for asked in ASKED] == [wanted.said(asked, 1, ()).blocked for asked in ASKED]
    assert fitted.loss.unfit == 0


def test_a_list_that_has_nothing_for_them_is_left_as_it_is() -> None:
    fitted, _ = export(made([], []), FORMATS["hosts"])
    assert fitted.loss.unfit == 0
