"""A few changes to one range of a list, without a look at what they do not concern.

Nothing here takes a text apart: a key is found by halving the text, and what is between two changes is copied as it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

from sinkhole.compiler.blocklist import OWN, REDUNDANT, Fold, Rows
from sinkhole.compiler.merged import Plain
from sinkhole.compiler.tally import Fixed
from sinkhole.rules import applying


class Edit(NamedTuple):
    """What became of the entry of a key: its code before and now; None: there is none."""

    key: bytes
    before: int | None
    now: int | None


class _Moved(NamedTuple):
    """A key with another mask: where it begins in the text and among the keys, whether it is there, and whether that
    matters to those below it."""

    key: bytes
    place: int
    number: int
    there: bool
    deep: bool


class Above(NamedTuple):
    """The key above all of a range, if any, and what it states for those below it."""

    top: bytes = b""
    reach: int = 0


def patch(
    part: Plain, changes: Mapping[bytes, int], fixed: Mapping[bytes, Fixed], rows: Rows, typecode: str, above: Above
) -> tuple[Plain, list[Edit]]:
    """Add ``changes`` to the tallies of keys, work out anew what these come to, and those below them where that is
    another reach, and tell what became of entries. ``rows`` give what a tally comes to, but for keys that are
    ``fixed``."""
    text, tallies, codes = part[0], array(typecode, part[1]), part[2]
    pieces, counts, made = [], array(typecode), bytearray()
    moved: list[_Moved] = []
    edits: list[Edit] = []
    at = number = done = done_number = further = more = 0

    def value(key: bytes, tally: int) -> int:
        return fixed[key].over(rows.mask(tally)) if key in fixed else tally

    for key, change in sorted(changes.items()):
        place = _place(text, key, at)
        number += text.count(b"\n", at, place)
        at = place
        there = text.startswith(key + b"\n", place)
        tally = tallies[number] if there else 0
        before = rows.mask(value(key, tally)) if there else 0
        after = rows.mask(value(key, tally + change))
        pieces.append(text[done:place])
        counts.extend(tallies[done_number:number])
        made += codes[done_number:number]
        done, done_number = (place + len(key) + 1, number + 1) if there else (place, number)
        if before != after:
            deep = applying(before, False) != applying(after, False)
            moved.append(_Moved(key, place + further, number + more, bool(after), deep))
        if after:
            pieces.append(key + b"\n")
            counts.append(tally + change)
            made.append(codes[number] if there else 0)
        elif there and codes[number] not in REDUNDANT:
            edits.append(Edit(key, OWN[codes[number]], None))
        step = bool(after) - there
        further, more = further + step * (len(key) + 1), more + step
    text = b"".join((*pieces, text[done:]))
    counts.extend(tallies[done_number:])
    made += codes[done_number:]

    def reach(key: bytes, place: int, number: int) -> int:
        """What the ancestors of a key state for it, which begins at ``place`` or would. Each of them is above the key
        before it too, or is that."""
        found = above.reach
        last = text[text.rfind(b"\n", 0, max(place - 1, 0)) + 1 : max(place - 1, 0)]
        end = key.find(b".", len(above.top)) + 1
        while 0 < end < len(key) and last.startswith(key[:end]):
            at = _place(text, key[:end], 0, place)
            if text.startswith(b"%s\n" % key[:end], at):
                tally = counts[number - text.count(b"\n", at, place)]
                found |= applying(rows.mask(value(key[:end], tally)), False)
            end = key.find(b".", end) + 1
        return found

    for key, place, number, stands, deep in moved:
        end = place + (len(key) + 1) * stands
        if deep and text.startswith(key, end):
            end = _place(text, key + b"\xff", end)
        if end > place:
            run = text[place : end - 1].split(b"\n")
            to = number + len(run)
            now = Fold(rows, reach(key, place, number)).resolve(run, list(map(value, run, counts[number:to])))
            for name, one, other in zip(run, made[number:to], now, strict=True):
                was, entry = (None if code in REDUNDANT else OWN[code] for code in (one, other))
                if was != entry:
                    edits.append(Edit(name, was, entry))
            made[number:to] = now
    return (text, counts.tobytes(), bytes(made)), edits


def _place(text: bytes, key: bytes, low: int, high: int | None = None) -> int:
    """Where the first of some sorted lines begins that is not before ``key``; ``low`` and ``high`` are where lines
    begin between which it is."""
    high = len(text) if high is None else high
    while low < high:
        middle = (low + high) // 2
        start = text.rfind(b"\n", low, middle) + 1 or low
        end = text.find(b"\n", middle)
        if text[start:end] < key:
            low = end + 1
        else:
            high = start
    return low


def tally_of(part: Plain, key: bytes, typecode: str) -> int:
    """The tally of a key of one range; 0 of one that is not there."""
    at = _place(part[0], key, 0)
    return array(typecode, part[1])[part[0].count(b"\n", 0, at)] if part[0].startswith(key + b"\n", at) else 0
