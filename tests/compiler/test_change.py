"""What a build refuses, and what stays in use then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sinkhole import bundle
from sinkhole.compiler import build, plan
from sinkhole.compiler.change import FEW, source_refusals
from sinkhole.compiler.planned import SourcePlan
from sinkhole.compiler.source import SourceReport
from sinkhole.feeds import body
from sinkhole.feeds.store import Store
from tests.bundles import CATALOGUE, configured
from tests.policy.test_policy import AT

MANY = 4 * FEW


def names(count: int, label: str = "n") -> str:
    return "".join(f"{label}{number}.test\n" for number in range(count))


class Site:
    """A directory with two sources, ``one.txt`` and ``two.txt``, on a list each and together on a third."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        one = {"path": "./one.txt", **settings}
        lists = {"a": {"sources": [one]}, "b": {"sources": ["./two.txt"]}}
        self.text = json.dumps({"lists": lists})

    def build(self, accept: bool = False, **texts: str) -> build.Built:
        for name, text in texts.items():
            (self.directory / f"{name}.txt").write_text(text)
        wanted = plan.make(configured(self.directory, self.text), CATALOGUE)
        feeds = build.feeds(wanted, Store(self.directory / "state"), fetcher=body.load, offline=True, now=AT)
        return build.build(wanted, feeds, self.directory / "bundles", accept=accept)

    def manifest(self) -> Mapping[str, Any]:
        path = bundle.current(self.directory / "bundles")
        assert path
        return bundle.load(path).manifest

    def rules(self) -> dict[str, list[int]]:
        """How many rules each source of a list has in the bundle in use."""
        return {
            entry["id"]: [source["rules"] for source in entry["sources"]]
            for entry in self.manifest()["lists"]
            if entry["id"] in "ab"
        }


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (names(MANY), names(MANY // 4), f"one.txt: {MANY} rules before and {MANY // 4} now (-75%), more than its max-"),
        (names(MANY), names(2 * MANY), f"one.txt: {MANY} rules before and {2 * MANY} now (+100%), more than its max-"),
        (names(3), "# nothing\nx\n", "one.txt: 3 rules before and 0 now (-100%), more than its max-change 50%"),
        (names(3), "%%%\n", "one.txt: no line is a rule in any known format"),
        (
            names(MANY),
            names(MANY) + "not a name\n" * (MANY + 1),
            f"one.txt: {MANY + 1} of {2 * MANY + 1} rules cannot be used, more than its max-skipped 50%; most often: ",
        ),
        (
            names(MANY) + f"# {'x' * 78}\n" * 200,
            names(MANY),
            "one.txt: 18090 bytes before and 1890 now (-90%), more than its max-change 50%",
        ),
    ],
    ids=["item 45: shrinks", "grows", "item 45: no rules", "no list", "item 46: garbage", "item 45: bytes"],
)  # fmt: skip
def test_a_text_that_is_refused_leaves_the_one_in_use(tmp_path: Path, before: str, after: str, why: str) -> None:
    site = Site(tmp_path, format="domains" if "nothing" in after else "auto")
    first = site.build(one=before, two="x.test\n")
    assert not first.refused
    rules = site.rules()

    built = site.build(one=after, two="x.test\ny.test\n")

    assert [refusal[: len(why)] for refusal in built.refused] == [why]
    assert site.rules() == {"a": rules["a"], "b": [2]}
    assert site.manifest()["accepted"] == []
    sources = {entry["id"]: entry["sources"] for entry in site.manifest()["lists"]}
    assert (built.path / "sources" / sources["a"][0]["sha256"]).read_text() == before


