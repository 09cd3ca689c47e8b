"""nftables: the addresses that a list blocks, as sets in a table of its own, which drops what is sent to them.

Source: https://www.netfilter.org/projects/nftables/manpage.html. Loaded with ``nft -f FILE``, which replaces the
table in one step. Names cannot be stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format, Header
from sinkhole.formats.networks import address, one
from sinkhole.formats.reading import read_lines
from sinkhole.rules import Special

_START = """\
add table inet sinkhole
delete table inet sinkhole
add table inet sinkhole
""" + "".join(
    f"add set inet sinkhole {action}{version} {{ type ipv{version}_addr; flags interval; auto-merge; }}\n"
    for action in ("allowed", "blocked")
    for version in (4, 6)
)
_END = "".join(
    f"add chain inet sinkhole {hook} {{ type filter hook {hook} priority filter; }}\n"
    + "".join(
        f"add rule inet sinkhole {hook} {family} daddr @{action}{version} {verdict}\n"
        for action, verdict in (("allowed", "accept"), ("blocked", "drop"))
        for family, version in (("ip", 4), ("ip6", 6))
    )
    for hook in ("forward", "output")
)
_FRAME = frozenset((_START + _END).split("\n"))
_ELEMENT = re.compile(r"add element \w+ \S+ (?P<set>\S+) \{(?P<networks>[^{}]*)\}")


def read_line(line: str) -> Iterator[Special | str]:
    if line.startswith("#") or line in _FRAME:
        return
    if match := _ELEMENT.fullmatch(line):
        allow = match["set"].startswith("allow")
        yield from (address(text.strip(), allow) for text in match["networks"].split(","))
    else:
        yield "not an element of a set"


_LINES = {
    (allow, version): f"add element inet sinkhole {action}{version} {{ %s }}"
    for version in (4, 6)
    for allow, action in ((False, "blocked"), (True, "allowed"))
}


def _start(header: Header) -> bytes:
    return _START.encode()


FORMAT = Format(
    name="nftables",
    title="nftables rules",
    use="nft -f FILE",
    suffix="nft",
    comment="#",
    read=partial(read_lines, bulks=(), line=read_line),
    lines={},
    start=_start,
    end=_END.encode(),
    special=partial(one, _LINES),
    networks=_LINES,
)
