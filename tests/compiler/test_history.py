"""The way back to an earlier bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.compiler import history
from sinkhole.errors import BundleError, SinkholeError
from tests.bundles import made


def current(directory: Path) -> str:
    path = bundle.current(directory / "bundles")
    assert path
    return path.name


def test_each_step_goes_one_bundle_back(tmp_path: Path) -> None:
    names = [made(tmp_path, f"block: [{label}.test]").path.name for label in "abc"]
    for left, to in ((2, 1), (1, 0)):
        back = history.roll_back(tmp_path / "bundles", None)
        assert (back.left, back.to, current(tmp_path)) == (names[left], names[to], names[to])
    with pytest.raises(SinkholeError, match=f"no bundle before {names[0]} in .*; others there: {names[2]}, {names[1]}"):
        history.roll_back(tmp_path / "bundles", None)
    assert history.roll_back(tmp_path / "bundles", names[2]).to == current(tmp_path) == names[2]


def test_an_old_bundle_that_came_into_use_again_is_the_newest(tmp_path: Path) -> None:
    first, second, third = (made(tmp_path, f"block: [{label}.test]").path.name for label in "aba")
    assert first == third
    assert history.roll_back(tmp_path / "bundles", None).to == second


def test_a_build_of_the_same_leaves_what_was_rolled_back_to(tmp_path: Path) -> None:
    first = made(tmp_path, "block: [a.test]")
    second = made(tmp_path, "block: [b.test]")
    history.roll_back(tmp_path / "bundles", None)

    again = made(tmp_path, "block: [b.test]")
    assert (again.path, again.left, again.changed, again.lists) == (first.path, second.path.name, False, ())
    assert current(tmp_path) == first.path.name

    other = made(tmp_path, "block: [c.test]")
    assert (other.changed, other.left, current(tmp_path)) == (True, "", other.path.name)
    assert made(tmp_path, "block: [b.test]").path == second.path  # the record is gone
    assert history.rolled_back(tmp_path / "bundles") is None


def test_a_bundle_that_is_damaged_is_not_put_in_use(tmp_path: Path) -> None:
    first = made(tmp_path, "block: [a.test]")
    second = made(tmp_path, "block: [b.test]")
    (first.path / "own.json").write_text("[]")
    with pytest.raises(BundleError, match="damaged"):
        history.roll_back(tmp_path / "bundles", None)
    assert current(tmp_path) == second.path.name


@pytest.mark.parametrize(("name", "why"), [(None, "no bundle is in use"), ("x", "no bundle is in use")])
def test_without_any_bundle(tmp_path: Path, name: str | None, why: str) -> None:
    with pytest.raises(SinkholeError, match=why):
        history.roll_back(tmp_path / "bundles", name)


def test_names_that_are_none_are_refused(tmp_path: Path) -> None:
    only = made(tmp_path, "block: [a.test]")
    with pytest.raises(SinkholeError, match=r"no bundle '\.\./x' in .*; others there: none"):
        history.roll_back(tmp_path / "bundles", "../x")
    with pytest.raises(SinkholeError, match=f"{only.path.name} is in use already"):
        history.roll_back(tmp_path / "bundles", only.path.name)
