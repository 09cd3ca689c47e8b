"""Lists of networks for packet filters: rules about addresses, of which names cannot be stated.

Both formats have one line for each network; what they share is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from itertools import groupby

from sinkhole.rules import Kind, On, Scope, Special

_KINDS = {allow: Kind(Scope.EXACT, allow) for allow in (False, True)}
#: What follows the network in a rule that is nothing but one.
_PLAIN = {allow: Special(0, On.ADDRESS, "", kind)[3:] for allow, kind in _KINDS.items()}
_ALL = {"0.0.0.0/0", "::/0"}

#: The line for a network, by whether it is an exception, and by the version of its addresses.
Lines = Mapping[tuple[bool, int], str]


def stated(rules: Iterable[Special], lines: Lines, closest: bool = True) -> tuple[list[str], list[Special], int]:
    """The lines of the rules that are a network alone, each once, in order; the rules that are not; and how many blocks
    inside an exception have no line, because the filter does not let the ``closest`` network decide."""
    blocked: list[str] = []
    allowed: list[str] = []
    rest = []
    address, block, allow = On.ADDRESS, _PLAIN[False], _PLAIN[True]
    for rule in rules:
        if rule[1] is not address or rule[2] in _ALL:
            rest.append(rule)
        elif rule[3:] == block:
            blocked.append(rule[2])
        elif rule[3:] == allow:
            allowed.append(rule[2])
        else:
            rest.append(rule)
    inside = set() if closest else _inside(blocked, allowed)
    blocked = [network for network in blocked if network not in inside]
    told = []
    for allows, found in ((False, blocked), (True, allowed)):
        old, new = lines[allows, 4], lines[allows, 6]
        told += [(new if ":" in network else old) % network for network, _ in groupby(sorted(found))]
    return told, rest, len(inside)


def _inside(blocked: Iterable[str], allowed: Iterable[str]) -> set[str]:
    """Those of ``blocked`` that an exception has whole."""
    known = frozenset(allowed)
    return {
        text
        for text in (blocked if known else ())
        if (network := ip_network(text))
        and any(str(network.supernet(new_prefix=size)) in known for size in range(network.prefixlen))
    }


def one(lines: Lines, rule: Special) -> str | None:
    """The line of a rule that is a network, whatever it is answered with; None for any other."""
    return next(iter(stated([rule._replace(answer="")], lines)[0]), None)


def address(text: str, allow: bool = False) -> Special | str:
    """The rule about a network or an address, or the reason why there is none."""
    try:
        found = ip_network(text)
    except ValueError:
        return "not a network"
    return Special(0, On.ADDRESS, str(found), _KINDS[allow]) if found.prefixlen else "every address"
