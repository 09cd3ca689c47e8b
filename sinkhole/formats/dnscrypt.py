"""dnscrypt-proxy's lists of blocked names: ``name`` and ``*.name`` are trees, ``=name`` that name alone, the rest
patterns.

Source: https://github.com/DNSCrypt/dnscrypt-proxy/blob/master/dnscrypt-proxy/example-blocked-names.txt. ``*part*`` is
found anywhere in a name, ``part*`` at its beginning, and a line with ``?``, ``[`` or a star inside is a pattern for
the whole name as Go's ``filepath.Match`` has them. A rule with a schedule (``name @work``) is skipped. Trees are
written ``*.name``, which every reader of such lists takes for a tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.parts import part, pattern, stated
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Rule, Scope, Special

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
_BULKS = (bulk(rb"(?:\*?\.)?", rb"", TREE), bulk(rb"=", rb"", EXACT))
_COMMENT = re.compile(r"(?:^|\s)#.*")
_GLOB = re.compile(r"\*|\?|\[(?P<class>\^?(?:\\.|[^\]\\])+)\]|\\(?P<escaped>.)|(?P<plain>[^\[\\])")


def read_line(line: str) -> Iterator[Rule | Special | str]:
    text = _COMMENT.sub("", line).strip().lower()
    if not text:
        return
    text, at, schedule = text.partition("@")
    text = text.strip()
    if at:
        yield f"the schedule {schedule.strip()[:20]}"
    elif "?" in text or "[" in text or "*" in text[1:-1]:
        yield _glob(text)
    elif text.endswith("*"):
        inner = text.strip("*")
        yield pattern(("" if text.startswith("*") else "^") + re.escape(inner)) if inner else "every name"
    elif text.startswith("="):
        yield rule(text[1:], EXACT)
    else:
        yield rule(text.removeprefix("*").removeprefix("."), TREE)


def _glob(text: str) -> Special | str:
    """A pattern for a whole name as RE2 has it."""
    parts = []
    at = 0
    while at < len(text):
        if not (match := _GLOB.match(text, at)):
            return "not a pattern"
        at = match.end()
        parts.append({"*": ".*", "?": "."}.get(match[0]) or _part(match))
    return pattern(f"^{''.join(parts)}$")


def _part(match: re.Match[str]) -> str:
    return f"[{match['class']}]" if match["class"] else re.escape(match["escaped"] or match["plain"])


def special(found: Special) -> str | None:
    literal = part(stated(found) or "")
    return literal and ("" if literal[0] else "*") + literal[1] + "*"


FORMAT = Format(
    name="dnscrypt",
    title="dnscrypt-proxy blocked names",
    use="dnscrypt-proxy: blocked_names_file = 'FILE' in [blocked_names]",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"*.%s", EXACT: b"=%s"},
    special=special,
)