def test_what_is_accepted_is_recorded_and_not_judged_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.build(one=names(MANY), two="x.test\n")

    accepted = site.build(accept=True, one=names(FEW))
    assert accepted.refused == ()
    assert list(accepted.accepted) == site.manifest()["accepted"]
    assert accepted.accepted == (f"one.txt: {MANY} rules before and {FEW} now (-75%), more than its max-change 50%",)

    later = site.build(two="y.test\n")
    assert (later.refused, later.changed, site.rules()) == ((), True, {"a": [FEW], "b": [1]})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (names(FEW - 1), names(1)),
        (names(1), names(FEW)),
        (names(MANY), names(MANY // 2)),
        (names(MANY), names(MANY + MANY // 2)),
        (names(1), names(1) + "not a name\n" * (FEW - 1)),
    ],
    ids=["a few less", "a few more", "half", "half as many more", "a few bad lines"],
)
def test_changes_that_are_small_pass(tmp_path: Path, before: str, after: str) -> None:
    site = Site(tmp_path)
    site.build(one=before, two="x.test\n")
    built = site.build(one=after)
    assert (built.refused, built.changed) == ((), True)


def test_the_shares_can_be_set(tmp_path: Path) -> None:
    site = Site(tmp_path, **{"max-change": "10%", "max-skipped": "100%"})
    site.build(one=names(1000), two="x.test\n")
    assert site.build(one=names(1100) + "not a name\n" * 5000).refused == ()
    assert site.build(one=names(1300)).refused != ()


def test_a_text_with_more_rules_than_a_source_ever_has_is_refused() -> None:
    """A page that lists the whole of the DNS has nothing to be compared with when it is the first."""
    source = SourcePlan("one", "https://one.test/", max_rules=MANY)

    def refusals(rules: int) -> list[str]:
        report = SourceReport(source, "", "domains", rules, rules, rules, rules, {}, (), ())
        return list(source_refusals(report, None))

    assert refusals(MANY) == []
    assert refusals(MANY + 1) == [f"one: {MANY + 1} rules, more than its max-rules {MANY}"]


def test_a_new_source_that_is_refused_is_left_out(tmp_path: Path) -> None:
    site = Site(tmp_path, **{"min-rules": 2})  # type: ignore[arg-type]
    built = site.build(one=names(1), two="x.test\n")
    assert built.refused == ("one.txt: 1 rules, fewer than its min-rules 2",)
    assert site.rules() == {"a": [], "b": [1]}
    assert site.build(one=names(2)).refused == ()
    assert site.rules() == {"a": [2], "b": [1]}


def test_a_list_that_its_sources_change_too_much_stays_as_it_is(tmp_path: Path) -> None:
    """One rule can undo a list: an exception for all of it."""
    site = Site(tmp_path)
    block = "".join(f"||n{number}.shop.example^\n" for number in range(MANY))
    first = site.build(one=block, two="x.test\n")

    built = site.build(one=block + "@@||shop.example^\n", two="y.test\n")

    assert built.refused == (f"list a: {MANY} entries before and 0 now (-100%), more than its max-change 50%",)
    assert site.rules() == {"a": [MANY], "b": [1]}
    (entries,) = [entry["entries"] for entry in site.manifest()["lists"] if entry["id"] == "a"]
    assert entries == MANY
    accepted = site.build(accept=True)
    assert accepted.path != first.path
    assert accepted.accepted == built.refused


def test_what_the_author_of_a_list_changes_is_not_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.build(one=names(MANY), two="x.test\n")
    site.text = json.dumps({"lists": {"a": {"sources": ["./two.txt"]}, "b": {"sources": ["./two.txt"]}}})
    assert site.build(two="x.test\ny.test\n").refused == ()


def test_the_text_in_use_is_that_of_the_bundle_even_when_it_was_rolled_back(tmp_path: Path) -> None:
    """What is compared with is what is enforced, whatever the store holds."""
    site = Site(tmp_path)
    site.build(one=names(MANY), two="x.test\n")
    site.build(one=names(MANY + 40))
    for _ in range(2):
        assert site.build(one=names(FEW)).refused != ()
        assert site.rules()["a"] == [MANY + 40]
