"""The lines of a text that are all of one shape, a name between two constant strings, taken out as one text.

Nothing here looks at lines one by one but at those of another shape: every step is one call over the whole text. What
is taken is surely right, and what is left may still be right: the patterns of :mod:`sinkhole.formats.reading` see it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

#: How many lines are looked at to find the shape that most of them have.
_LOOKED_AT = 64
#: Longest line taken: no label of it can be too long. The few longer ones are left.
_LONGEST = 63
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CLASS_OF = {**dict.fromkeys(_LETTERS, ord("a")), **dict.fromkeys(b"0123456789_-.", ord("0")), ord("\n"): ord("\n")}
#: Letters as ``a``, what no name may end with as ``0``, what no name may hold as NUL.
_CLASSES = bytes(_CLASS_OF.get(octet, 0) for octet in range(256))
_NOT_DOTS = bytes(octet for octet in range(256) if octet not in b".\n")
_UNMARKED = re.compile(rb"\n(?!\.)")
_LONG = re.compile(rb"\n(?=[^\n]{%d})" % (_LONGEST + 2))
_TOP_WITH_UNDERSCORE = re.compile(rb"_[^.\n]*+\n")
_ONE_LABEL = re.compile(rb"\n\.[^.\n]*+(?=\n)")


def shape(pattern: re.Pattern[bytes], text: bytes) -> tuple[bytes, bytes] | None:
    """What stands before and behind the name in most of the first lines that ``pattern`` matches."""
    found = Counter(
        (match.string[match.start() : match.start(1)], match.string[match.end(1) : match.end()])
        for match in islice(pattern.finditer(text), _LOOKED_AT)
    )
    return found.most_common(1)[0][0] if found else None


def sieve(text: bytes, before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """(the names of lines ``before NAME after`` as lines ``.name``, the text with those lines blank).

    The line break between two such lines becomes a line break and a dot, in one call, so a line is of the shape when
    both its ends are so marked and it holds a name. NAME is two labels or more of letters, digits, ``-`` and ``_``, no
    longer than a label may be, and has a letter at its end; ``localhost`` in any form is left to those who know.
    """
    if text.startswith(b".") or b"\n." in text:
        return b"", text
    end = b"" if text.endswith(b"\n") else b"\n"
    marked = b"".join((after, b"\n", text, end, before)).replace(after + b"\n" + before, b"\n.")
    bad = set(_bad(marked))
    taken, left = _cut(marked, bad, before, after)
    if b"\n.\n" in (b"\n" + taken).translate(None, _NOT_DOTS):
        bad.update(match.start() + 1 for match in _ONE_LABEL.finditer(marked))
        taken, left = _cut(marked, bad, before, after)
    return taken, left


def _bad(marked: bytes) -> Iterator[int]:
    """A place in every line that is not of the shape, but for those of one label."""
    classes = marked.translate(_CLASSES)
    yield from _each(classes, b"\0", marked)
    yield from _each(classes, b"0\n", marked)
    for wrong in (b"..", b"localhost"):
        yield from _each(marked, wrong, marked)
    for match in _UNMARKED.finditer(marked):
        yield from (max(match.start() - 1, 0), match.start() + 1)
    yield from (match.start() + 1 for match in _LONG.finditer(marked))
    yield from (match.start() for match in _TOP_WITH_UNDERSCORE.finditer(marked))


def _each(text: bytes, wrong: bytes, marked: bytes) -> Iterator[int]:
    """Where ``wrong`` is first found in each line of ``text``."""
    at = text.find(wrong)
    while at >= 0:
        yield at
        end = marked.find(b"\n", at)
        at = text.find(wrong, end) if end >= 0 else -1


def _cut(marked: bytes, bad: Iterable[int], before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """The marked lines without those that have a ``bad`` place, and those alone as they were, blank lines between."""
    first, last = marked.find(b"\n") + 1, marked.rfind(b"\n") + 1
    taken, left = [], []
    done = first
    for at in sorted(bad):
        if not done <= at < last:
            continue
        start, end = marked.rfind(b"\n", 0, at) + 1, marked.find(b"\n", at)
        taken.append(marked[done:start])
        left.append(b"\n" * taken[-1].count(b"\n"))
        line = marked[start:end]
        left.append(before + line[1:] if line.startswith(b".") else line)
        left.append(after + b"\n" if marked.startswith(b"\n.", end) else b"\n")
        done = end + 1
    taken.append(marked[done:last])
    left.append(b"\n" * taken[-1].count(b"\n"))
    return b"".join(taken), b"".join(left)
