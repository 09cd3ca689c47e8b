from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from sinkhole import seals
from sinkhole.seals import Seals, seal


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that changed long enough ago, whenever it is asked for."""
    monkeypatch.setattr(seals, "_TICK", -(10**9))
    monkeypatch.setattr(seals, "_COARSE", -(10**9))
    path = tmp_path / "text"
    path.write_bytes(b"one\n")
    return path


def remembered(tmp_path: Path, path: Path) -> Path:
    kept = tmp_path / "seals.json"
    found = Seals(kept)
    found.sha256(path)
    found.save()
    return kept


def never(*_: object) -> None:
    raise AssertionError("hashed again")


def test_a_file_that_is_the_same_is_not_hashed_again(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = remembered(tmp_path, text)
    expected = Seals().sha256(text)
    monkeypatch.setattr(hashlib, "file_digest", never)
    assert Seals(kept).sha256(text) == expected


@pytest.mark.parametrize("how", ["in place", "another file of the same name", "in place, with its times put back"])
def test_a_change_of_as_many_octets_is_seen(tmp_path: Path, text: Path, how: str) -> None:
    kept, before = remembered(tmp_path, text), text.stat()
    if how == "another file of the same name":
        (tmp_path / "new").write_bytes(b"two\n")
        (tmp_path / "new").rename(text)
    else:
        text.write_bytes(b"two\n")
    if how.endswith("put back"):
        os.utime(text, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Seals(kept).sha256(text) == "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 1}', b'{"x": ["a"]}', b"\xff", b"null"])
def test_a_damaged_record_costs_time_only(tmp_path: Path, text: Path, damage: bytes) -> None:
    kept = remembered(tmp_path, text)
    kept.write_bytes(damage)
    assert Seals(kept).sha256(text) == "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"


def test_a_file_that_changed_just_now_has_no_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another change within one tick of the clock would leave the same times."""
    path = tmp_path / "text"
    path.write_bytes(b"one\n")
    assert seal(path) == ""
    monkeypatch.setattr(time, "time_ns", lambda: path.stat().st_ctime_ns + 5 * 10**9)
    assert seal(path)


def test_what_is_not_asked_for_any_more_is_forgotten(tmp_path: Path, text: Path) -> None:
    kept = remembered(tmp_path, text)
    Seals(kept).save()
    assert kept.read_bytes() == b"{}"
