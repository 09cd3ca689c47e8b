"""The meaning of rules, worked out the slow way: what the fast ways are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from hypothesis import strategies as st

from sinkhole.rules import Kind, Rank, Rule, Scope

#: Every name of up to three labels a and b below z.test.
NAMES = ["z.test", *(".".join((*labels, "z.test")) for depth in (1, 2, 3) for labels in product("ab", repeat=depth))]

kinds = st.builds(
    Kind, st.sampled_from((Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE)), st.booleans(), st.sampled_from(Rank)
)
rules = st.lists(st.builds(Rule, st.sampled_from(NAMES), kinds), max_size=8)

Meaning = Callable[[Sequence[Rule], str], bool]


def covers(rule: Rule, name: str) -> bool:
    if name == rule.name:
        return Scope.EXACT in rule.kind.scope
    return Scope.SUBDOMAINS in rule.kind.scope and name.endswith("." + rule.name)


def strongest(stated: Sequence[Rule], name: str) -> bool:
    """Whether a name is blocked when the rule of the highest rank decides, and at one rank an allow."""
    found = [(rule.kind.rank, rule.kind.allow) for rule in stated if covers(rule, name)]
    return bool(found) and not max(found)[1]


def closest_encloser(stated: Sequence[Rule], name: str) -> bool:
    """Whether a policy zone blocks a name by RFC 4592, as in BIND and Unbound: the closest encloser's wildcard."""
    owners = _owners(stated)
    existing = {above for owner in owners for above in _upwards(owner)}
    if name in existing:
        return owners.get(name, False)
    encloser = next((above for above in _upwards(name) if above in existing), "")
    return owners.get(f"*.{encloser}", False)


def any_wildcard(stated: Sequence[Rule], name: str) -> bool:
    """Whether a policy zone blocks a name where the longest wildcard applies, as in PowerDNS and Knot Resolver."""
    owners = _owners(stated)
    candidates = [name, *(f"*.{above}" for above in _upwards(name) if above != name)]
    return next((owners[owner] for owner in candidates if owner in owners), False)


def most_specific(stated: Sequence[Rule], name: str) -> bool:
    """Whether a name is blocked when the nearest rule decides, and at one name a scope of one side over a tree."""
    found = [
        (len(rule.name), rule.kind.scope != Scope.TREE, not rule.kind.allow) for rule in stated if covers(rule, name)
    ]
    return bool(found) and max(found)[2]


def _owners(stated: Sequence[Rule]) -> dict[str, bool]:
    owners = {}
    for rule in stated:
        for scope, owner in ((Scope.EXACT, rule.name), (Scope.SUBDOMAINS, f"*.{rule.name}")):
            if scope in rule.kind.scope:
                owners[owner] = not rule.kind.allow
    return owners


def _upwards(name: str) -> Iterable[str]:
    while name:
        yield name
        name = name.partition(".")[2]


#: What the consumer of each format does with the rules that it reads.
MEANING: dict[str, tuple[Meaning, ...]] = {
    "domains": (strongest,),
    "hosts": (strongest,),
    "hosts-dual": (strongest,),
    "hosts-windows": (strongest,),
    "wildcard": (strongest,),
    "adblock": (strongest,),
    "pihole": (strongest,),
    "pihole-regex": (strongest,),
    "rpz": (closest_encloser, any_wildcard),
    "rpz-nodata": (closest_encloser, any_wildcard),
    "rpz-drop": (closest_encloser, any_wildcard),
    "rpz-tcp-only": (closest_encloser, any_wildcard),
    "dnsmasq": (most_specific,),
    "dnsmasq-address": (most_specific,),
    "dnsmasq-server": (most_specific,),
    "unbound": (most_specific,),
    "unbound-null": (most_specific,),
    "knot": (any_wildcard,),
    "powerdns": (most_specific,),
    "dnsdist": (strongest,),
    "coredns": (strongest,),
    "squid": (strongest,),
    "dnscrypt": (strongest,),
    "routedns": (strongest,),
    "technitium": (strongest,),
    "v2fly": (strongest,),
    "pac": (most_specific,),
    "csv": (strongest,),
    "json": (strongest,),
    "nftables": (strongest,),
    "ipset": (strongest,),
}


def blocked(meaning: Meaning, stated: Sequence[Rule]) -> set[str]:
    return {name for name in NAMES if meaning(stated, name)}
