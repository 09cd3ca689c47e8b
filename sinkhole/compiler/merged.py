"""What is kept of a text or a list, so that a change costs what changed.

A file holds the sha256 of its first lines, as hex; a line of JSON; and pieces of octets, one after the other. The head
has the length of each piece and the CRC of all, so that it can be read alone, and they when somebody needs them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from sinkhole.rules import Kind

#: Of one range of a list: the keys, a line feed behind each; the tallies, as an array has them; the codes.
Plain = tuple[bytes, bytes, bytes]


def dumped(facts: Mapping[str, Any], columns: Iterable[Sequence[bytes]]) -> list[bytes]:
    """The octets of a file of ``facts`` and columns of pieces."""
    columns = list(columns)
    check = 0
    for piece in chain.from_iterable(columns):
        check = crc32(piece, check)
    head = json.dumps({**facts, "sizes": [list(map(len, column)) for column in columns], "check": check}).encode()
    return [hashlib.sha256(head).hexdigest().encode(), b"\n", head, b"\n", *chain.from_iterable(columns)]


class Kept(NamedTuple):
    """The head of a file: its facts, and where its pieces begin."""

    path: Path
    facts: dict[str, Any]
    start: int

    def columns(self) -> list[list[bytes]]:
        """The pieces. Raises OSError or ValueError when they are not what was written."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read()
        sizes: list[list[int]] = self.facts["sizes"]
        if len(data) != sum(map(sum, sizes)) or crc32(data) != self.facts["check"]:
            raise ValueError("damaged")
        found, at = [], 0
        for column in sizes:
            places = list(accumulate(column, initial=at))
            found.append([data[start:end] for start, end in pairwise(places)])
            at = places[-1]
        return found


def kept(path: Path) -> Kept:
    """Read the head of a file. Raises OSError, ValueError, TypeError or LookupError when there is none."""
    with path.open("rb") as file:
        digest, head = file.readline(), file.readline()
        if digest != hashlib.sha256(head[:-1]).hexdigest().encode() + b"\n":
            raise ValueError("damaged")
        return Kept(path, json.loads(head), file.tell())


class Merged(NamedTuple):
    """What the rules of a list came to. ``sources`` are the names under which the cache has what each text came to, in
    order; ``rest`` is all else that it follows from, ``beside`` what the list says beside. It has that ``version``, and
    so many ``entries``.
    ``kinds`` and ``width`` are those of its tallies (:class:`sinkhole.compiler.tally.Tally`)."""

    rest: str
    beside: str
    sources: tuple[str, ...]
    version: str
    entries: int
    kinds: tuple[Kind, ...]
    width: int
