"""List text and rules: one module per format, reader and writer in it, and this registry of all of them."""

from __future__ import annotations

from sinkhole.errors import FormatError
from sinkhole.formats import adblock, domains, hosts, pihole, rpz
from sinkhole.formats.format import Format

#: Every format by its name, in the order in which an undecided text is tried.
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in (domains, hosts, adblock, pihole, rpz)}

#: How much of a text decides its format, in octets.
_HEAD = 65536


def format_named(name: str) -> Format:
    """The format called ``name``; :class:`~sinkhole.errors.FormatError` says which there are."""
    try:
        return FORMATS[name]
    except KeyError:
        raise FormatError(f"no format {name!r}; there are: {', '.join(FORMATS)}") from None


def detect(text: bytes) -> Format:
    """The format whose reader makes most of the head of ``text``: rules less skipped lines."""
    head = text[:_HEAD]
    if len(text) > _HEAD:
        head = head[: head.rfind(b"\n") + 1]
    read = {name: format.read(head) for name, format in FORMATS.items()}
    used = {name: len(parsed) - sum(parsed.skipped.values()) for name, parsed in read.items() if len(parsed)}
    if not used:
        raise FormatError("no line is a rule in any known format")
    return FORMATS[max(used, key=used.__getitem__)]
