"""Any list text in any format, without a catalogue or a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sinkhole.compiler.blocklist import Blocklist, keys_of, resolve
from sinkhole.exports.fit import Fitted, fit
from sinkhole.exports.render import render
from sinkhole.formats.format import Format, Header
from sinkhole.rules import Parsed


class Converted(NamedTuple):
    """What was read, what could be stated, and the pieces of the file."""

    parsed: Parsed
    fitted: Fitted
    pieces: Iterable[bytes]


def convert(text: bytes, source: Format, target: Format, title: str) -> Converted:
    """Read ``text`` as ``source`` and state it in ``target``. No guard applies: the file is the user's own."""
    parsed = source.read(text)
    blocklist = Blocklist()
    blocklist.merge(keys_of(parsed.names))
    fitted = fit(resolve(blocklist.masks), (), target)
    return Converted(parsed, fitted, render(fitted, target, Header(title=title)))
