"""What a list format is: how its text is read, and which statement it has for each kind of rule.

The table of statements is also the format's capability: :mod:`sinkhole.exports.fit` says only what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sinkhole.rules import Kind, Parsed, Special


class Header(NamedTuple):
    """What the comment lines at the head of an export say; an empty value is left out."""

    title: str
    description: str = ""
    homepage: str = ""
    license: str = ""
    expires: str = ""
    modified: str = ""
    version: str = ""
    serial: int = 1
    notes: Sequence[str] = ()

    def fields(self, syntax: str, use: str, entries: int) -> list[tuple[str, str]]:
        """(field, value) in the order and the words that list consumers look for, each value on one line."""
        pairs = [
            ("Title", self.title),
            ("Description", self.description),
            ("Homepage", self.homepage),
            ("License", self.license),
            ("Expires", self.expires),
            ("Last modified", self.modified),
            ("Version", self.version),
            ("Syntax", syntax),
            ("Usage", use),
            ("Number of entries", str(entries)),
            *(("Note", note) for note in self.notes),
        ]
        return [(name, text) for name, value in pairs if (text := " ".join(value.split()))]


def comments(header: Header, sign: str, syntax: str, use: str, entries: int) -> bytes:
    """The header as comment lines, one field a line: ``! Title: …``."""
    return "".join(f"{sign} {name}: {value}\n" for name, value in header.fields(syntax, use, entries)).encode()


class Format(NamedTuple):
    """One list format.

    ``title`` is what its syntax is called, and ``use`` where a file goes, for people.
    ``lines`` maps each kind of rule that the format can state to a template for the name. ``nested`` formats let the
    most specific rule win (DNS wildcards), and so do ``closest`` ones, where a name that is not stated takes what the
    next tree above it says; in the others an exception beats every block, as in AdGuard's engine. ``max_name`` is the
    longest name it may hold, and ``unfit`` how none of them may begin. ``many``: a line may hold several names,
    separated by spaces, and has ``per_line`` of them unless another number is wanted. ``dot`` stands between two labels
    of a name.

    ``comment`` is empty for a format without comments, which has no header lines. ``start`` writes what stands between
    the header and the rules, ``end`` what stands behind them, and ``comma`` ends every line but the last. ``context``
    is what a line of a text needs before it to read as it does there.

    ``special`` states a special rule in one line or more, or gives None when the format has no word for it;
    ``networks`` are the lines of rules that are a network alone (:mod:`sinkhole.formats.networks`). In a format that
    puts ``answers_first``, a special rule with an answer beats every exception. Only ``sniffed`` formats are what an
    undecided text may be.
    """

    name: str
    title: str
    use: str
    suffix: str
    comment: str
    read: Callable[[bytes], Parsed]
    lines: Mapping[Kind, bytes]
    nested: bool = False
    closest: bool = False
    max_name: int = 253
    unfit: bytes = b""
    many: bool = False
    per_line: int = 1
    start: Callable[[Header], bytes] = lambda header: b""
    end: bytes = b""
    comma: bytes = b""
    context: Callable[[bytes], bytes] = lambda text: b""
    special: Callable[[Special], str | None] = lambda rule: None
    networks: Mapping[tuple[bool, int], str] = MappingProxyType({})
    dot: bytes = b"."
    answers_first: bool = False
    sniffed: bool = True

    def holds(self, name: bytes) -> bool:
        """Whether a name may stand in it at all."""
        return len(name) <= self.max_name and not (self.unfit and name.startswith(self.unfit))
