"""An index that is made of the one before it is the one that is made from nothing, to the byte."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.compiler.ranges import BOUNDS, range_of
from sinkhole.names import key
from sinkhole.reindex import patched

FILES = ("index.keys", "index.first", "attributes.json")
Codes = Mapping[bytes, int]


def entries(codes: Codes) -> list[bundle.Entries]:
    ranges: list[list[bytes]] = [[] for _ in (*BOUNDS, b"")]
    for found in sorted(codes):
        ranges[range_of(found)].append(found)
    return [
        bundle.Entries(b"".join(found + b"\n" for found in keys), bytes(codes[found] for found in keys))
        for keys in ranges
    ]


def write(
    parent: Path, lists: Sequence[Codes], before: Path | None = None, edits: bundle.Edits | None = None
) -> dict[str, bytes]:
    path = bundle.write(
        parent, list(map(entries, lists)), manifest={"lists": [{"id": str(at)} for at in range(len(lists))]},
        policy={}, own=[], texts=[], before=before, edits=edits,
    )  # fmt: skip
    return {"path": str(path).encode()} | {name: (path / name).read_bytes() for name in FILES}


def drawn(draw: random.Random, count: int) -> list[bytes]:
    tops = ("com", "net", "test", "a.com", "uk.com")
    return [key(f"{draw.choice('abcxyz')}{draw.randrange(3000)}.{draw.choice(tops)}".encode()) for _ in range(count)]


def changed(draw: random.Random, codes: Codes) -> dict[bytes, int]:
    """Other entries: some come and some go, here and there, or many in one place, or one has another code."""
    new = dict(codes)
    some = draw.randrange(1, 40)
    match draw.randrange(5):
        case 0:
            new |= dict.fromkeys(drawn(draw, some), 3)
        case 1:
            for found in draw.sample(sorted(new), min(some, len(new))):
                del new[found]
        case 2:
            new |= {key(f"{at:03}.deep.a7.com".encode()): 1 for at in range(some * 3)}
        case 3:
            kept = sorted(new)
            at = draw.randrange(len(kept) + 1)
            new = {found: new[found] for found in kept[:at] + kept[at + some :]}
        case _:
            new |= {found: draw.choice((0, 1, 3)) for found in draw.sample(sorted(new), min(some, len(new)))}
    return new


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_edits_gives_the_index_that_is_made_from_nothing(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    lists: list[Codes] = [
        dict.fromkeys(drawn(draw, draw.choice((20, 300, 2000))), 3),
        dict.fromkeys(drawn(draw, 30), 1),
    ]
    before = write(tmp_path / "made", lists)
    made = 0
    for step in range(8):
        new = [changed(draw, codes) if draw.randrange(3) else codes for codes in lists]
        edits: dict[bytes, dict[int, int | None]] = {}
        for number, (one, other) in enumerate(zip(lists, new, strict=True)):
            for found in one.keys() | other.keys():
                if one.get(found) != other.get(found):
                    edits.setdefault(found, {})[number] = other.get(found)
        path = Path(before["path"].decode())
        made += patched(path, edits) is not None
        found_now = write(tmp_path / "made", new, path, edits)
        expected = write(tmp_path / f"nothing-{step}", new)
        assert {name: found_now[name] for name in FILES} == {name: expected[name] for name in FILES}
        lists, before = new, found_now
    assert made


def test_the_first_and_the_last_entries_of_all_come_and_go(tmp_path: Path) -> None:
    inner = {key(f"m{at}.test".encode()): 3 for at in range(64)}
    for ends in ([b"-."], [b"zz.z."], [b"-.", b"zz.z."], [b"-.a%02d." % at for at in range(40)]):
        more = inner | dict.fromkeys(ends, 3)
        for one, other in ((inner, more), (more, inner)):
            before = Path(write(tmp_path / "made", [one])["path"].decode())
            edits = {found: {0: other.get(found)} for found in one.keys() ^ other.keys()}
            assert patched(before, edits)
            found = write(tmp_path / "again", [other], before, edits)
            assert {**found, "path": b""} == {**write(tmp_path / "nothing", [other]), "path": b""}
