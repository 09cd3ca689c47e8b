"""Rules inside a script: the frame around them is always the same, so that a reader knows every line of a file.

Most look a name up, then its parents from the nearest to the top, and the first rule found decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sinkhole.formats.nesting import nest
from sinkhole.formats.reading import Bulk, read_lines
from sinkhole.rules import Kind, Parsed, Scope

#: What can be said about a name in a script.
KINDS = tuple(Kind(scope, allow) for allow in (False, True) for scope in (Scope.TREE, Scope.EXACT, Scope.SUBDOMAINS))


def reader(frame: str, comment: str, bulks: Sequence[Bulk], nested: bool = True) -> Callable[[bytes], Parsed]:
    """The reader of scripts of one frame, whose rules are what ``bulks`` match. ``nested``: the nearest one decides."""
    known = frozenset(line.strip() for line in frame.split("\n"))

    def read_line(line: str) -> Iterator[str]:
        if line not in known and not line.startswith(comment):
            yield "not a line of such a script"

    def read(text: bytes) -> Parsed:
        parsed = read_lines(text, bulks, read_line)
        if nested:
            nest(parsed)
        return parsed

    return read
