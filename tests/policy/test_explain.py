"""Explanations: each rule that says something about a name, and the line that states it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sinkhole.formats import FORMATS
from sinkhole.policy.explain import explain
from sinkhole.policy.policy import Policy
from tests.bundles import opened

AT = datetime(2025, 3, 1, tzinfo=UTC)


def explained(directory: Path, text: str, feeds: dict[str, str], name: str) -> dict[str, Any]:
    return explain(Policy(opened(directory, text, feeds), AT), name, "192.0.2.1", "A")


def links(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (link["won"], Path(link["source"]).name, link["line"], link["rule"], link["text"]) for link in found["chain"]
    ]


FEEDS = {
    "one.txt": "# title\n\n0.0.0.0 a.test b.test\n0.0.0.0 x.a.test\n0.0.0.0 notx.a.test\n",
    "two.txt": "! title\n||a.test^\n||xa.test^\n@@||ok.a.test^\n",
    "three.zone": "$ORIGIN rpz.test.\n@ SOA a. b. 1 2 3 4 5\na.test.rpz.test. CNAME .\n*.a.test CNAME .\n",
    "four.txt": "bücher.test\nBÜCHER.test\n",
}
LISTS = """
lists: {all-of-it: {sources: [./one.txt, ./two.txt, ./three.zone, ./four.txt]}}
policy: [{groups: [all], lists: [all-of-it]}]
"""


def test_every_line_that_lists_a_name_is_cited_also_what_was_folded_away(tmp_path: Path) -> None:
    found = explained(tmp_path, LISTS, FEEDS, "x.a.test")
    assert found["action"] == "block"
    assert links(found) == [
        (True, "one.txt", 4, "block exact x.a.test", "0.0.0.0 x.a.test"),
        (False, "two.txt", 2, "block tree a.test", "||a.test^"),
        (False, "three.zone", 4, "block subdomains a.test", "*.a.test CNAME ."),
    ]
    assert (Path(found["source"]).name, found["line"], found["rule"]) == ("one.txt", 4, "block exact x.a.test")


def test_an_exception_is_shown_above_what_it_beats(tmp_path: Path) -> None:
    found = explained(tmp_path, LISTS, FEEDS, "ok.a.test")
    assert found["action"] == "forward"
    assert links(found)[0] == (False, "two.txt", 4, "allow tree ok.a.test", "@@||ok.a.test^")
    assert [link["action"] for link in found["chain"]] == ["allow", "block", "block"]


def test_a_name_in_its_own_script_is_found(tmp_path: Path) -> None:
    found = explained(tmp_path, LISTS, FEEDS, "xn--bcher-kva.test")
    assert links(found) == [
        (True, "four.txt", 1, "block exact xn--bcher-kva.test", "bücher.test"),
        (False, "four.txt", 2, "block exact xn--bcher-kva.test", "BÜCHER.test"),
    ]


def test_owners_relative_to_an_origin_are_found(tmp_path: Path) -> None:
    text = "lists: {zone: {sources: [./three.zone]}}\npolicy: [{groups: [all], lists: [zone]}]"
    found = explained(tmp_path, text, FEEDS, "a.test")
    assert links(found) == [(True, "three.zone", 3, "block exact a.test", "a.test.rpz.test. CNAME .")]


def test_a_source_of_whole_trees_is_cited_as_such(tmp_path: Path) -> None:
    text = """
lists: {wide: {sources: [{path: ./one.txt, subdomains: true}]}}
policy: [{groups: [all], lists: [wide]}]
"""
    found = explained(tmp_path, text, FEEDS, "deep.b.test")
    assert links(found) == [(True, "one.txt", 3, "block tree b.test", "0.0.0.0 a.test b.test")]


def test_the_configuration_and_the_catalogue_are_cited_by_file_and_line(tmp_path: Path) -> None:
    text = "allow:\n  - ok.test\nblock:\n  - example.net\n  - test\n"
    found = explained(tmp_path, text.replace("  - test\n", "  - bad.test\n"), {}, "chat.deepseek.com")
    assert (found["directive"], found["list"]) == ("kr-mofa-2025-02-05", "deepseek")
    file = found["source"].partition("(feeds/")[2].rstrip(")")
    lines = Path("feeds", file).read_text(encoding="utf-8").split("\n")
    assert "deepseek.com" in lines[found["line"] - 1]
    found = explained(tmp_path, text.replace("  - test\n", ""), {}, "x.example.net")
    assert found["line"] == 4
    assert str(tmp_path / "sinkhole.yaml") in found["source"]
    assert found["rule"] == "block tree example.net"


def test_what_lost_to_the_operator_stays_in_the_chain(tmp_path: Path) -> None:
    found = explained(tmp_path, "allow: [deepseek.com]\nblock: [chat.deepseek.com]", {}, "deepseek.com")
    assert found["action"] == "allow"
    assert [(link["won"], link["directive"]) for link in found["chain"]] == [
        (True, None),
        (False, "kr-mofa-2025-02-05"),
        (False, None),
    ]
    found = explained(tmp_path, "allow: [deepseek.com]\nblock: [chat.deepseek.com]", {}, "chat.deepseek.com")
    assert (found["action"], found["rule"]) == ("block", "block tree chat.deepseek.com")
    assert "allow tree deepseek.com" in [link["rule"] for link in found["chain"] if not link["won"]]


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if format.lines])
def test_every_format_leads_back_to_its_line(tmp_path: Path, name: str) -> None:
    format = FORMATS[name]
    stated = b"n.test".replace(b".", format.dot)
    text = b"\n".join(template for kind, template in format.lines.items() if not kind.allow)
    lines = text.replace(b"%s", stated).decode().split("\n")  # some say in two what a name means
    feeds = {"feed.txt": "# first\n\n" + "\n".join(lines) + "\n"}
    config = (
        f"lists: {{l: {{sources: [{{path: ./feed.txt, format: {name}}}]}}}}\npolicy: [{{groups: [all], lists: [l]}}]"
    )
    found = explained(tmp_path, config, feeds, "n.test")
    assert found["line"] >= 3
    assert lines[found["line"] - 3] in [link["text"] for link in found["chain"] if link["won"]]


def test_nothing_applies(tmp_path: Path) -> None:
    found = explained(tmp_path, "", {}, "example.org")
    assert (found["action"], found["source"], found["line"], found["chain"]) == ("forward", None, None, [])
