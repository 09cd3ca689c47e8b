"""CSV with the columns ``name,scope,action,rank``, or those that its first line names, in any order.

Source: RFC 4180; the meaning of a row is in :mod:`sinkhole.formats.rows`. Lines end in LF alone, there are no
comments, and no cell begins with ``=``, ``+``, ``-`` or ``@``, which a spreadsheet would take for a formula: names
with a hyphen in front are left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import bulk, read_lines
from sinkhole.formats.rows import NAMES, USUAL, WORDS, row
from sinkhole.rules import Parsed, Rule

_BULKS = tuple(bulk(b"", "".join(f",{word}" for word in words).encode(), WORDS[words]) for words in USUAL)
_HEADER = re.compile(rb'\s*+("?name"?[ \t]*(?:,[^\n]*)?|[^\n]*,[ \t]*"?name"?[ \t]*(?:,[^\n]*)?)\r?(?:\n|$)')


def _columns(text: bytes) -> tuple[str, ...]:
    found = _HEADER.match(text)
    return tuple(_cells(found[1].decode("utf-8", "replace"))) if found else NAMES


def _cells(line: str) -> list[str]:
    cells: list[str] = next(csv.reader([line], strict=True), [])
    return [cell.strip() for cell in cells]


def read(text: bytes) -> Parsed:
    columns = _columns(text)
    usual = columns[: len(NAMES)] == NAMES == columns
    return read_lines(text, _BULKS if usual else (), partial(read_line, columns=columns))


def read_line(line: str, columns: tuple[str, ...] = NAMES) -> Iterator[Rule | str]:
    try:
        cells = _cells(line)
    except csv.Error:
        yield "not a row"
        return
    if tuple(cells) != columns and any(cells):
        yield row(dict(zip(columns, cells, strict=False))) if len(cells) <= len(columns) else "more cells than columns"


def _context(text: bytes) -> bytes:
    return ",".join(_columns(text)).encode() + b"\n"


def _start(header: Header) -> bytes:
    return _context(b"")


FORMAT = Format(
    name="csv",
    title="comma-separated values",
    use="programs of your own, and spreadsheets",
    suffix="csv",
    comment="",
    read=read,
    lines={kind: b"%s" + "".join(f",{word}" for word in words).encode() for words, kind in WORDS.items()},
    unfit=b"-",
    start=_start,
    context=_context,
)
