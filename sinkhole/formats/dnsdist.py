"""A script for dnsdist that answers NXDOMAIN for blocked names, before any backend is asked.

Source: https://dnsdist.org/reference/ (SuffixMatchNode, DNSNameSet, selectors, actions). Lines have a level: even ones
block, odd ones are exceptions, and the highest that has a name decides. All of them come to one rule at the end, so
rules of the configuration behind ``dofile`` see what is not blocked. Only scripts of this form are read.
"""

from __future__ import annotations

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import bulk
from sinkhole.formats.scripts import reader
from sinkhole.rules import Kind, Rank, Scope

_START = "local rules = [[\n"
_END = """\
]]
local trees, names, blocked = {}, {}, nil
for level, scope, name in rules:gmatch("(%d) (%l+) (%S+)") do
  if not trees[level] then trees[level], names[level] = newSuffixMatchNode(), newDNSNameSet() end
  if scope == "tree" then trees[level]:add(newDNSName(name)) else names[level]:add(newDNSName(name)) end
end
for _, level in ipairs({"0", "1", "2", "3", "4", "5"}) do
  if trees[level] then
    local found = OrRule({SuffixMatchNodeRule(trees[level], true), QNameSetRule(names[level])})
    if level % 2 == 1 then
      blocked = blocked and AndRule({blocked, NotRule(found)})
    else
      blocked = blocked and OrRule({blocked, found}) or found
    end
  end
end
if blocked then addAction(blocked, RCodeAction(DNSRCode.NXDOMAIN)) end
"""
_KINDS = {
    Kind(scope, allow, rank): f"{2 * rank + allow} {scope.label} ".encode()
    for rank in Rank
    for allow in (False, True)
    for scope in (Scope.TREE, Scope.EXACT)
}


def _start(header: Header) -> bytes:
    return _START.encode()


FORMAT = Format(
    name="dnsdist",
    title="dnsdist script",
    use="dnsdist: dofile('FILE')",
    suffix="lua",
    comment="--",
    read=reader(_START + _END, "--", [bulk(words, b"", kind) for kind, words in _KINDS.items()], nested=False),
    lines={kind: words + b"%s" for kind, words in _KINDS.items()},
    start=_start,
    end=_END.encode(),
)
