"""Lists of networks for packet filters: rules about addresses, of which names cannot be stated.

Both formats have one line for each network; what they share is here.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from sinkhole.rules import Kind, On, Scope, Special

_KINDS = {allow: Kind(Scope.EXACT, allow) for allow in (False, True)}


def network(rule: Special) -> IPv4Network | IPv6Network | None:
    """The network of a rule about addresses without any condition, unless it is all of them; None for any other."""
    if rule._replace(line=0, answer="") != Special(0, On.ADDRESS, rule.what, _KINDS[rule.kind.allow]):
        return None
    found = ip_network(rule.what)
    return found if found.prefixlen else None


def address(text: str, allow: bool = False) -> Special | str:
    """The rule about a network or an address, or the reason why there is none."""
    try:
        found = ip_network(text)
    except ValueError:
        return "not a network"
    return Special(0, On.ADDRESS, str(found), _KINDS[allow]) if found.prefixlen else "every address"
