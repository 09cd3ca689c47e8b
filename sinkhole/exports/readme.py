"""The page that says what lies in a directory of exports, for people who browse it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sinkhole.exports.loss import Loss
from sinkhole.formats.format import Format

#: How the page begins; one that begins otherwise is somebody's own.
MARK = b"<!-- Written by `sinkhole build`: what is changed here is lost. -->\n"
_HEAD = """
# Lists to import

Each list in every format that can state it. No file blocks more than its list says: what a format cannot state is left
out and counted, here, at the head of the file, and in [index.json](index.json), which has sizes and hashes too.
"""


class Section(NamedTuple):
    """What the page says of one list or group: its title and a few sentences."""

    title: str
    facts: tuple[str, ...]


class File(NamedTuple):
    """One file of a section; ``entries`` is how many rules it states."""

    format: Format
    path: str
    entries: int
    loss: Loss


def page(sections: Iterable[tuple[Section, Iterable[File]]], head: str = "") -> bytes:
    """The page of all files; ``head`` is what its introduction says beyond the usual."""
    lines = (line for section, files in sections for line in _section(section, files))
    return MARK + (_HEAD + head + "".join(f"{line}\n" for line in lines)).encode()


def _section(section: Section, files: Iterable[File]) -> Iterator[str]:
    yield f"\n## {_plain(section.title)}\n"
    yield " ".join(map(_plain, section.facts)) + "\n"
    yield "| file | syntax | where it goes | entries | left out |\n|---|---|---|---:|---|"
    for format, path, entries, loss in files:
        told = _plain(format.title), _plain(format.use), str(entries), "; ".join(loss.notes())
        yield f"| [{path}]({path}) | {' | '.join(told)} |"


def _plain(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would take for more."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
