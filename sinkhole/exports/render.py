"""Statements to the bytes of a list file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress, islice

from sinkhole.errors import FormatError
from sinkhole.exports.fit import Fitted
from sinkhole.exports.statements import Statements
from sinkhole.formats.format import Format, Header, comments

#: How many names may stand in one line: readers of hosts files have buffers for lines of some kilobytes.
MAX_PER_LINE = 30


def render(fitted: Fitted, format: Format, header: Header, per_line: int = 1) -> Iterator[bytes]:
    """The file in pieces: header, what the format begins with, one statement a line in order of reversed labels, and
    the special rules.

    ``per_line`` is how many names stand in one line; 1 is as many as the format has. Raises
    :class:`~sinkhole.errors.FormatError` when the format takes one only.
    """
    per_line = format.per_line if per_line == 1 else per_line
    most = MAX_PER_LINE if format.many else 1
    if not 1 <= per_line <= most:
        raise FormatError(f"{per_line} names in a line: {format.name} takes {most if most == 1 else f'1 to {most}'}")
    return _closed(_pieces(fitted, format, header, per_line), format)


def _closed(pieces: Iterator[bytes], format: Format) -> Iterator[bytes]:
    last = b""
    for piece in filter(None, pieces):
        yield last
        last = piece
    yield last.removesuffix(format.comma + b"\n") + b"\n" if format.comma else last
    yield format.end


def _pieces(fitted: Fitted, format: Format, header: Header, per_line: int) -> Iterator[bytes]:
    header = header._replace(notes=(*header.notes, *fitted.loss.notes()))
    if format.comment:
        yield comments(header, format.comment, format.title, format.use, fitted.rules)
    yield format.start(header)
    said = fitted.statements.said
    around = [b"".join(format.lines[kind] + b"\n" for kind in kinds).split(b"%s") for kinds in said]
    if per_line == 1:
        yield from _single(fitted.statements, around, format.dot)
    else:
        yield from _many(fitted.statements, around, per_line)
    if fitted.special:
        yield "\n".join([*fitted.special, ""]).encode()


def _single(statements: Statements, around: Sequence[list[bytes]], dot: bytes) -> Iterator[bytes]:
    """A name for each statement; ``around`` is what stands before, between and behind the name, by number."""
    at = 0
    for block in statements.names.blocks:
        shapes = statements.shapes[at : at + block.count(b"\n") + 1]
        at += len(shapes)
        if dot != b".":
            block = block.replace(b".", dot)
        first = around[shapes[0]]
        if len(first) == 2 and shapes.count(shapes[0]) == len(shapes):
            yield block.replace(b"\n", first[1] + first[0]).join(first)
        else:
            yield b"".join(map(bytes.join, block.split(b"\n"), map(around.__getitem__, shapes)))


def _many(statements: Statements, around: Sequence[list[bytes]], per_line: int) -> Iterator[bytes]:
    """Lines of several names each; a format that takes several has one kind of statement."""
    lines = [number for number, kinds in enumerate(statements.said) if kinds]
    shapes = iter(statements.shapes)
    blocks = (block.split(b"\n") for block in statements.names.blocks)
    names = chain.from_iterable(compress(block, islice(shapes, len(block))) for block in blocks)
    while line := b" ".join(islice(names, per_line)):
        yield line.join(around[lines[0]])
