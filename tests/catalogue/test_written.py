from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.catalogue import written
from sinkhole.catalogue.model import Bypass, Default, Directive, Service, Sources
from sinkhole.document import read
from sinkhole.errors import ConfigError

SERVICE = b"""\
# One line of a head.
# And another.
homepage: https://chatty.example/
kind: chat assistant
id: chatty
tiers:
  shared:
    - {evidence: [b, a], name: z.example}
  core:
    - name: y.example
      evidence: [{date: 2026-01-31, title: "No: it isn't", publisher: X}, {title: B, publisher: A, date: 2025-01-31}]
    - {name: b.example, hosts: [y.b.example, a.b.example], evidence: [a]}
country: NO
"""
WRITTEN = """\
# One line of a head.
# And another.
id: chatty
country: NO
kind: chat assistant
homepage: https://chatty.example/
tiers:
  core:
    - name: b.example
      hosts: [a.b.example, y.b.example]
      evidence: [a]
    - name: y.example
      evidence:
        - publisher: A
          title: B
          date: 2025-01-31
        - publisher: X
          title: 'No: it isn''t'
          date: 2026-01-31
  shared:
    - name: z.example
      evidence: [a, b]
"""


def test_keys_follow_the_model_and_entries_are_sorted() -> None:
    assert written.written(SERVICE, Service, "f").decode() == WRITTEN


def test_what_is_written_is_written_once() -> None:
    assert written.written(WRITTEN.encode(), Service, "f").decode() == WRITTEN


def test_order_that_says_something_stays() -> None:
    text = b"a:\n  mirrors: ['https://z.example/', 'https://a.example/']\n"
    assert b"mirrors: ['https://z.example/', 'https://a.example/']" in written.written(text, Sources, "f")
    text = b"policy:\n  - {groups: [z]}\n  - {groups: [a]}\nexports: [b, a]\n"
    assert written.written(text, Default, "f") == (b"policy:\n  - groups: [z]\n  - groups: [a]\nexports: [a, b]\n")


def test_keys_that_nobody_knows_stay_for_the_check_to_report() -> None:
    assert written.written(b"z: 1\nid: x\n", Directive, "f") == b"id: x\nz: 1\n"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("protected:\n  # why\n  - name: a.example\n", 2, 3),
        ("protected:\n  - name: a.example  # why\n", 2, 22),
        ("\n# not at the head\nprotected: []\n", 2, 1),
        ('protected:\n  - {name: a.example, reason: "a # b"}  # why\n', 2, 34),
    ],
)
def test_a_comment_that_would_get_lost_is_refused(text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        written.written(text.encode(), Bypass, "f")
    [problem] = caught.value.problems
    assert str(problem) == (
        f"f:{line}:{column}: a comment would get lost; put it at the head of the file, or into a note or a reason"
    )


def test_a_hash_inside_a_text_is_no_comment() -> None:
    text = b"protected:\n  - name: a.example\n    reason: 'see #7 # and more'\n"
    assert written.written(text, Bypass, "f") == text


def test_what_cannot_be_read_is_not_written() -> None:
    with pytest.raises(ConfigError, match="duplicate key"):
        written.written(b"a: 1\na: 2\n", Sources, "f")


plain = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\ufeff\ufffe\uffff"))
values = st.one_of(st.booleans(), st.none(), st.integers(-(10**17), 10**17), plain)
data = st.dictionaries(
    plain.filter(bool), st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(plain, inner)), min_size=1
)


@given(data)
def test_whatever_is_written_reads_as_it_was(value: dict[str, Any]) -> None:
    """Texts that look like numbers, constants or dates, Unicode, empty things: all come back as they are."""
    first = written.dump(value)
    assert read(first, "f").data == value
    assert read(written.written(first, None, "f"), "f").data.keys() == value.keys()


def test_files_are_those_that_the_loader_reads(tmp_path: Path) -> None:
    for name in ("lists.yaml", "services/a.yaml", "services/deep/b.yaml", "other.yaml", "services/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {path.relative_to(tmp_path).as_posix() for path, _ in written.files(tmp_path)} == {
        "lists.yaml",
        "services/a.yaml",
    }
