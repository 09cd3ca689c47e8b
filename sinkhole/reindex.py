"""The index of a bundle, made of that of the one before it: what no change concerns is copied as it is.

Only blocks shift with every key that comes or goes (:data:`sinkhole.bundle.BLOCK` keys are one), so where they begin is
found by going some keys back or on from where they began.
"""

from __future__ import annotations

import json
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sinkhole.bundle import BLOCK, Attribute, Edits


class Columns(NamedTuple):
    """The texts of ``index.keys`` and ``index.first``, and the numbers of ``index.blocks`` and ``attributes.bin``."""

    keys: bytes
    firsts: bytes
    blocks: array[int]
    numbers: array[int]


class _Step(NamedTuple):
    """Where a key came or went in the text before, and how many octets and keys that is more."""

    place: int
    octets: int
    keys: int


def patched(path: Path, edits: Edits) -> Columns | None:
    """The index of the bundle at ``path`` after some edits; None when its attributes are not those of that, and all
    has to be made anew. Raises OSError or ValueError for a bundle that is none."""
    text, firsts = (path / "index.keys").read_bytes(), (path / "index.first").read_bytes().split(b"\n")[:-1]
    blocks, numbers = _uint32(path / "index.blocks"), _uint32(path / "attributes.bin")
    attributes: list[Attribute] = [
        tuple((number, code) for number, code in record)
        for record in json.loads((path / "attributes.json").read_bytes())
    ]
    known = {attribute: number for number, attribute in enumerate(attributes)}
    if not firsts:
        return None
    pieces: list[bytes] = []
    made = array("I")
    steps: list[_Step] = []
    left: set[int] = set()
    done = done_number = 0
    for key, codes in sorted(edits.items()):
        block = max(bisect_right(firsts, key) - 1, 0)
        keys = text[blocks[block] + 1 : blocks[block + 1]].split(b"\n")
        at = bisect_left(keys, key)
        there = keys[at : at + 1] == [key]
        place, number = blocks[block] + sum(map(len, keys[:at])) + at, block * BLOCK + at
        before = attributes[numbers[number]] if there else ()
        now = tuple(sorted((on, code) for on, code in {**dict(before), **codes}.items() if code is not None))
        if now == before:
            continue
        if now and now not in known:
            return None
        pieces.append(text[done:place])
        made.extend(numbers[done_number:number])
        if there:
            left.add(numbers[number])
        if now:
            pieces.append(b"\n" + key)
            made.append(known[now])
        if more := bool(now) - there:
            steps.append(_Step(place, more * (len(key) + 1), more))
        done, done_number = place + there * (len(key) + 1), number + there
    text = b"".join((*pieces, text[done:]))
    made.extend(numbers[done_number:])
    if not all(number in made for number in left):
        return None
    starts = _starts(text, blocks, steps, -(-len(made) // BLOCK))
    find = text.find
    first = b"".join([text[start + 1 : find(b"\n", start + 1) + 1] for start in starts])
    return Columns(text, first, array("I", (*starts, len(text) - 1)), made)


def _starts(text: bytes, blocks: Sequence[int], steps: Iterable[_Step], count: int) -> list[int]:
    """Where the ``count`` blocks of ``text`` begin, when they began at ``blocks`` before some steps."""
    find, rfind = text.find, text.rfind
    starts: list[int] = []

    def fill(to: int) -> None:
        while len(starts) < to:
            place = starts[-1]
            for _ in range(BLOCK):
                place = find(b"\n", place + 1)
            starts.append(place)

    at = octets = keys = 0
    for step in (*steps, _Step(len(text) + blocks[-1], 0, 0)):
        end = bisect_right(blocks, step.place, at, len(blocks) - 1)
        if end > at:  # the key that a block began with is now the one after ``keys`` more
            back = (keys + BLOCK // 2) % BLOCK - BLOCK // 2
            run = [start + octets for start in blocks[at:end]]
            for _ in range(back):
                run = [rfind(b"\n", 0, start) for start in run]
            for _ in range(-back):
                run = [find(b"\n", start + 1) for start in run]
            number = at + (keys - back) // BLOCK
            fill(number)
            starts += run[len(starts) - number :]
        at, octets, keys = end, octets + step.octets, keys + step.keys
    fill(count)
    return starts[:count]


def _uint32(path: Path) -> array[int]:
    found = array("I", path.read_bytes())
    if sys.byteorder == "big":
        found.byteswap()
    return found
