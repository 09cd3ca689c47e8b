"""List text and rules: one module per format, reader and writer in it, and this registry of all of them."""

from __future__ import annotations

import re

from sinkhole.errors import FormatError
from sinkhole.formats import (
    adblock,
    coredns,
    csv,
    dnscrypt,
    dnsdist,
    dnsmasq,
    domains,
    hosts,
    ipset,
    json,
    knot,
    nftables,
    pac,
    pihole,
    powerdns,
    routedns,
    rpz,
    squid,
    technitium,
    unbound,
    v2fly,
    wildcard,
)
from sinkhole.formats.format import Format
from sinkhole.rules import SAMPLES, Parsed, Skipped

#: Every format by its name. Of two that make the same of an undecided text, the first is taken: where they differ, that
#: is the one that blocks less.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        domains.FORMAT,
        hosts.FORMAT,
        hosts.DUAL,
        hosts.WINDOWS,
        wildcard.FORMAT,
        adblock.FORMAT,
        pihole.FORMAT,
        pihole.REGEX,
        rpz.FORMAT,
        *rpz.ACTIONS,
        dnsmasq.FORMAT,
        dnsmasq.ADDRESS,
        dnsmasq.SERVER,
        unbound.FORMAT,
        unbound.NULL,
        knot.FORMAT,
        powerdns.FORMAT,
        dnsdist.FORMAT,
        coredns.FORMAT,
        squid.FORMAT,
        dnscrypt.FORMAT,
        routedns.FORMAT,
        technitium.FORMAT,
        v2fly.FORMAT,
        pac.FORMAT,
        csv.FORMAT,
        json.FORMAT,
        nftables.FORMAT,
        ipset.FORMAT,
    )
}

#: How the lines of other formats look that may stand in a file of any format, and what reads them. Only what no two
#: formats mean differently is here: a bare name, a hosts line with an address that is no sink, or a pattern is not.
_MIXED = (
    (re.compile(rb"[ \t]*(?:[0-9]+\.[0-9.]+|[0-9a-f]*:[0-9a-f:]+)[ \t]", re.I), hosts.FORMAT),
    (re.compile(rb"[ \t]*(?:@@)?\|\|?[^/*]*$"), adblock.FORMAT),
    (re.compile(rb"[ \t]*\*\."), wildcard.FORMAT),
    (re.compile(rb"[ \t]*(?:address|server|local)[ \t]*=[ \t]*/"), dnsmasq.FORMAT),
    (re.compile(rb"[ \t]*(?:local-(?:zone|data):|server:[ \t]*$)"), unbound.FORMAT),
)

#: How much of a text decides its format, in octets, and what it must be worth to that format (None: anything at all).
#: Else more of it does, as for a text with a long preface.
_HEADS = ((2048, 50), (16384, None), (262144, None))


def format_named(name: str) -> Format:
    """The format called ``name``; :class:`~sinkhole.errors.FormatError` says which there are."""
    try:
        return FORMATS[name]
    except KeyError:
        raise FormatError(f"no format {name!r}; there are: {', '.join(FORMATS)}") from None


def detect(text: bytes) -> Format:
    """The format whose reader makes most of the head of ``text``: rules less skipped lines, where a rule for a name is
    worth two of any other kind, because nearly every text is a pattern to somebody."""
    for size, enough in _HEADS:
        head = text[:size]
        if len(text) > size:
            head = head[: head.rfind(b"\n") + 1]
        readers = {format.read: format for format in reversed(FORMATS.values()) if format.sniffed}
        worth = {}
        for read, format in readers.items():
            if len(parsed := read(head)):
                worth[format.name] = 2 * len(parsed) - len(parsed.special) - 2 * sum(parsed.skipped.values())
        if worth and (enough is None or max(worth.values()) >= enough):
            return FORMATS[max((name for name in FORMATS if name in worth), key=worth.__getitem__)]
    raise FormatError("no line is a rule in any known format")


def read_mixed(text: bytes, format: Format) -> Parsed:
    """The rules of a text that is in ``format`` as far as anybody knows: a line that it has no use for, and that is
    plainly one of another format, is read as that. What nobody reads stays counted by the first reason."""
    parsed = format.read(text)
    if not parsed.unread:
        return parsed
    lines = text.split(b"\n")
    unread = {number for numbers in parsed.unread.values() for number in numbers}
    left = set(unread)
    for looks, other in _MIXED:
        numbers = [number for number in sorted(left) if looks.match(lines[number - 1])]
        if numbers and other.read is not format.read:
            found = other.read(b"\n".join(lines[number - 1] for number in numbers))
            left.difference_update(numbers)
            left.update(numbers[at - 1] for ats in found.unread.values() for at in ats)
            for kind, names in found.names.items():
                parsed.single.setdefault(kind, []).extend(names)
            parsed.special += found.special
            parsed.disabled += found.disabled
    _strike(parsed, unread - left, lines)
    return parsed


def _strike(parsed: Parsed, taken: set[int], lines: list[bytes]) -> None:
    """Count the lines ``taken`` as read after all, and show samples of what is left in the place of theirs."""
    parsed.samples = [sample for sample in parsed.samples if sample.line not in parsed.unread.get(sample.why, ())]
    for why, numbers in parsed.unread.items():
        left = [number for number in numbers if number not in taken]
        parsed.unread[why] = left
        parsed.skipped[why] -= len(numbers) - len(left)
        parsed.samples += (
            Skipped(n, lines[n - 1].decode("utf-8", "replace").strip()[:200], why) for n in left[:SAMPLES]
        )
    parsed.skipped = +parsed.skipped
    parsed.samples.sort()
