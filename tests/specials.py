"""The meaning of special rules, worked out the slow way: what exports are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from sinkhole.rules import ANY_ANSWER, Kind, On, Rank, Rule, Scope, Special
from tests.lists import NAMES, covers, kinds


class Query(NamedTuple):
    name: str
    type: str
    client: str


QUERIES = [Query(*query) for query in product(NAMES, ("A", "AAAA"), ("192.0.2.1", "192.0.2.99", "198.51.100.1"))]

_TYPES = st.sampled_from([(), (), (), ("A",), ("~A",), ("A", "AAAA"), ("MX",)])
_CLIENTS = st.sampled_from(
    [(), (), (), ("192.0.2.0/24",), ("~192.0.2.1",), ("192.0.2.99", "~192.0.2.0/25"), ("kid's",)]
)
_EXCEPT = st.sampled_from([(), (), (), ("a.z.test",), ("b.z.test", "test")])
_TAGS = st.sampled_from([(), (), (), ("device_pc",), ("~os_linux",)])
_ANSWERS = st.sampled_from(
    [
        *("", "", "", "NXDOMAIN", "NODATA", "REFUSED", "NULL", "DROP", "TCP-ONLY", "A 192.0.2.9", "CNAME garden.test"),
        *("A 192.0.2.9\nAAAA ::", "A 192.0.2.9\nA 192.0.2.10", 'TXT "a, b"', "MX 10 mail.test", "CNAME *.garden"),
    ]
)
_PATTERNS = st.sampled_from(
    [r"^a\.", r"b", r"(\.|^)b\.z\.test$", r"\.test$", "x", r"^(?:[a-z0-9_.-]+\.)?a\.a\..*$", "(?i)[A]+\\.z", r"^b\.b\."]
)
_RANKS = st.sampled_from((Rank.FEED, Rank.IMPORTANT))
_NETWORKS = st.sampled_from(["192.0.2.0/24", "192.0.2.0/25", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"])


@st.composite
def _special(draw: st.DrawFn) -> Special:
    on = draw(st.sampled_from((On.NAME, On.NAME, On.PATTERN, On.NOT_PATTERN, On.CLIENT)))
    kind = draw(kinds)._replace(rank=draw(_RANKS))
    if on is not On.NAME:
        kind = kind._replace(scope=Scope.EXACT)
    what = draw({On.NAME: st.sampled_from(NAMES), On.CLIENT: _NETWORKS}.get(on, _PATTERNS))
    answer = draw(_ANSWERS)
    if kind.allow:
        answer = draw(st.sampled_from(["", "", ANY_ANSWER, "NXDOMAIN", "A 192.0.2.9"]))
    if on is On.CLIENT:
        return Special(0, on, what, kind, answer="" if kind.allow else answer)
    rule = Special(0, on, what, kind, draw(_TYPES), draw(_CLIENTS), draw(_TAGS), draw(_EXCEPT), answer)
    if on is On.NAME and not rule.conditional and not answer:
        return rule._replace(types=("A",))  # without any, it would be no special rule
    return rule


special = _special()
specials = st.lists(special, max_size=4)

Consumer = Callable[[Sequence[Rule], Sequence[Special], Query], bool]


def applies(rule: Special, query: Query) -> bool:
    """Whether a rule on a query applies to this one; clients have no tags."""
    found = {
        On.NAME: lambda: covers(Rule(rule.what, rule.kind), query.name),
        On.PATTERN: lambda: re.search(rule.what, query.name) is not None,
        On.NOT_PATTERN: lambda: re.search(rule.what, query.name) is None,
        On.CLIENT: lambda: ip_address(query.client) in ip_network(rule.what),
    }[rule.on]()
    return bool(
        found
        and _fits(rule.types, lambda entry: entry == query.type)
        and _fits(rule.clients, lambda entry: entry[0].isdigit() and ip_address(query.client) in ip_network(entry))
        and _fits(rule.tags, lambda entry: False)
        and not any(covers(Rule(name, Kind(Scope.TREE)), query.name) for name in rule.except_names)
    )


def _fits(entries: Iterable[str], fits: Callable[[str], bool]) -> bool:
    wanted = [entry for entry in entries if not entry.startswith("~")]
    unwanted = [entry[1:] for entry in entries if entry.startswith("~")]
    return (not wanted or any(map(fits, wanted))) and not any(map(fits, unwanted))


def _left(stated: Sequence[Special], query: Query) -> list[Special]:
    """The rules that apply and whose answers no exception takes away."""
    found = [rule for rule in stated if applies(rule, query)]
    taken = {rule.answer for rule in found if rule.kind.allow and rule.answer}
    rest = []
    for rule in found:
        if not rule.kind.allow and rule.answer:
            answers = [answer for answer in rule.answer.split("\n") if answer not in taken]
            if answers and ANY_ANSWER not in taken:
                rest.append(rule)
        elif not rule.answer:
            rest.append(rule)
    return rest


def _strongest(found: Iterable[Kind]) -> bool:
    levels = [(kind.rank, kind.allow) for kind in found]
    return bool(levels) and not max(levels)[1]


def meant(stated: Sequence[Rule], special: Sequence[Special], query: Query) -> bool:
    """Whether a list blocks a query: important exceptions, important blocks, exceptions, blocks, in that order."""
    names = (rule.kind for rule in stated if covers(rule, query.name))
    return _strongest([*names, *(rule.kind for rule in _left(special, query))])


def adguard(stated: Sequence[Rule], special: Sequence[Special], query: Query) -> bool:
    """The same in AdGuard's engine, where an answer that is given ends it."""
    left = _left(special, query)
    return any(rule.answer for rule in left) or meant(stated, left, query)


