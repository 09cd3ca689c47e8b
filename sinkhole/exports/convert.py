"""Any list text in any format, without a catalogue or a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sinkhole.compiler.blocklist import Blocklist, keys_of, resolve
from sinkhole.exports.fit import Fitted, fit
from sinkhole.exports.render import render
from sinkhole.formats import detect, read_mixed, v2fly
from sinkhole.formats.format import Format, Header
from sinkhole.rules import Parsed, Rule


class Converted(NamedTuple):
    """In which format what was read, what could be stated, and the pieces of the file."""

    format: Format
    parsed: Parsed
    fitted: Fitted
    pieces: Iterable[bytes]


def convert(
    text: bytes, source: Format | None, target: Format, title: str, files: v2fly.Files | None = None, per_line: int = 1
) -> Converted:
    """Read ``text`` as ``source`` and state it in ``target``, ``per_line`` names in a line. No guard applies: the file
    is the user's own.

    Without a ``source`` the text is read in the format that it looks like, and lines of other formats in it as those
    are. ``files`` are what a text may include.
    """
    given = source or detect(text)
    if given is v2fly.FORMAT and files:
        text = v2fly.expand(text, files)
    parsed = given.read(text) if source else read_mixed(text, given)
    blocklist = Blocklist()
    blocklist.merge(keys_of(parsed))
    for rule in parsed.disabled:
        if isinstance(rule, Rule):
            blocklist.take_back(rule)
    special = [rule for rule in parsed.special if rule._replace(line=0) not in parsed.disabled]
    fitted = fit(resolve(blocklist.masks), (), target, special, blocklist.masks)
    return Converted(given, parsed, fitted, render(fitted, target, Header(title=title), per_line))
