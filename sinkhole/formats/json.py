"""JSON: an array of objects with ``name``, ``scope``, ``action`` and ``rank``, and in front one about the list.

Source: RFC 8259; the meaning of an object is in :mod:`sinkhole.formats.rows`. An object without a ``name`` states
nothing when it has ``list`` (an object: title, license, version and so on). Objects of one line each, with or without
the array around them, are read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import bulk, read_lines
from sinkhole.formats.rows import NAMES, USUAL, WORDS, row
from sinkhole.rules import Parsed, Rule


def _template(words: tuple[str, ...]) -> str:
    return json.dumps(dict(zip(NAMES, ("%s", *words), strict=True)), separators=(",", ":"))


_LINES = {kind: _template(words) for words, kind in WORDS.items()}
_BULKS = tuple(
    bulk(b",?" + re.escape(before).encode(), re.escape(after).encode() + b",?", WORDS[words])
    for words, (before, _, after) in ((words, _template(words).partition("%s")) for words in USUAL)
)
#: A flat object on several lines; braces in its strings end it early, and it is then skipped.
_SPREAD = re.compile(rb"\{[^{}\n]*\n[^{}]*\}")


def read(text: bytes) -> Parsed:
    return read_lines(_SPREAD.sub(_joined, text), _BULKS, read_line)


def _joined(match: re.Match[bytes]) -> bytes:
    """An object on one line, with the breaks that it had behind it."""
    return match[0].replace(b"\n", b" ") + b"\n" * match[0].count(b"\n")


def read_line(line: str) -> Iterator[Rule | str]:
    text = line.strip(", \t")
    if text in ("", "[", "]"):
        return
    if not text.startswith("["):
        text = f"[{text.removesuffix(']') if text.count(']') > text.count('[') else text}"
    try:
        found = json.loads(text if text.endswith("]") else text + "]")
    except (ValueError, RecursionError):
        yield "not JSON"
        return
    for entry in found:
        if not isinstance(entry, dict):
            yield "not an object"
        elif "name" in entry or "list" not in entry:
            yield row(entry)


def _start(header: Header) -> bytes:
    fields = {**header._asdict(), "facts": dict(header.facts)}
    about = {name: value for name, value in fields.items() if value and name != "serial"}
    return f"[\n{json.dumps({'list': about}, ensure_ascii=False)},\n".encode()


FORMAT = Format(
    name="json",
    title="JSON",
    use="programs of your own",
    suffix="json",
    comment="",
    read=read,
    lines={kind: f"{line},".encode() for kind, line in _LINES.items()},
    start=_start,
    end=b"]\n",
    comma=b",",
)
