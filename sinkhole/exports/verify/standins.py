"""Software that does not run here, read from its manual: for each a small matcher that takes a file as that software is
documented to take it, and tells of a name whether it would be blocked.

None of it is shared with the readers of :mod:`sinkhole.formats`, so that a mistake in one of the two is seen. It is no
proof as a real engine is one, and whoever shows results says which is which.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import re2

from sinkhole.exports.verify.asking import A, Question
from sinkhole.exports.verify.meaning import CLIENT

#: The text of a file to what tells of a query whether it is blocked. Raises ValueError for a line that the software
#: does not take.
Load = Callable[[str], Callable[[Question], bool]]


class StandIn(NamedTuple):
    """A reader in place of software, the part of its manual that it follows, and how it takes each format."""

    name: str
    manual: str
    loads: Mapping[str, Load]


def _lines(text: str, *signs: str) -> Iterator[str]:
    """The lines of a text without comments that begin with one of ``signs``, and without blank ones."""
    return (line.strip() for line in text.split("\n") if line.strip() and not line.startswith(signs))


def _suffixes(name: str) -> Iterator[str]:
    """A name and all above it."""
    while name:
        yield name
        name = name.partition(".")[2]


def _plain(text: str) -> Callable[[Question], bool]:
    """One name a line, each for itself."""
    known = set(_lines(text, "#"))
    _names(known)
    return lambda question: question.name.lower() in known


def _names(names: set[str]) -> None:
    if odd := [name for name in names if not all(0 < len(label) < 64 for label in name.split(".")) or " " in name]:
        raise ValueError(f"no name: {odd[0]}")


def _hosts(text: str) -> Callable[[Question], bool]:
    """hosts(5): an address and names, by family; what is not there is looked up elsewhere."""
    known: dict[int, set[str]] = {4: set(), 6: set()}
    for line in _lines(text, "#"):
        address, *names = line.split()
        known[ip_address(address).version].update(names)
    return lambda question: question.name.lower() in known[4 if question.type == A else 6]


def _pihole(text: str) -> Callable[[Question], bool]:
    """A subscribed list: ``name`` is that name, ``||name^`` it and all below, ``@@||name^`` an exception that wins."""
    exact: set[str] = set()
    trees: dict[bool, set[str]] = {False: set(), True: set()}
    for line in _lines(text, "#"):
        rule = line.removeprefix("@@")
        if rule.startswith("||") and rule.endswith("^"):
            trees[rule != line].add(rule[2:-1])
        elif set(line) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_."):
            exact.add(line)
        else:
            raise ValueError(f"gravity takes no {line}")

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        if not trees[True].isdisjoint(_suffixes(name)):
            return False
        return name in exact or not trees[False].isdisjoint(_suffixes(name))

    return blocked


_TYPES = {"A": 1, "AAAA": 28, "HTTPS": 65}


def _regex(text: str) -> Callable[[Question], bool]:
    """Expressions as FTL takes them: found anywhere, in any case, with ``;querytype=``, ``;invert`` and ``;reply=``."""
    plain, others = [], []
    for line in _lines(text, "#"):
        pattern, *options = line.lower().split(";")
        re2.compile(pattern)
        values = dict(option.partition("=")[::2] for option in options)
        types, inverted = values.get("querytype", "").upper(), "invert" in values
        if types or inverted:
            others.append((re2.compile(pattern), types, inverted))
        else:
            plain.append(pattern)
    any_plain = re2.compile("|".join(f"(?:{pattern})" for pattern in plain)) if plain else None

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        return (any_plain is not None and any_plain.search(name) is not None) or any(
            (pattern.search(name) is None) is inverted and _typed(types, question.type)
            for pattern, types, inverted in others
        )

    return blocked


def _typed(types: str, rtype: int) -> bool:
    if not types:
        return True
    wanted = {_TYPES.get(name) for name in types.removeprefix("!").split(",")}
    return (rtype in wanted) is not types.startswith("!")


def _adguard(text: str) -> Callable[[Question], bool]:
    """AdGuard's DNS engine: exceptions beat blocks, ``$important`` beats both, an important exception that, and an
    answer (``$dnsrewrite``) comes before all of them unless an exception takes it away."""
    rules = [_AdGuard(line) for line in _lines(text, "!", "#")]
    trees: dict[str, list[_AdGuard]] = {}
    for rule in rules:
        trees.setdefault(rule.name, []).append(rule)

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        near = [rule for part in _suffixes(name) for rule in trees.get(part, ())]
        met = [rule for rule in (*near, *trees.get("", ())) if rule.meets(name, question.type)]
        taken = {rule.rewrite for rule in met if rule.allow and rule.rewrite is not None}
        answers = [rule for rule in met if not rule.allow and rule.rewrite is not None]
        if any(not taken.intersection(("", rule.rewrite)) for rule in answers):
            return True
        told = [(rule.important, rule.allow) for rule in met if rule.rewrite is None]
        return bool(told) and not max(told)[1]

    return blocked


class _AdGuard:
    """A line of a filter."""

    def __init__(self, line: str) -> None:
        self.allow = line.startswith("@@")
        line = line.removeprefix("@@")
        self.name, self.exact, self.pattern = "", False, None
        regex = line.startswith("/")
        end = line.rindex("/") + 1 if regex else line.index("^") + 1
        body, options = line[:end], line[end:].removeprefix("$")
        if regex:
            self.pattern = re2.compile(body[1:-1])
        else:
            self.exact = not body.startswith("||")
            self.name = body.lstrip("|").removesuffix("^")
        values = dict(option.replace("\\,", ",").partition("=")[::2] for option in _unescaped(options))
        self.important = "important" in values
        self.rewrite = values.get("dnsrewrite") if "dnsrewrite" in values else None
        self.types = values.get("dnstype", "").split("|") if "dnstype" in values else []
        self.clients = values.get("client", "").split("|") if "client" in values else []
        self.tags = values.get("ctag", "").split("|") if "ctag" in values else []
        self.spared = values.get("denyallow", "").split("|") if "denyallow" in values else []
        known = {"important", "dnsrewrite", "dnstype", "client", "ctag", "denyallow", ""}
        if odd := values.keys() - known:
            raise ValueError(f"no modifier of DNS filtering: {sorted(odd)[0]}")

    def meets(self, name: str, rtype: int) -> bool:
        if self.pattern is not None:
            found = self.pattern.search(name) is not None
        else:
            found = name == self.name or (not self.exact and name.endswith(f".{self.name}"))
        return (
            found
            and _holds(self.types, lambda entry: _TYPES.get(entry.upper()) == rtype)
            and _holds(self.clients, _is_client)
            and _holds(self.tags, lambda entry: False)
            and not any(name == spared or name.endswith(f".{spared}") for spared in self.spared)
        )


def _unescaped(options: str) -> list[str]:
    """The options of a line, divided at commas that no backslash stands before."""
    return options.replace("\\,", "\0").split(",") if "\\," not in options else [
        option.replace("\0", ",") for option in options.replace("\\,", "\0").split(",")
    ]  # fmt: skip


def _holds(entries: list[str], fits: Callable[[str], bool]) -> bool:
    unwanted = [entry[1:] for entry in entries if entry.startswith("~")]
    wanted = [entry for entry in entries if not entry.startswith("~")]
    return not any(map(fits, unwanted)) and (not wanted or any(map(fits, wanted)))


def _is_client(entry: str) -> bool:
    try:
        return CLIENT in ip_network(entry.strip("'\""), strict=False)
    except ValueError:
        return False


def _blocky(text: str) -> Callable[[Question], bool]:
    """A name is that name, ``*.name`` it and all below, ``/…/`` an expression."""
    exact, trees, patterns = set(), set(), []
    for line in _lines(text, "#"):
        if line.startswith("/") and line.endswith("/"):
            patterns.append(re2.compile(line[1:-1]))
        elif line.startswith("*."):
            trees.add(line[2:])
        elif "*" in line:
            raise ValueError(f"an unsupported wildcard: {line}")
        else:
            exact.add(line)
    _names(exact | trees)

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        return (
            name in exact
            or not trees.isdisjoint(_suffixes(name))
            or any(pattern.search(name) is not None for pattern in patterns)
        )

    return blocked


def _routedns(text: str) -> Callable[[Question], bool]:
    """``name`` is that name, ``.name`` it and all below, ``*.name`` all below and not it."""
    exact, trees, below = set(), set(), set()
    for line in _lines(text, "#"):
        if line.startswith("*."):
            below.add(line[2:])
        elif line.startswith("."):
            trees.add(line[1:])
        else:
            exact.add(line)
    _names(exact | trees | below)

    def blocked(question: Question) -> bool:
        own, *above = _suffixes(question.name.lower())
        return own in exact or own in trees or not (trees | below).isdisjoint(above)

    return blocked


def _technitium(text: str) -> Callable[[Question], bool]:
    """``name``, ``||name^`` and a hosts line each block a name and all below it; ``@@||name^`` allows that, and wins.
    A line that is no name is passed over."""
    zones: dict[bool, set[str]] = {False: set(), True: set()}
    for line in _lines(text, "#", "!"):
        line = line.lstrip(" \t*.")
        if line.startswith(("||", "@@||")):
            name, _, options = line.lstrip("@|").partition("^")
            if not options:
                zones[line.startswith("@@")].add(name)
        else:
            name = line.split()[1 if " " in line else 0].strip(".")
            if "|" not in name and "^" not in name:
                zones[False].add(name)

    def blocked(question: Question) -> bool:
        names = set(_suffixes(question.name.lower()))
        return zones[True].isdisjoint(names) and not zones[False].isdisjoint(names)

    return blocked


def _dnscrypt(text: str) -> Callable[[Question], bool]:
    """``=name``, ``*.name`` and ``name`` for trees, ``*part*``, ``part*``, and globs for the rest."""
    exact, trees, prefixes, parts, globs = set(), set(), [], [], []
    for line in _lines(text, "#"):
        inner = line[1:-1]
        if "?" in line or "[" in line or "*" in inner:
            globs.append(line)
        elif line.startswith("*") and line.endswith("*"):
            parts.append(inner)
        elif line.endswith("*"):
            prefixes.append(line[:-1])
        elif line.startswith("="):
            exact.add(line[1:])
        else:
            trees.add(line.removeprefix("*").removeprefix("."))
    _names(exact | trees)

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        return (
            name in exact
            or not trees.isdisjoint(_suffixes(name))
            or name.startswith(tuple(prefixes))
            or any(part in name for part in parts)
            or any(fnmatch.fnmatchcase(name, glob) for glob in globs)
        )

    return blocked


def _v2fly(text: str) -> Callable[[Question], bool]:
    """``domain:`` (or nothing) for trees, ``full:``, ``keyword:`` and ``regexp:``."""
    full, trees, words, patterns = set(), set(), [], []
    for line in _lines(text, "#"):
        kind, colon, value = line.partition(" ")[0].partition(":")
        match kind if colon else "domain":
            case "domain":
                trees.add(value or kind)
            case "full":
                full.add(value)
            case "keyword":
                words.append(value)
            case "regexp":
                patterns.append(re2.compile(value))
            case _:
                raise ValueError(f"no kind of rule: {kind}")

    def blocked(question: Question) -> bool:
        name = question.name.lower()
        return (
            name in full
            or not trees.isdisjoint(_suffixes(name))
            or any(word in name for word in words)
            or any(pattern.search(name) is not None for pattern in patterns)
        )

    return blocked


def _csv(text: str) -> Callable[[Question], bool]:
    body = "\n".join(_lines(text, "#"))
    return _rows(csv.DictReader(io.StringIO(body)))


def _json(text: str) -> Callable[[Question], bool]:
    return _rows(row for row in json.loads(text) if "name" in row)


def _rows(rows: Iterator[Mapping[str, str]] | csv.DictReader[str]) -> Callable[[Question], bool]:
    """Name, scope, action and rank: of what covers a name the highest rank decides, and in one rank an exception."""
    exact: dict[str, list[tuple[int, bool]]] = {}
    below: dict[str, list[tuple[int, bool]]] = {}
    ranks = ("feed", "important", "own")
    for row in rows:
        told = ranks.index(row.get("rank") or "feed"), row.get("action") == "allow"
        scope = row.get("scope") or "exact"
        if scope != "subdomains":
            exact.setdefault(row["name"], []).append(told)
        if scope != "exact":
            below.setdefault(row["name"], []).append(told)

    def blocked(question: Question) -> bool:
        own, *above = _suffixes(question.name.lower())
        told = [*exact.get(own, ()), *(found for name in above for found in below.get(name, ()))]
        return bool(told) and not max(told)[1]

    return blocked


STANDINS = {
    standin.name: standin
    for standin in (
        StandIn("any", "one name a line, each for itself", {"domains": _plain}),
        StandIn("CoreDNS", "coredns.io/plugins/hosts", {"coredns": _hosts, "hosts": _hosts, "hosts-dual": _hosts}),
        StandIn(
            "Pi-hole",
            "docs.pi-hole.net: database/domain-database, regex",
            {"pihole": _pihole, "pihole-regex": _regex, "hosts": _hosts},
        ),
        StandIn(
            "AdGuard Home", "adguard-dns.io/kb/general/dns-filtering-syntax", {"adblock": _adguard, "hosts": _hosts}
        ),
        StandIn(
            "blocky",
            "0xerr0r.github.io/blocky: configuration, list sources",
            {"wildcard": _blocky, "domains": _plain, "hosts": _hosts},
        ),
        StandIn("RouteDNS", "github.com/folbricht/routedns: doc/configuration.md, query blocklists",
                {"routedns": _routedns, "hosts": _hosts}),
        StandIn("Technitium", "technitium.com/dns: settings, blocking, list formats", {"technitium": _technitium}),
        StandIn("dnscrypt-proxy", "dnscrypt-proxy/example-blocked-names.txt", {"dnscrypt": _dnscrypt}),
        StandIn("v2fly", "github.com/v2fly/domain-list-community: README, structure of data", {"v2fly": _v2fly}),
        StandIn("rows", "docs/formats.md, rows", {"csv": _csv, "json": _json}),
    )
}  # fmt: skip
