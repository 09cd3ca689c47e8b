"""docs/security.md claims nothing that no test shows, and nothing for a part that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!claim |---)(.+?) \| `(\S+)` \| (.+) \|$", PAGE, re.M)


@pytest.mark.parametrize(("claim", "part", "tests"), ROWS, ids=[claim for claim, _, _ in ROWS])
def test_every_claim_has_a_part_and_tests_that_exist(claim: str, part: str, tests: str) -> None:
    assert (ROOT / part).is_file(), f"{claim}: there is no {part}"
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert named, claim
    for path, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), f"{path}::{name}"


def test_every_line_of_the_page_is_a_claim_or_prose() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| claim |", "|---"))]
    assert len(lines) == len(ROWS) > 40


def test_every_advisory_that_has_a_test_is_on_the_page_and_the_other_way_round() -> None:
    source = (ROOT / "tests/hostile/test_advisories.py").read_text(encoding="utf-8")
    for name in re.findall(r"^def (test_cve_\w+)\(", source, re.M):
        assert f"::{name}`" in PAGE
    tested = {number.upper().replace("_", "-") for number in re.findall(r"cve_\d{4}_\d+", source)}
    assert set(re.findall(r"CVE-\d{4}-\d+", PAGE)) <= tested
