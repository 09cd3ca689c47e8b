"""One file with every oddity, as each format reads it: a change of any reader shows in ``oddities.golden``.

``SINKHOLE_GOLDEN=write pytest tests/formats/test_oddities.py`` writes it anew, for somebody to read what changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sinkhole.formats import FORMATS, read_mixed
from sinkhole.rules import Parsed
from tests.formats.lines import everything

DATA = Path(__file__).parent.parent / "data/lists"
TEXT = (DATA / "oddities.txt").read_bytes()

#: What full-width letters and invisible characters come to (UTS-46).
FOLDED = {"ads.test", "ab.test", "zero-width.test"}


def dump(title: str, parsed: Parsed) -> Iterator[str]:
    yield f"== {title}: {parsed.lines} lines, {len(parsed)} rules, {sum(parsed.skipped.values())} skipped"
    yield from everything(parsed)
    yield from (f"-- {count} {why}" for why, count in sorted(parsed.skipped.items()))


def test_every_oddity_is_read_as_before() -> None:
    readers = {format.read: name for name, format in reversed(FORMATS.items())}
    sections = [
        dump(name, FORMATS[name].read(TEXT)) for name, format in FORMATS.items() if readers[format.read] == name
    ]
    sections.append(dump("a mixed list of domains", read_mixed(TEXT, FORMATS["domains"])))
    found = "".join(f"{line}\n" for section in sections for line in section)
    golden = DATA / "oddities.golden"
    if os.environ.get("SINKHOLE_GOLDEN") == "write":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_no_oddity_becomes_a_rule_that_its_line_does_not_state() -> None:
    """The property beside the golden: each rule's line holds its name, or a name in another script that means it."""
    lower = TEXT.decode("utf-8", "replace").lower()
    for format in FORMATS.values():
        for rule in format.read(TEXT).rules():
            spelt = {rule.name, rule.name.replace(".", r"\.")}
            assert any(name in lower for name in spelt) or "xn--" in rule.name or rule.name in FOLDED
            assert not rule.name.replace(".", "").isdigit()
