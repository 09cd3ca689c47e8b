"""Unbound configuration: ``local-zone`` blocks a tree, ``local-data`` with a sink address a name.

Source: https://unbound.docs.nlnetlabs.nl/en/latest/manpages/unbound.conf.html. The closest zone decides, whatever its
type. A zone of a type that uses local data, with data of its own that is no sink, redirects instead of blocking, and
is skipped. Exceptions are written as ``transparent`` zones: ``always_transparent`` ones would ignore the
``local-data`` of an exact name in them. Two flavours differ in the answer for trees: ``always_nxdomain`` and
``always_null`` (0.0.0.0, ``::``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format, Header
from sinkhole.formats.hosts import SINKS
from sinkhole.formats.nesting import nest
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.names import lineage
from sinkhole.rules import Kind, Parsed, Rule, Scope

TREE, EXACT, ALLOW_TREE = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.TREE, allow=True)
#: Zone types that block whatever data there is, those that block unless there is data, and those that let through.
_ALWAYS = frozenset({"always_nxdomain", "always_null", "always_refuse", "always_nodata", "always_deny"})
_UNLESS_DATA = frozenset({"static", "redirect", "refuse", "deny"})
_LETTING = frozenset({"transparent", "always_transparent", "typetransparent"})
_BULKS = (
    bulk(rb'local-zone:[ \t]*"', rb'\.?"[ \t]+always_(?:nxdomain|null|refuse|nodata|deny)', TREE),
    bulk(rb'local-zone:[ \t]*"', rb'\.?"[ \t]+(?:always_)?transparent', ALLOW_TREE),
    bulk(rb'local-data:[ \t]*"', rb'\.?[ \t]+(?:A[ \t]+(?:0\.0\.0\.0|127\.0\.0\.1)|AAAA[ \t]+::1?)"', EXACT),
)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ZONE = re.compile(r"""local-zone:\s*(?P<q>["']?)(?P<name>[^\s"']+)(?P=q)\s+["']?(?P<type>\w+)["']?""")
_RECORD = (
    r"""local-data:[ \t]*(?P<q>["'])(?P<name>[^\s"']+)[ \t]+(?:\d+[ \t]+)?(?:IN[ \t]+)?"""
    r"""(?P<type>\w+)[ \t]+(?P<data>.*)(?P=q)"""
)
_DATA, _DATA_BYTES = re.compile(_RECORD, re.I), re.compile(rb"^[ \t]*" + _RECORD.encode(), re.M | re.I)
_OPTION = re.compile(r"([a-z0-9-]+):\s*(.*)")


def read(text: bytes) -> Parsed:
    parsed = read_lines(text, _BULKS, partial(read_line, answered=frozenset(_answered(text))))
    nest(parsed)
    return parsed


def _answered(text: bytes) -> Iterator[str]:
    """The names that have data other than a sink address, and all above them."""
    for match in _DATA_BYTES.finditer(text if b"local-data" in text else b""):
        if match["data"].decode("latin-1") not in SINKS:
            yield from lineage(match["name"].decode("latin-1").lower().rstrip("."))


def read_line(line: str, answered: frozenset[str] = frozenset()) -> Iterator[Rule | str]:
    text = _COMMENT.sub("", line)
    if not text or text in ("server:", "view:"):
        return
    if match := _ZONE.fullmatch(text):
        yield _zone(match["name"], match["type"].lower(), answered)
    elif match := _DATA.fullmatch(text):
        sink = match["type"].upper() in ("A", "AAAA") and match["data"] in SINKS
        yield rule(match["name"], EXACT) if sink else "local data"
    elif match := _OPTION.match(text):
        yield f"the option {match[1][:20]}"
    else:
        yield "not an option"


def _zone(name: str, type: str, answered: frozenset[str]) -> Rule | str:
    if type in _ALWAYS or (type in _UNLESS_DATA and name.lower().rstrip(".") not in answered):
        return rule(name, TREE)
    if type in _UNLESS_DATA:
        return "a zone with local data"
    return rule(name, ALLOW_TREE) if type in _LETTING else f"the zone type {type[:20]}"


def _start(header: Header) -> bytes:
    return b"server:\n"


def _flavour(name: str, title: str, type: bytes, effect: str) -> Format:
    return Format(
        name=name,
        title=title,
        use='Unbound: include: "FILE"',
        suffix="conf",
        comment="#",
        read=read,
        lines={
            TREE: b'local-zone: "%s." ' + type,
            EXACT: b'local-data: "%s. A 0.0.0.0"',
            ALLOW_TREE: b'local-zone: "%s." transparent',
        },
        closest=True,
        start=_start,
        effect=effect,
    )


FORMAT = _flavour(
    "unbound",
    "Unbound configuration",
    b"always_nxdomain",
    "NXDOMAIN for every type of record; a name that is listed without those below it gets 0.0.0.0",
)
NULL = _flavour(
    "unbound-null",
    "Unbound configuration (null addresses)",
    b"always_null",
    "0.0.0.0 and ::, and no data for other types of record",
)
