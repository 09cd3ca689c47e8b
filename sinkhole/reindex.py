"""The index of a bundle, made of that of the one before it: what no change concerns is copied as it is."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from sinkhole.bundle import PAGE, SHORT, TAG, TAGS, Attribute, Edits


class Lines:
    """The lines of an index with tags of one octet: a key, its tag, a line feed."""

    def __init__(self, path: Path) -> None:
        data = (path / "index.keys").read_bytes()
        self._pages = [data[at + 1 : at + PAGE].rstrip(b"\0") for at in range(0, len(data), PAGE)]
        self._firsts = (path / "index.first").read_bytes().split(b"\n")[:-1]
        self._starts = list(accumulate(map(len, self._pages), initial=0))
        self.text = b"".join(self._pages)

    def place(self, key: bytes) -> int:
        """Where the first line begins that has no lesser key."""
        page = max(bisect_right(self._firsts, key) - 1, 0)
        keys = self._pages[page].translate(None, TAGS).split(b"\n")[:-1]
        at = bisect_left(keys, key)
        return self._starts[page] + sum(map(len, keys[:at])) + 2 * at

    def run(self, key: bytes) -> tuple[int, int]:
        """Where the lines of ``key`` and of all that is below it begin and end."""
        start = self.place(key)
        return start, self.place(key + b"\xff") if self.text.startswith(key, start) else start

    def above(self, key: bytes) -> int:
        """The record of the nearest ancestor of ``key`` that has one; -1 when none does.

        It is above whatever stands between it and the key, so it is above the key before that too, or is that key."""
        end = self.place(key)
        last = self.text[self.text.rfind(b"\n", 0, max(end - 1, 0)) + 1 : max(end - 2, 0)]
        parts = [
            key[: at + 1] for at in range(len(key) - 1) if key.startswith(b".", at) and last.startswith(key[: at + 1])
        ]
        for part in reversed(parts):
            at = self.place(part)
            if self.text.startswith(part, at) and self.text[at + len(part)] >= TAG:
                return self.text[at + len(part)] - TAG
        return -1


def patched(path: Path, edits: Edits) -> tuple[bytes, int] | None:
    """The lines of the bundle at ``path`` after some edits, and how many more they are. None when its records are not
    those that all made anew would have. Raises OSError or ValueError for a bundle that is none."""
    attributes: list[Attribute] = [
        tuple((number, code) for number, code in record)
        for record in json.loads((path / "attributes.json").read_bytes())
    ]
    if not 0 < len(attributes) <= SHORT:
        return None
    lines = Lines(path)
    text = lines.text
    known = {
        (lines.above(text[text.rfind(b"\n", 0, at) + 1 : at]), attribute): record
        for record, attribute in enumerate(attributes)
        for at in [text.find(TAG + record)]
    }
    pieces: list[bytes] = []
    done = more = 0
    for group in _groups(edits):
        start, end = lines.run(group[0])
        run = {line[:-1]: attributes[line[-1] - TAG] for line in text[start:end].split(b"\n")[:-1]}
        new = dict(run)
        for key in group:
            codes = {**dict(run.get(key, ())), **edits[key]}
            new[key] = tuple(sorted((number, code) for number, code in codes.items() if code is not None))
        pieces.append(text[done:start])
        done = end
        above = [(b"", lines.above(group[0]))]
        for key in sorted(key for key, attribute in new.items() if attribute):
            while not key.startswith(above[-1][0]):
                above.pop()
            record = known.get((above[-1][1], new[key]))
            if record is None:
                return None
            above.append((key, record))
            pieces.append(b"%s%c\n" % (key, TAG + record))
            more += 1
        more -= len(run)
    text = b"".join((*pieces, text[done:]))
    places = [text.find(TAG + record) for record in range(len(attributes))]
    return (text, more) if -1 not in places and places == sorted(places) else None


def _groups(edits: Edits) -> Iterable[list[bytes]]:
    """The keys of edits, each with those below it."""
    group: list[bytes] = []
    for key in sorted(edits):
        if group and not key.startswith(group[0]):
            yield group
            group = []
        group.append(key)
    if group:
        yield group
