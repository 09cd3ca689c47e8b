"""Hosts files: an address and the names it is given; a sink address blocks each name exactly (hosts(5)).

Several names may share a line. The local names that every hosts file carries are not rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Rule, Scope

EXACT = Kind(Scope.EXACT)
SINKS = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "0", "::0"})
LOCAL = frozenset(
    ["local", "broadcasthost", "loopback"]
    + [f"localhost{n}{domain}" for n in ("", "4", "6") for domain in ("", f".localdomain{n}")]
    + [
        f"ip6-{name}"
        for name in ("localhost", "loopback", "localnet", "mcastprefix", "allnodes", "allrouters", "allhosts")
    ]
)
_ADDRESS = re.compile(r"\[?[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*(?:%\w+)?\]?")
# A name in LOCAL that looks like any other must not be taken in bulk.
_SINK = rb"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]++(?!localhost[46]?\.localdomain[46]?\b)"
_BULKS = (bulk(_SINK, rb"\.?", EXACT),)


def read_line(line: str) -> Iterator[Rule | str]:
    address, *names = line.partition("#")[0].split() or [""]
    if not address:
        return
    names = [name for name in names if name.lower() not in LOCAL and name != address]
    if address in SINKS:
        yield from (rule(name, EXACT) for name in names)
    elif not _ADDRESS.fullmatch(address):
        yield "no address"
    elif names:
        yield "not a sink address"


FORMAT = Format(
    name="hosts",
    title="hosts file",
    use="append it to /etc/hosts, or name it where software takes hosts files",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={EXACT: b"0.0.0.0 %s"},
    many=True,
)
#: With the null address of IPv6 too: twice the size, and no family is left to the upstream.
DUAL = FORMAT._replace(
    name="hosts-dual", title="hosts file (IPv4 and IPv6)", lines={EXACT: b"0.0.0.0 %s\n:: %s"}, sniffed=False
)
#: Windows looks a name up by reading the file from the top: fewer lines, and so less waiting.
WINDOWS = FORMAT._replace(
    name="hosts-windows",
    title="hosts file (nine names a line)",
    use="Windows: append it to C:\\Windows\\System32\\drivers\\etc\\hosts",
    per_line=9,
    sniffed=False,
)
