"""What the rules of a list came to, kept so that a change of one text costs what changed.

A file holds the sha256 of its rest in hex, a line of JSON, and then the keys, the masks and the codes of all ranges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

#: Of one range, as in :class:`sinkhole.compiler.compile.Part`: the keys, their masks, their codes.
Plain = tuple[bytes, bytes, bytes]


class Merged(NamedTuple):
    """``sources`` are the names under which the cache has what each text came to; ``rest`` is all else that the parts
    follow from. ``version`` is that of the list."""

    rest: str
    sources: tuple[str, ...]
    version: str
    parts: Sequence[Plain]


def dumped(merged: Merged) -> list[bytes]:
    """The pieces of a file."""
    head = {
        "rest": merged.rest,
        "sources": merged.sources,
        "version": merged.version,
        "sizes": [list(map(len, pieces)) for pieces in zip(*merged.parts, strict=True)],
    }
    pieces = [b"\n", json.dumps(head).encode(), b"\n", *chain.from_iterable(zip(*merged.parts, strict=True))]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [digest.hexdigest().encode(), *pieces]


def loaded(data: bytes) -> Merged:
    """What a file holds; raises ValueError, TypeError or LookupError when that is nothing."""
    if data[:64] != hashlib.sha256(memoryview(data)[64:]).hexdigest().encode():
        raise ValueError("damaged")
    end = data.find(b"\n", 65)
    head: dict[str, Any] = json.loads(data[65:end])
    columns: list[Iterator[bytes]] = []
    at = end + 1
    for sizes in head["sizes"]:
        places = list(accumulate(sizes, initial=at))
        columns.append(iter([data[start:stop] for start, stop in pairwise(places)]))
        at = places[-1]
    return Merged(head["rest"], tuple(head["sources"]), head["version"], list(zip(*columns, strict=True)))