def _owners(stated: Sequence[Rule], special: Sequence[Special]) -> dict[str, bool]:
    owners = {}
    rules: list[Rule | Special] = [*stated, *(rule for rule in special if rule.on is On.NAME)]
    for rule in rules:
        name = rule.name if isinstance(rule, Rule) else rule.what
        for scope, owner in ((Scope.EXACT, name), (Scope.SUBDOMAINS, f"*.{name}")):
            if scope in rule.kind.scope:
                assert owner not in owners, f"two rules for {owner}"
                owners[owner] = not rule.kind.allow
    return owners


def _upwards(name: str) -> list[str]:
    return [".".join(name.split(".")[at:]) for at in range(name.count(".") + 1)]


def _client(special: Sequence[Special], query: Query) -> bool | None:
    """What the longest prefix that has the client says."""
    found = [(ip_network(rule.what).prefixlen, not rule.kind.allow) for rule in special if rule.on is On.CLIENT]
    applying = [rule for rule in special if rule.on is On.CLIENT and applies(rule, query)]
    assert len(found) == len({rule.what for rule in special if rule.on is On.CLIENT}), "two rules for one network"
    return max((ip_network(rule.what).prefixlen, not rule.kind.allow) for rule in applying)[1] if applying else None


def closest_encloser(stated: Sequence[Rule], special: Sequence[Special], query: Query) -> bool:
    """Whether a policy zone blocks a query in BIND and Unbound: the client first, then RFC 4592."""
    if (by_client := _client(special, query)) is not None:
        return by_client
    owners = _owners(stated, special)
    existing = {above for owner in owners for above in _upwards(owner)}
    if query.name in existing:
        return owners.get(query.name, False)
    encloser = next((above for above in _upwards(query.name) if above in existing), "")
    return owners.get(f"*.{encloser}", False)


def any_wildcard(stated: Sequence[Rule], special: Sequence[Special], query: Query) -> bool:
    """The same in PowerDNS and Knot Resolver, where the longest wildcard applies."""
    if (by_client := _client(special, query)) is not None:
        return by_client
    owners = _owners(stated, special)
    candidates = [query.name, *(f"*.{above}" for above in _upwards(query.name) if above != query.name)]
    return next((owners[owner] for owner in candidates if owner in owners), False)


#: What the consumer of each format with special rules does with those that it reads.
CONSUMERS: dict[str, tuple[Consumer, ...]] = {
    "adblock": (adguard,),
    "pihole-regex": (meant,),
    "rpz": (closest_encloser, any_wildcard),
    **dict.fromkeys(("rpz-nodata", "rpz-drop", "rpz-tcp-only"), (closest_encloser, any_wildcard)),
    "knot": (any_wildcard,),
}


def blocked(meaning: Consumer, stated: Sequence[Rule], special: Sequence[Special]) -> set[Query]:
    return {query for query in QUERIES if meaning(stated, special, query)}
