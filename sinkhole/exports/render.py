"""Statements to the bytes of a list file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from sinkhole.errors import FormatError
from sinkhole.exports.fit import Fitted
from sinkhole.formats.format import Format, Header, comments
from sinkhole.names import unkey
from sinkhole.rules import Kind

#: How many names may stand in one line: readers of hosts files have buffers for lines of some kilobytes.
MAX_PER_LINE = 30
_CHUNK = 100_000


def render(fitted: Fitted, format: Format, header: Header, per_line: int = 1) -> Iterator[bytes]:
    """The file in pieces: header, what the format begins with, one statement a line in order of reversed labels, and
    the special rules.

    ``per_line`` is how many names stand in one line. Raises :class:`~sinkhole.errors.FormatError` when the format takes
    one only.
    """
    most = MAX_PER_LINE if format.many else 1
    if not 1 <= per_line <= most:
        raise FormatError(f"{per_line} names in a line: {format.name} takes {most if most == 1 else f'1 to {most}'}")
    return _pieces(fitted, format, header, per_line)


def _pieces(fitted: Fitted, format: Format, header: Header, per_line: int) -> Iterator[bytes]:
    header = header._replace(notes=(*header.notes, *fitted.loss.notes()))
    if format.comment:
        yield comments(header, format.comment, format.title, fitted.rules)
    yield format.start(header)
    lines = {kind: template + b"\n" for kind, template in format.lines.items()}
    dot = format.dot
    step = _CHUNK // per_line * per_line
    statements = iter(fitted.statements)
    while chunk := list(islice(statements, step)):
        if per_line == 1:
            yield b"".join([lines[kind] % key[-2::-1].replace(b".", dot) for key, kind in chunk])
        else:
            yield b"".join(_many(chunk, lines, per_line))
    yield "".join(f"{line}\n" for line in fitted.special).encode()
    yield format.end


def _many(chunk: Sequence[tuple[bytes, Kind]], lines: Mapping[Kind, bytes], per_line: int) -> Iterator[bytes]:
    """Lines of several names each; a format that takes several has one kind of statement."""
    names = [unkey(key) for key, _ in chunk]
    for at in range(0, len(names), per_line):
        yield lines[chunk[at][1]] % b" ".join(names[at : at + per_line])
