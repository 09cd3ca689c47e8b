"""Statements to the bytes of a list file."""

from __future__ import annotations

from collections.abc import Iterator

from sinkhole.exports.fit import Fitted
from sinkhole.formats.format import Format, Header, comments

_CHUNK = 100_000


def render(fitted: Fitted, format: Format, header: Header) -> Iterator[bytes]:
    """The file in pieces: header, what the format begins with, one statement a line in order of reversed labels."""
    notes = (*header.notes, *fitted.loss.notes())
    if format.comment:
        yield comments(header._replace(notes=notes), format.comment, format.title, len(fitted.statements))
    yield format.start(header)
    lines = {kind: template + b"\n" for kind, template in format.lines.items()}
    for at in range(0, len(fitted.statements), _CHUNK):
        chunk = fitted.statements[at : at + _CHUNK]
        yield b"".join([lines[kind] % b".".join(key[:-1].split(b".")[::-1]) for key, kind in chunk])
    yield format.end
