"""A script for PowerDNS Recursor that answers NXDOMAIN for blocked names:
``lua-dns-script=/etc/powerdns/sinkhole.lua``.

Source: https://doc.powerdns.com/recursor/lua-scripting/hooks.html. For a zone instead (``rpzFile("sinkhole.zone")``
in ``lua-config-file``, with all its actions) take the format ``rpz``. The rules stand in one long string, because a
script may have no more than some 65,000 constants. Only scripts of this form are read.
"""

from __future__ import annotations

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import bulk
from sinkhole.formats.scripts import KINDS, reader

_START = "local rules = [[\n"
# Names are cut label by label with chopOff: a dot inside a label is escaped in their text, and must not end one.
_END = """\
]]
local exact, below = {}, {}
for action, scope, name in rules:gmatch("(%l+) (%l+) (%S+)") do
  if scope ~= "subdomains" then exact[name] = action end
  if scope ~= "exact" then below[name] = action end
end
function preresolve(dq)
  local name = newDN(dq.qname:toString())
  local action = exact[name:toStringNoDot():lower()]
  while not action and name:chopOff() do
    action = below[name:toStringNoDot():lower()]
  end
  if action ~= "block" then return false end
  dq.rcode = pdns.NXDOMAIN
  return true
end
"""
_WORDS = {kind: f"{'allow' if kind.allow else 'block'} {kind.scope.label} ".encode() for kind in KINDS}


def _start(header: Header) -> bytes:
    return _START.encode()


FORMAT = Format(
    name="powerdns",
    title="PowerDNS Recursor script",
    use="PowerDNS Recursor: lua-dns-script=FILE",
    suffix="lua",
    comment="--",
    read=reader(_START + _END, "--", [bulk(words, b"", kind) for kind, words in _WORDS.items()]),
    lines={kind: words + b"%s" for kind, words in _WORDS.items()},
    closest=True,
    start=_start,
    end=_END.encode(),
    effect="NXDOMAIN for every type of record",
)
