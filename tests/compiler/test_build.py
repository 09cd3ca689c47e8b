"""A build: what becomes of sources, and what stays when something is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.compiler import build, merge, parsed, plan
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.parsed import Cache
from sinkhole.feeds import body
from sinkhole.feeds.store import Store
from tests.bundles import CATALOGUE, configured, made
from tests.policy.test_policy import AT


def listed(built: build.Built, name: str) -> Compiled:
    return next(compiled for compiled in built.lists if compiled.plan.id == name)


def test_a_source_reports_what_it_was_and_what_it_lost(tmp_path: Path) -> None:
    feed = (
        "||a.test^\n||com^\n||co.uk^\n||time.apple.com^\nnonsense line\n||b.test^$popup\n||use-application-dns.net^\n"
    )
    text = "lists: {l: {sources: [{path: ./feed.txt, title: Feed, license: MIT}]}}"
    built = made(tmp_path, text, {"feed.txt": feed})
    (report,) = listed(built, "l").reports
    assert (report.format, report.lines, report.rules) == ("adblock", 7, 4)
    assert dict(report.skipped) == {"no address": 1, "a single label": 1, "the modifier $popup": 1}
    assert {(str(found.rule), found.why) for found in report.quarantined} == {
        ("block tree co.uk", "a public suffix"),
        ("block tree time.apple.com", "a never-block name"),
        ("block tree use-application-dns.net", "a protected name"),
    }
    manifest = json.loads((built.path / "manifest.json").read_text())
    (source,) = next(entry for entry in manifest["lists"] if entry["id"] == "l")["sources"]
    assert [found["rule"] for found in source["quarantined"]] == [str(found.rule) for found in report.quarantined]
    assert source["samples"][0]["line"] == 2
    assert (built.path / "sources" / source["sha256"]).read_text() == feed


def test_names_that_the_operator_states_pass_the_guard(tmp_path: Path) -> None:
    built = made(tmp_path, "block: [time.apple.com]\nlists: {l: {block: [github.io]}}")
    keys = {name for compiled in built.lists for name, _ in compiled.resolved.entries()}
    assert {b"moc.elppa.emit.", b"oi.buhtig."} <= keys


def test_a_source_with_too_few_rules_leaves_the_bundle_in_use(tmp_path: Path) -> None:
    text = "lists: {l: {sources: [{path: ./feed.txt, min-rules: 2}]}}"
    first = made(tmp_path, text, {"feed.txt": "a.test\nb.test\n"})
    refused = made(tmp_path, text, {"feed.txt": "a.test\n"})
    assert refused.refused == ("feed.txt: 1 rules, fewer than its min-rules 2",)
    assert bundle.current(tmp_path / "bundles") == refused.path == first.path
    wanted = plan.make(configured(tmp_path, text), CATALOGUE)
    feeds = build.feeds(wanted, Store(tmp_path / "state"), fetcher=body.load, offline=True, now=AT)
    accepted = build.build(wanted, feeds, tmp_path / "bundles", accept=True)
    assert bundle.current(tmp_path / "bundles") == accepted.path
    assert bundle.load(accepted.path).manifest["accepted"] == list(accepted.accepted) != []


def test_what_did_not_change_is_not_compiled(tmp_path: Path) -> None:
    text = "lists: {l: {sources: [./feed.txt]}}"
    first = made(tmp_path, text, {"feed.txt": "a.test\n"})
    again = made(tmp_path, text)
    assert (again.path, again.lists, again.changed) == (first.path, (), False)
    assert list(again.described) == json.loads((first.path / "manifest.json").read_text())["lists"]
    (first.path / "index.keys").write_bytes(b"")
    mended = made(tmp_path, text)  # what is damaged is no reason to do nothing
    assert mended.lists


def test_a_source_that_vanished_keeps_its_last_good_copy(tmp_path: Path) -> None:
    text = "lists: {l: {sources: [./feed.txt]}}"
    first = made(tmp_path, text, {"feed.txt": "a.test\n"})
    (tmp_path / "feed.txt").unlink()
    second = made(tmp_path, text)
    assert second.path == first.path
    assert [feed.failed for feed in second.stale] == [True]
    assert not second.changed


def test_a_source_that_never_was_is_left_out_and_named(tmp_path: Path) -> None:
    built = made(tmp_path, "lists: {l: {sources: [./missing.txt], block: [a.test]}}")
    (feed,) = built.stale
    assert feed.copy is None
    assert "missing.txt" in str(feed.error)
    assert list(listed(built, "l").resolved.entries()) == [(b"tset.a.", 3)]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    wanted = plan.make(configured(tmp_path, "block: [a.test]"), CATALOGUE)
    build.build(wanted, [], tmp_path / "bundles", keep=False)
    assert not (tmp_path / "bundles").exists()


def test_the_inputs_of_a_bundle_are_those_of_its_plan(tmp_path: Path) -> None:
    text = "lists: {l: {sources: [./feed.txt]}}"

    def inputs(text: str, feed: str) -> str:
        built = made(tmp_path, text, {"feed.txt": feed})
        wanted = plan.make(configured(tmp_path, text), CATALOGUE)
        assert bundle.load(built.path).manifest["inputs"] == build.inputs(wanted, built.feeds)
        return build.inputs(wanted, built.feeds)

    first = inputs(text, "a.test\n")
    assert inputs(text, "a.test\n") == first
    assert inputs(text, "b.test\n") != first
    assert inputs(text + "\nblock: [c.test]", "a.test\n") != first
    assert inputs(text + "\ngroups: {g: {clients: [192.0.2.1]}}", "a.test\n") != first


def test_the_same_inputs_give_the_same_bundle_wherever_and_in_whatever_order(tmp_path: Path) -> None:
    feeds = {"x.txt": "a.test\nb.test\n", "y.txt": "||b.test^\n@@||c.b.test^\n"}
    text = "lists: {l: {sources: [SOURCES]}}\npolicy: [{groups: [all], lists: [l]}]"
    one = made(tmp_path, text.replace("SOURCES", "./x.txt, ./y.txt"), feeds)
    again = made(tmp_path, text.replace("SOURCES", "./x.txt, ./y.txt"), feeds)
    turned = made(tmp_path, text.replace("SOURCES", "./y.txt, ./x.txt"), feeds)
    assert again.path == one.path
    for name in (
        "index.keys",
        "index.first",
        "attributes.json",
        "policy.json",
        "own.json",
    ):
        assert (one.path / name).read_bytes() == (turned.path / name).read_bytes()


@pytest.mark.parametrize("special", ["", "||x.ads.test^$dnstype=A\n", "||keep.ads.test^$badfilter\n||keep.ads.test^\n"])
@pytest.mark.parametrize("dies", [False, True])
def test_helpers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, special: str, dies: bool) -> None:
    tops = ("com", "net", "test")
    names = [f"{word}{at}.example.{top}" for at in range(60) for word in ("a", "k", "z") for top in tops]
    feeds = {
        "x.txt": "".join(f"||{name}^\n" for name in names) + "||com^$important\n@@||z7.example.com^\n" + special,
        "y.txt": "".join(f"0.0.0.0 www.{name}\n" for name in names[::2]),
        "z.txt": "".join(f"{name}\n" for name in names[::-3]),
    }
    text = "lists: {l: {sources: [./x.txt, ./y.txt, ./z.txt]}}"
    expected = made(tmp_path / "alone", text, feeds)
    for module in (parsed, merge):
        monkeypatch.setattr(module, "_WORTH_HELP", 0)
    for module in (build, merge):
        monkeypatch.setattr(module, "spare", lambda: 2)
    if dies:
        monkeypatch.setattr(Cache, "_read_all", lambda *_: sys.exit())
        monkeypatch.setattr(merge.Merge, "_say", lambda *_: sys.exit())
    found = made(tmp_path / "helped", text, feeds, Cache(tmp_path / "parsed"))
    assert found.path.name == expected.path.name
