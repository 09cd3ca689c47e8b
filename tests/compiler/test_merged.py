"""A change that is merged into what a list came to before gives what all of it would."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sinkhole import reindex
from sinkhole.compiler import compile, merge
from sinkhole.compiler.build import Built
from sinkhole.compiler.merged import dumped, kept
from sinkhole.compiler.parsed import Cache
from tests.bundles import made

CONFIG = """
lists:
  l: {sources: [./a.txt, ./b.txt, ./c.txt, ./d.txt]}
  m: {sources: [./b.txt, ./e.txt], block: [OWN], allow: [q.a.com]}
  n: {type: allow, sources: [./d.txt]}
policy: [{groups: [all], lists: [l, m, n]}]
"""
WORDS = ("a", "b", "k-1", "z", "0", "xn--bcher-kva")
TOPS = ("com", "net", "test", "uk.com", "a.com", "zz")
LINES = ("{}", "||{}^", "|{}^", "@@||{}^", "@@|{}^", "||{}^$important", "@@||{}^$important", "||{}^$badfilter")
SPECIAL = ("||{}^$dnstype=A", "/{}[0-9]/", "||{}^$denyallow=x.{}")


def line(draw: random.Random, lines: tuple[str, ...]) -> str:
    name = ".".join([*(draw.choice(WORDS) for _ in range(draw.randrange(3))), draw.choice(TOPS)])
    return draw.choice(lines).replace("{}", name)


def changed(draw: random.Random, text: list[str], lines: tuple[str, ...]) -> list[str]:
    """Another text: a few lines come, a few go, or none do."""
    kept = [found for found in text if draw.random() < 0.9]
    return draw.choice([text, kept, [*kept, *(line(draw, lines) for _ in range(draw.randrange(4)))], text[::-1]])


def says(built: Built) -> dict[str, bytes | list[tuple[str, str, int]]]:
    """All of a bundle but where its configuration lies."""
    files = {
        path.name: path.read_bytes()
        for path in built.path.iterdir()
        if path.name.startswith(("index", "attributes", "special"))
    }
    assert {"index.keys", "index.first", "attributes.json", "special.json"} <= files.keys()
    return {**files, "lists": [(entry["id"], entry["version"], entry["entries"]) for entry in built.described]}


@pytest.fixture(autouse=True)
def small_lists_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "_WORTH_KEEPING", 0)
    monkeypatch.setattr(merge, "_MANY", 2)


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_changes_gives_the_same_bytes_as_a_build_from_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    patched = []
    whole = merge.Merge.patched

    def counted(*arguments: object) -> object:
        patched.append(whole(*arguments))  # type: ignore[arg-type]
        return patched[-1]

    monkeypatch.setattr(merge.Merge, "patched", counted)
    lines = LINES if seed % 2 else LINES + SPECIAL
    feeds = {name: [line(draw, lines) for _ in range(30)] for name in "abcde"}
    own = "own.test"
    for step in range(8):
        for name in draw.sample("abcde", draw.randrange(3)):
            feeds[name] = changed(draw, feeds[name], lines)
        if draw.random() < 0.1:
            own = draw.choice(["own.test", "a.com", "=z.a.com"])
        texts = {f"{name}.txt": "||always.example^\n" + "\n".join(found) + "\n" for name, found in feeds.items()}
        config = CONFIG.replace("OWN", own)
        found = made(tmp_path / "site", config, texts, Cache(tmp_path / "parsed"))
        expected = made(tmp_path / f"nothing-{step}", config, texts)
        assert says(found) == says(expected)
    assert any(patched)


@pytest.mark.parametrize("damage", ["empty", "cut", "a bit", "gone", "another list"])
def test_what_is_damaged_is_merged_anew(tmp_path: Path, damage: str) -> None:
    texts = {f"{name}.txt": f"||{name}.test^\n||x.{name}.com^\n" for name in "abcde"}
    made(tmp_path / "site", CONFIG.replace("OWN", "o.test"), texts, Cache(tmp_path / "parsed"))
    entries = sorted((tmp_path / "parsed").glob("list-*"))
    assert len(entries) == 3
    for path in entries:
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "another list":
            facts = kept(path).facts
            path.write_bytes(b"".join(dumped(facts, [[b"moc.q.\n"], [b"\1\0"], [b"\3"]])))
        else:
            path.write_bytes({"empty": b"", "cut": data[:-3], "a bit": data[:-3] + b"\xff" + data[-2:]}[damage])
    texts["a.txt"] += "||new.test^\n"
    found = made(tmp_path / "site", CONFIG.replace("OWN", "o.test"), texts, Cache(tmp_path / "parsed"))
    assert says(found) == says(made(tmp_path / "nothing", CONFIG.replace("OWN", "o.test"), texts))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    columns = [[b"", b"moc.a.\nmoc.b.\n"], [b"", b"\1\0\3\0"], [b"", b"\1\3"]]
    (tmp_path / "kept").write_bytes(b"".join(dumped({"rest": "r", "sources": ["a", "b"]}, columns)))
    found = kept(tmp_path / "kept")
    assert (found.facts["rest"], found.facts["sources"], found.columns()) == ("r", ["a", "b"], columns)


@pytest.mark.parametrize("seed", range(4))
def test_what_came_and_went_is_counted_as_a_comparison_counts_it(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    lines = LINES[:5]
    feeds = {name: [line(draw, lines) for _ in range(30)] for name in "abcde"}
    counted = 0
    before: dict[str, dict[bytes, int]] = {}
    indexed = []
    remade = reindex.patched

    def patched(*arguments: object) -> object:
        indexed.append(remade(*arguments))  # type: ignore[arg-type]
        return indexed[-1]

    monkeypatch.setattr(reindex, "patched", patched)
    for step in range(6):
        feeds["a"] = [*feeds["a"][draw.randrange(4) :], *(line(draw, lines) for _ in range(4))]
        texts = {f"{name}.txt": "||always.example^\n" + "\n".join(found) + "\n" for name, found in feeds.items()}
        built = made(tmp_path / "site", CONFIG.replace("OWN", "o.test"), texts, Cache(tmp_path / "parsed"))
        assert says(built) == says(made(tmp_path / f"nothing-{step}", CONFIG.replace("OWN", "o.test"), texts))
        now = {entry.plan.id: {key: code for found in entry.entries for key, code in found} for entry in built.lists}
        for entry in built.lists:
            if entry.since:
                counted += 1
                old, new = before[entry.plan.id].items(), now[entry.plan.id].items()
                assert (entry.since.came, entry.since.went) == (len(new - old), len(old - new))
        before = now
    assert counted
    assert any(indexed)
