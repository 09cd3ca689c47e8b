"""ipset: the addresses that a list blocks, as the two sets ``sinkhole4`` and ``sinkhole6``, for ``ipset restore``.

Source: https://ipset.netfilter.org/ipset.man.html (``hash:net``). What to do with packets to them is for iptables to
say. Names cannot be stated. An exception (``nomatch``) holds unless a smaller network in it is blocked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format, Header
from sinkhole.formats.networks import address, one
from sinkhole.formats.reading import read_lines
from sinkhole.rules import Special

_ENTRY = re.compile(r"add \S+ (?P<network>\S+)(?P<allow> nomatch)?(?: -exist)?")
_SET = re.compile(r"(?:create|flush) \S+.*|COMMIT")


def read_line(line: str) -> Iterator[Special | str]:
    if match := _ENTRY.fullmatch(line):
        yield address(match["network"], bool(match["allow"]))
    elif not line.startswith("#") and not _SET.fullmatch(line):
        yield "not an entry of a set"


_LINES = {
    (allow, version): f"add sinkhole{version} %s{' nomatch' * allow} -exist"
    for version in (4, 6)
    for allow in (False, True)
}


def _start(header: Header) -> bytes:
    sets = (("sinkhole4", "inet"), ("sinkhole6", "inet6"))
    return "".join(f"create {name} hash:net family {family} -exist\nflush {name}\n" for name, family in sets).encode()


FORMAT = Format(
    name="ipset",
    title="ipset sets",
    use="ipset restore < FILE",
    suffix="ipset",
    comment="#",
    read=partial(read_lines, bulks=(), line=read_line),
    lines={},
    closest=True,
    start=_start,
    special=partial(one, _LINES),
    networks=_LINES,
)
