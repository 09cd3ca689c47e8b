"""Reading list text: whole-file patterns first, then line by line for what they left.

A large text is nearly all lines of one shape, and those are taken as one text (:mod:`sinkhole.formats.sieve`); what
that leaves is taken line by line by compiled patterns in C; only the remainder (comments, oddities, faults) reaches
Python. ``re.split`` does two things at once: its captured groups are the names, its gaps are the remainder with every
line break still in place, so line numbers stay right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from sinkhole.formats.sieve import shape, sieve
from sinkhole.names import MAX_TEXT, BadName, parse_name
from sinkhole.rules import SAMPLES, Kind, Parsed, Rule, Special

#: The shortest text of which lines of one shape are taken as a whole, in octets.
SIEVED = 65536

#: Longest line that is looked at, in octets.
MAX_LINE = 65536

#: A name that needs no mapping, as a pattern over bytes; possessive, so that a long line costs one pass.
PLAIN = rb"(?:[A-Za-z0-9_-]{1,63}+\.)+(?=[0-9-]*[A-Za-z])[A-Za-z0-9-]{1,63}+"
_SPACES = rb"[ \t]*+"
_COMMENT = re.compile(r"(?:^|\s)[#;].*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Disabled(NamedTuple):
    """A rule that this line takes back."""

    rule: Rule | Special


#: A line to the rules it states (a special one with any line number: it gets its own) or takes back; a string in their
#: place is the reason why a part of the line was skipped.
LineReader = Callable[[str], Iterable[Rule | Special | Disabled | str]]


class Bulk(NamedTuple):
    """A pattern with one group, the name, that matches whole lines which mean ``kind`` and nothing else."""

    pattern: re.Pattern[bytes]
    kind: Kind


def bulk(before: bytes, after: bytes, kind: Kind, comment: bytes = b"#") -> Bulk:
    """The bulk pattern of lines ``before NAME after``, with spaces around and an optional comment behind."""
    tail = rb"(?:[ \t]" + comment + rb"[^\n]*+)?"
    return Bulk(
        re.compile(rb"^" + _SPACES + before + rb"(" + PLAIN + rb")" + after + _SPACES + tail + rb"$", re.M), kind
    )


def read_lines(text: bytes, bulks: Sequence[Bulk], line: LineReader) -> Parsed:
    """Every rule of ``text`` (UTF-8 or Latin-1, lines ending in LF), and every line that became none."""
    parsed = Parsed(lines=text.count(b"\n") + (not text.endswith(b"\n") and text != b""))
    rest = text
    for pattern, kind in bulks:
        if len(rest) >= SIEVED and (around := shape(pattern, rest)):
            taken, rest = sieve(rest, *around)
            if taken := _sound_text(taken.lower(), text, parsed):
                parsed.bulk.setdefault(kind, []).append(taken)
        parts = pattern.split(rest)
        rest = b"".join(parts[0::2])
        if names := list(map(bytes.lower, parts[1::2])):
            parsed.single.setdefault(kind, []).extend(_sound(names, text, parsed))
    for number, raw in _left(rest):
        if len(raw) > MAX_LINE:
            parsed.skip(number, raw[:80].decode("latin-1"), f"a line longer than {MAX_LINE} octets")
            continue
        content = _decode(raw).strip()
        if _CONTROL.search(content):
            parsed.skip(number, content, "a control character")
            continue
        reasons = []
        understood = False
        for found in line(content):
            match found:
                case str():
                    reasons.append(found)
                    continue
                case Rule():
                    parsed.add(found)
                case Special():
                    parsed.special.append(found._replace(line=number))
                case Disabled():
                    parsed.disabled.append(found.rule)
            understood = True
        for why in reasons:
            parsed.skip(number, content, why)
            if not understood:
                parsed.unread.setdefault(why, []).append(number)
    return parsed


def _left(rest: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) of every line of ``rest`` that is not blank."""
    number, at = 1, 0
    for match in re.finditer(rb"[^\n]*[^\s][^\n]*", rest):
        number += rest.count(b"\n", at, match.start())
        at = match.start()
        yield number, match[0]


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _sound(names: list[bytes], text: bytes, parsed: Parsed) -> list[bytes]:
    """``names`` without those that the pattern alone cannot judge: too long, or punycode that decodes to nothing."""
    doubtful = [name for name in names if b"xn--" in name or len(name) > MAX_TEXT]
    if not any(map(_fault, doubtful)):
        return names
    for name in doubtful:
        _skip_fault(name, text, parsed)
    return [name for name in names if not ((b"xn--" in name or len(name) > MAX_TEXT) and _fault(name))]


def _sound_text(taken: bytes, text: bytes, parsed: Parsed) -> bytes:
    """The same for lines ``.name``, which :func:`~sinkhole.formats.sieve.sieve` took: none of them is too long."""
    kept, done = [], 0
    at = taken.find(b"xn--")
    while at >= 0:
        start, end = taken.rfind(b"\n", 0, at) + 1, taken.find(b"\n", at) + 1
        if _fault(name := taken[start + 1 : end - 1]):
            _skip_fault(name, text, parsed)
            kept.append(taken[done:start])
            done = end
        at = taken.find(b"xn--", end)
    return b"".join((*kept, taken[done:])) if kept else taken


@lru_cache(65536)
def _fault(name: bytes) -> str:
    """Why a plain name is none after all; empty for a sound one."""
    try:
        parse_name(name.decode())
    except BadName as error:
        return str(error)
    return ""


def _skip_fault(name: bytes, text: bytes, parsed: Parsed) -> None:
    if why := _fault(name):
        parsed.skip(line_of(text, name) if parsed.skipped[why] < SAMPLES else 0, name.decode(), why)


def line_of(text: bytes, name: bytes) -> int:
    """The number of the first line of ``text`` that holds the whole ``name`` in any case; 0 when none does."""
    match = re.search(rb"(?<![\w.-])" + re.escape(name) + rb"(?![\w-])(?!\.[\w-])", text, re.I)
    return text.count(b"\n", 0, match.start()) + 1 if match else 0


def uncomment(line: str) -> str:
    """``line`` without a comment that begins it or follows white space."""
    return _COMMENT.sub("", line).strip()


def rule(text: str, kind: Kind) -> Rule | str:
    """The rule ``kind`` for the name that ``text`` means, or the reason why it means none."""
    try:
        return Rule(parse_name(text), kind)
    except BadName as error:
        return str(error)
