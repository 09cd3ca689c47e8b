"""What another policy would change: which names for which groups, and who would have noticed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dnslib import QTYPE

from sinkhole.names import BadName, key, parse_name, unkey
from sinkhole.policy.policy import Policy, address

#: How many names are told of one kind of change; the rest is counted.
SAMPLES = 20
#: A label that stands for any name below a tree; no list has it.
_ANY = b"*."
#: The client of a line that names none.
_NOBODY = "0.0.0.0"
#: Different queries of a log that are told apart.
MAX_QUERIES = 1_000_000


class Change(NamedTuple):
    """Names whose action changes for a group: how many, and the first of them; ``*.`` stands for all below a name."""

    group: str
    before: str
    after: str
    total: int
    names: tuple[str, ...]


class Asked(NamedTuple):
    """A query of a log that would be answered otherwise, and how often it was asked."""

    client: str
    name: str
    rtype: str
    before: str
    after: str
    times: int


class Replay(NamedTuple):
    """``total`` queries, ``bad`` lines that are none (each with its number), and what changes, the most asked first."""

    total: int
    bad: tuple[str, ...]
    changes: tuple[Asked, ...]


def changes(before: Policy, after: Policy) -> Iterator[Change]:
    """Every change for clients of one group and of none (``all``), over all names that either bundle lists."""
    named = {**before.bundle.policy["groups"], **after.bundle.policy["groups"]}
    for group in ("all", *sorted(named)):
        profiles = [policy.profile_of(frozenset({"all", group})) for policy in (before, after)]
        found: dict[tuple[str, str], tuple[int, list[str]]] = {}
        for listed in _keys(before, after):
            was, will = (
                policy.decide(profile, listed, QTYPE.A).action.value
                for policy, profile in zip((before, after), profiles, strict=True)
            )
            if was != will:
                count, names = found.get((was, will), (0, []))
                if len(names) < SAMPLES:
                    names.append(_shown(listed))
                found[was, will] = count + 1, names
        for (was, will), (count, names) in sorted(found.items()):
            yield Change(group, was, will, count, tuple(names))


def replay(before: Policy, after: Policy, lines: Iterable[str]) -> Replay:
    """Ask both policies every query of a log: ``client name type`` a line, the type A when it is left out; or a line
    of the query log. Who is not named there, because clients are not recorded, is a client of no group."""
    asked: Counter[tuple[str, str, str]] = Counter()
    bad = []
    total = 0
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        try:
            client, name, rtype = _recorded(text) if text.startswith("{") else _stated(text)
            query = str(address(client.partition("/")[0])), parse_name(name, single=True), rtype.upper()
            QTYPE.reverse[query[2]]
        except (BadName, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            bad.append(f"line {number}: {text[:100]!r} is not `client name type`, nor a line of the query log")
            continue
        total += 1
        if query in asked or len(asked) < MAX_QUERIES:
            asked[query] += 1
    found = []
    for (client, name, rtype), count in asked.most_common():
        was, will = (
            policy.decide(policy.profile(client), key(name.encode()), QTYPE.reverse[rtype]).action.value
            for policy in (before, after)
        )
        if was != will:
            found.append(Asked(client, name, rtype, was, will, count))
    return Replay(total, tuple(bad), tuple(found))


def _stated(line: str) -> tuple[str, str, str]:
    client, name, *rtype = line.split()
    if rtype[1:]:
        raise ValueError(line)
    return client, name, rtype[0] if rtype else "A"


def _recorded(line: str) -> tuple[str, str, str]:
    said = json.loads(line)
    return said.get("client", _NOBODY), said["name"], said["type"]


def _keys(before: Policy, after: Policy) -> Iterator[bytes]:
    """Every key of either bundle once, and for each one that stands for all names below it."""
    for number, bundle in enumerate((before.bundle, after.bundle)):
        for listed, _ in bundle.items():  # noqa: PERF102 - no dict
            if number and before.bundle.entry(listed):
                continue
            yield from (listed, listed + _ANY)


def _shown(listed: bytes) -> str:
    return unkey(listed).decode("ascii", "replace")
