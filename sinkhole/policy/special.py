"""The special rules of a bundle: patterns, rules that hold for some record types, clients or devices only, and rules on
the addresses of an answer.

Ten thousand patterns do not cost ten thousand matches a query: RE2's filter looks for the literal parts of all of them
in one pass, and only the patterns whose parts occur are tried. Nothing here backtracks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sinkhole.names import key, unkey
from sinkhole.networks import Network, Networks
from sinkhole.rules import Kind, On, Rank, Scope, Special


class Stated(NamedTuple):
    """A special rule, the number of its list, and the source that states it."""

    rule: Special
    list: int
    source: str


def stated(records: Sequence[Mapping[str, Any]]) -> list[Stated]:
    """Special rules as the bundle keeps them."""
    return [Stated(_rule(record["rule"]), record["list"], record["source"]) for record in records]


def record(rule: Special, list_number: int, source: str) -> dict[str, Any]:
    """The inverse of :func:`stated`, for one rule."""
    return {"rule": rule, "list": list_number, "source": source}


def _rule(values: Sequence[Any]) -> Special:
    line, on, what, (scope, allow, rank), types, clients, tags, except_names, answer = values
    kind = Kind(Scope(scope), allow, Rank(rank))
    return Special(line, On(on), what, kind, tuple(types), tuple(clients), tuple(tags), tuple(except_names), answer)


class Specials:
    """Special rules ready to be matched; a rule is known by its place in ``rules``."""

    def __init__(self, rules: Sequence[Stated]) -> None:
        import re2  # most bundles have no special rules, and this is two megabytes

        self.rules = rules
        self._names: dict[bytes, list[int]] = {}
        self._patterns = re2.Filter()
        self._pattern_ids: list[int] = []
        self._inverted: list[tuple[int, Any]] = []
        self._except = {
            number: tuple(key(name.encode()) for name in entry.rule.except_names)
            for number, entry in enumerate(rules)
            if entry.rule.except_names
        }
        self._types = [_record_types(entry.rule.types) for entry in rules]
        self._clients = [(entry.rule.clients, entry.rule.tags) for entry in rules]
        for number, (rule, _, _) in enumerate(rules):
            match rule.on:
                case On.NAME:
                    self._names.setdefault(key(rule.what.encode()), []).append(number)
                case On.PATTERN:
                    self._patterns.Add(rule.what)
                    self._pattern_ids.append(number)
                case On.NOT_PATTERN:
                    self._inverted.append((number, re2.compile(rule.what)))
        if self._pattern_ids:
            self._patterns.Compile()
        self.networks = Networks(
            (ipaddress.ip_network(entry.rule.what), number)
            for number, entry in enumerate(rules)
            if entry.rule.on is On.ADDRESS
        )

    def match(self, name: bytes) -> tuple[int, ...]:
        """The rules that a name (as key) meets, whatever their conditions on type and client."""
        found = list(self._by_name(name))
        if (self._pattern_ids or self._inverted) and (text := unkey(name).decode("latin-1") if name else ""):
            if self._pattern_ids:
                found += [self._pattern_ids[at] for at in self._patterns.Match(text) or ()]
            found += [number for number, pattern in self._inverted if not pattern.search(text)]
        if self._except:
            found = [number for number in found if not name.startswith(self._except.get(number, ()))]
        return tuple(sorted(found))

    def _by_name(self, name: bytes) -> Iterator[int]:
        if not self._names:
            return
        end = name.find(b".") + 1
        while end:
            for number in self._names.get(name[:end], ()):
                scope = self.rules[number].rule.kind.scope
                if scope & (Scope.EXACT if end == len(name) else Scope.SUBDOMAINS):
                    yield number
            end = name.find(b".", end) + 1

    def of_client(self, groups: frozenset[str]) -> tuple[int, ...]:
        """The rules that meet every query of a client in ``groups`` (RPZ-CLIENT-IP)."""
        return tuple(
            number
            for number, entry in enumerate(self.rules)
            if entry.rule.on is On.CLIENT and client_group(entry.rule.what) in groups
        )

    def holds(self, number: int, qtype: int, groups: frozenset[str]) -> bool:
        """Whether the conditions of a rule fit a record type and the groups of a client."""
        wanted, unwanted = self._types[number]
        if (wanted and qtype not in wanted) or qtype in unwanted:
            return False
        return all(_fits(entries, groups) for entries in self._clients[number])

    def clients(self) -> dict[str, Network]:
        """The clients that rules speak of by address, as groups of their own: name of the group -> network."""
        texts = {
            text.removeprefix("~")
            for entry in self.rules
            for text in (*entry.rule.clients, *((entry.rule.what,) if entry.rule.on is On.CLIENT else ()))
        }
        return {client_group(text): network for text in texts if (network := _network(text))}


def binds(rule: Special, groups: frozenset[str]) -> bool:
    """Whether clients of ``groups`` are among those that a rule is for."""
    if rule.on is On.CLIENT and client_group(rule.what) not in groups:
        return False
    return _fits(rule.clients, groups) and _fits(rule.tags, groups)


def nearness(rule: Special) -> tuple[int, int]:
    """How narrow the network of a rule on addresses is: the longest prefix comes first, then the smallest address. An
    IPv4 network counts as one of IPv4-mapped addresses (RPZ 4.3)."""
    network = ipaddress.ip_network(rule.what)
    return network.prefixlen + (96 if network.version == 4 else 0), -int(network.network_address)


def client_group(text: str) -> str:
    """The group that a client condition means: a network's own one, or the configuration's group of that id."""
    return f"={text}" if _network(text) else text.lower().replace("_", "-").replace(" ", "-")


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _fits(entries: Sequence[str], groups: frozenset[str]) -> bool:
    """Whether any entry, or none with ``~`` in front, names one of ``groups``."""
    if not entries:
        return True
    if any(client_group(entry[1:]) in groups for entry in entries if entry.startswith("~")):
        return False
    wanted = [entry for entry in entries if not entry.startswith("~")]
    return not wanted or any(client_group(entry) in groups for entry in wanted)


def _record_types(entries: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    """(wanted, unwanted) record types by number."""
    wanted, unwanted = (
        frozenset(_type_number(entry.lstrip("~")) for entry in entries if entry.startswith("~") is negated)
        for negated in (False, True)
    )
    return wanted, unwanted


def _type_number(name: str) -> int:
    from dnslib import QTYPE  # here, because few bundles need it and every worker would pay for it

    number = QTYPE.reverse.get(name)
    return int(number if number is not None else name.removeprefix("TYPE"))
