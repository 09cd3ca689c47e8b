"""What texts came to, kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sinkhole.catalogue.model import Target
from sinkhole.compiler import parsed
from sinkhole.compiler.guard import fence
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.planned import SourcePlan
from sinkhole.compiler.source import SourceRules, Text, read_source
from sinkhole.rules import Scope

FENCE = fence([Target("update.vendor.example", Scope.TREE)], ["mask.icloud.com"])
TEXT = (
    "||a.test^\n@@||b.a.test^\n||c.test^$important\n|d.test^\n||com^\n||co.uk^\n||x.test^$popup\n||x.test^$dnstype=A\n"
    "||y.test^$dnstype=AAAA,client=192.0.2.1|~192.0.2.2\n/ads[0-9]+/\n||mask.icloud.com^\n"
)


def text(directory: Path, content: str = TEXT) -> Text:
    path = directory / "text"
    path.write_text(content)
    return Text(path, hashlib.sha256(content.encode()).hexdigest())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were read, as they are."""
    found: list[str] = []

    def counted(source: SourcePlan, text: Text, *more: object) -> SourceRules:
        found.append(text.sha256)
        return read_source(source, text, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(parsed, "read_source", counted)
    return found


@pytest.mark.parametrize("content", [TEXT, "a.test\n", "# x\nnot a name\n||x.test^$popup\n"])
def test_an_entry_gives_back_what_was_read(tmp_path: Path, reads: list[str], content: str) -> None:
    source, given = SourcePlan("s", "/s", "adblock"), text(tmp_path, content)
    expected = read_source(source, given, False, FENCE)
    for _ in range(3):
        found = Cache(tmp_path / "parsed").read(source, given, False, FENCE)
        assert found._replace(name="") == expected
    assert len(reads) == 1


def test_what_a_result_follows_from_makes_another_entry(tmp_path: Path, reads: list[str]) -> None:
    given = text(tmp_path)
    plain = SourcePlan("s", "/s", "adblock")
    other = fence([], [])
    for source, allows, around in (
        (plain, False, FENCE),
        (plain._replace(format="auto"), False, FENCE),
        (plain._replace(subdomains=True), False, FENCE),
        (plain, True, FENCE),
        (plain, False, other),
        (plain._replace(id="t", title="T", min_rules=9), False, FENCE),  # says nothing about the text
    ):
        found = Cache(tmp_path / "parsed").read(source, given, allows, around)
        assert found._replace(name="") == read_source(source, given, allows, around)
    assert len(reads) == 5


@pytest.mark.parametrize("damage", ["empty", "cut", "a bit", "longer"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, reads: list[str], damage: str) -> None:
    source, given = SourcePlan("s", "/s", "adblock"), text(tmp_path)
    expected = Cache(tmp_path / "parsed").read(source, given, False, FENCE)
    (path,) = (tmp_path / "parsed").iterdir()
    whole = path.read_bytes()
    damaged = {"empty": b"", "cut": whole[:-3], "a bit": whole[:-3] + b"x" + whole[-2:], "longer": whole + b"\n"}
    path.write_bytes(damaged[damage])
    assert Cache(tmp_path / "parsed").read(source, given, False, FENCE) == expected
    assert len(reads) == 2
    assert path.read_bytes() == whole


def test_prune_removes_what_was_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "parsed")
    for content in (TEXT, TEXT + "||z.test^\n"):
        cache.read(SourcePlan("s", "/s"), text(tmp_path, content), False, FENCE)
    (tmp_path / "parsed" / ".tmp-0123").write_bytes(b"")
    later = Cache(tmp_path / "parsed")
    later.read(SourcePlan("s", "/s"), text(tmp_path), False, FENCE)
    later.prune()
    assert len(os.listdir(tmp_path / "parsed")) == 1


def test_nothing_is_kept_without_a_directory_or_without_leave(tmp_path: Path) -> None:
    for cache in (Cache(), Cache(tmp_path / "parsed", keep=False)):
        cache.read(SourcePlan("s", "/s"), text(tmp_path), False, FENCE)
        cache.prune()
    assert not (tmp_path / "parsed").exists()
