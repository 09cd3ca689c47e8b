"""Protected names in exports: signals such as Firefox's canary, which have one right answer (they do not exist).

A format that answers blocked names with an address would give the wrong one, 0.0.0.0 for the canary turns DNS over
HTTPS on, so they and all below them are let through there, whatever a list says; a resolver answers them itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from sinkhole.compiler.blocklist import Code, Resolved
from sinkhole.exports.special import Ready
from sinkhole.rules import Kind, Rank, Scope

#: Formats whose blocked names do not exist, or have no data, or of which nobody knows. In Unbound a name alone has the
#: address 0.0.0.0, whatever the zones around it answer.
DENYING = frozenset(("rpz", "rpz-nodata", "knot", "dnsmasq", "dnsmasq-server", "powerdns", "dnsdist", "json", "csv"))
_ALLOW = Kind(Scope.TREE, allow=True, rank=Rank.OWN).mask


def spared(ready: Ready, protected: Collection[bytes]) -> tuple[Ready, int]:
    """``ready`` without the names of ``protected``, which are keys, and all below them; and how many of those it had
    something for."""
    touched = [name for name in sorted(protected) if _touches(ready.resolved, name)]
    if not touched:
        return ready, 0
    keys, codes, masks = list(ready.resolved.keys), bytearray(ready.resolved.codes), dict(ready.masks)
    for name in touched:
        inherited = _below(Resolved(keys, codes), name)
        first, last = _range(keys, name)
        codes[first:last] = bytes(last - first)
        if first == last or keys[first] != name:
            keys.insert(first, name)
            codes.insert(first, 0)
        codes[first] = Code.INHERITED * inherited
        if masks:
            masks |= {key: 0 for key in masks if key.startswith(name)} | {name: _ALLOW}
    return Ready(Resolved(keys, codes), masks), len(touched)


def _touches(resolved: Resolved, name: bytes) -> bool:
    first, last = _range(resolved.keys, name)
    return _below(resolved, name) or any(resolved.codes[first:last])


def _range(keys: Sequence[bytes], name: bytes) -> tuple[int, int]:
    """Where the keys of a name and of all below it are."""
    return bisect_left(keys, name), bisect_left(keys, name + b"\xff")


def _below(resolved: Resolved, name: bytes) -> bool:
    """Whether a list blocks what is below the nearest entry above ``name``."""
    while name := name[: name.rfind(b".", 0, -1) + 1]:
        at = bisect_left(resolved.keys, name)
        if at < len(resolved.keys) and resolved.keys[at] == name:
            return bool(resolved.codes[at] & Code.BELOW)
    return False
