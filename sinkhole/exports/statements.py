"""What is stated about each name of a list, for millions of names: a number for each key, and what the number says.

Names are made from keys a block at a time, once for all formats: a block is small enough to stay in the processor's
cache while C code splits it, joins it and writes it, which is three times as fast as a whole list at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sinkhole.formats.format import Format
from sinkhole.names import MAX_TEXT, unkey
from sinkhole.rules import Kind

#: How many names are worked on at once.
BLOCK = 4096


class Names:
    """The names of ``keys``, which are sorted."""

    def __init__(self, keys: list[bytes], blocks: list[bytes] | None = None) -> None:
        self.keys = keys
        self._blocks = blocks

    @property
    def blocks(self) -> list[bytes]:
        """The names of about :data:`BLOCK` keys each, separated by line breaks."""
        if self._blocks is None:
            self._blocks = [_names(self.keys[at : at + BLOCK]) for at in range(0, len(self.keys), BLOCK)]
        return self._blocks

    def including(self, keys: list[bytes], places: list[int]) -> Names:
        """These names and those of ``keys``, each in front of what stands at its place."""
        blocks = []
        at = done = 0
        for block in self.blocks:
            names = block.split(b"\n")
            end = bisect_left(places, at + len(names), done)
            more = _names(keys[done:end]).split(b"\n")
            blocks.append(b"\n".join(spliced(names, [place - at for place in places[done:end]], more)))
            at, done = at + len(names), end
        if done < len(keys):
            blocks.append(_names(keys[done:]))
        return Names(spliced(self.keys, places, keys), blocks)

    def unheld(self, format: Format) -> list[bytes]:
        """The keys of the names that ``format`` cannot hold."""
        start, most = format.unfit, format.max_name
        if (start and any(block.startswith(start) or b"\n" + start in block for block in self.blocks)) or (
            most < MAX_TEXT and any(max(map(len, block.split(b"\n"))) > most for block in self.blocks)
        ):
            return [key for key in self.keys if not format.holds(unkey(key))]
        return []


def _names(keys: Sequence[bytes]) -> bytes:
    text = b"\n".join(keys[::-1])[::-1]  # lines ``.name``
    return text.replace(b"\n.", b"\n")[1:]


@dataclass
class Statements:
    """``said[shapes[n]]`` are the kinds of statement about the name of key ``n``; number 0 is none. In order of keys,
    and at one key of kinds."""

    names: Names
    shapes: bytearray = field(default_factory=bytearray)
    said: list[tuple[Kind, ...]] = field(default_factory=lambda: [()])
    _numbers: dict[tuple[Kind, ...], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(self.shapes.count(number) * len(kinds) for number, kinds in enumerate(self.said))

    def __iter__(self) -> Iterator[tuple[bytes, Kind]]:
        for key, number in zip(self.names.keys, self.shapes, strict=True):
            for kind in self.said[number]:
                yield key, kind

    def number(self, kinds: Iterable[Kind]) -> int:
        """The number that says ``kinds``."""
        told = tuple(kinds)
        if (known := self._numbers.get(told)) is None:
            ordered = tuple(sorted(told))
            if ordered not in self.said:
                self.said.append(ordered)
            known = self._numbers[told] = self.said.index(ordered)
        return known


def stated(pairs: Iterable[tuple[bytes, Kind]]) -> Statements:
    """Statements from (key, kind), in any order."""
    kinds = by_key(pairs)
    made = Statements(Names(sorted(kinds)))
    made.shapes = bytearray(made.number(kinds[key]) for key in made.names.keys)
    return made


def by_key(pairs: Iterable[tuple[bytes, Kind]]) -> dict[bytes, list[Kind]]:
    kinds: dict[bytes, list[Kind]] = {}
    for key, kind in pairs:
        kinds.setdefault(key, []).append(kind)
    return kinds


def spliced(sequence: Any, places: Iterable[int], items: Sequence[Any]) -> Any:
    """``sequence`` with each of ``items`` in front of what stands at its place; the places are sorted."""
    result = sequence[:0]
    at = 0
    for number, to in enumerate(places):
        result += sequence[at:to]
        result += items[number : number + 1]
        at = to
    result += sequence[at:]
    return result
