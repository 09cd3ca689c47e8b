"""Fit a list into a format: the statements that block what the list blocks, and never more.

Where a format has no word for a rule, the narrower statement is taken and the loss is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sinkhole.compiler.blocklist import REDUNDANT, Code, Resolved
from sinkhole.formats.format import Format
from sinkhole.rules import Kind, Rank, Scope

_TREE = Code.EXACT | Code.BELOW


@dataclass
class Loss:
    """What a format could not say, in rules: ``narrowed`` to the name alone, ``dropped`` altogether, ``too_long`` for
    the format. ``hosts`` are the known host names that stand in for narrowed and dropped trees."""

    narrowed: int = 0
    dropped: int = 0
    too_long: int = 0
    hosts: int = 0

    def __bool__(self) -> bool:
        return bool(self.narrowed or self.dropped or self.too_long)

    def data(self) -> dict[str, int]:
        return asdict(self)

    def notes(self) -> list[str]:
        """Sentences for people, none when nothing was lost."""
        told = {
            f"{self.narrowed} rules also cover all names below theirs, which this format cannot say": self.narrowed,
            f"{self.dropped} rules cover only the names below theirs, which this format cannot say": self.dropped,
            f"{self.too_long} rules have a name that is too long for this format": self.too_long,
            f"{self.hosts} known host names are listed in their place": self.hosts and (self.narrowed or self.dropped),
        }
        return [sentence for sentence, count in told.items() if count]


class Fitted(NamedTuple):
    """Statements, sorted by key, and what they leave out."""

    statements: list[tuple[bytes, Kind]]
    loss: Loss


def fit(resolved: Resolved, hosts: Collection[bytes], format: Format) -> Fitted:
    """The statements of ``format`` for a list; ``hosts`` are keys of known host names."""
    loss = Loss()
    if format.nested:
        statements = list(_nested(resolved))
    elif any(kind.allow for kind in format.lines):
        statements = list(_with_exceptions(resolved, frozenset(format.lines), loss))
    else:
        statements = list(_blocks_only(resolved, hosts, frozenset(format.lines), loss))
    fitting = [(key, kind) for key, kind in statements if len(key) <= format.max_name + 1]
    loss.too_long = len(statements) - len(fitting)
    fitting.sort()
    return Fitted(fitting, loss)


def _nested(resolved: Resolved) -> Iterator[tuple[bytes, Kind]]:
    """Statements for DNS wildcards (RFC 4592), where the closest encloser decides.

    Below a stated wildcard each further name needs both its own record and its wildcard, and so does every name between
    the two: an empty non-terminal would hide the wildcard above it in some resolvers and not in others.
    """
    above: list[bytes] = []
    between: set[bytes] = set()
    for key, code in resolved.entries():
        while above and not key.startswith(above[-1]):
            above.pop()
        if above:
            inherited = Scope.TREE if code & Code.INHERITED else Scope(0)
            for name in _between(above[-1], key):
                if name not in between:
                    between.add(name)
                    yield from _both(name, inherited)
            yield from _both(key, Scope(code & _TREE))
        else:
            yield from ((key, Kind(scope)) for scope in (Scope.EXACT, Scope.SUBDOMAINS) if code & scope)
        if above or code & Code.BELOW:
            above.append(key)


def _both(key: bytes, blocked: Scope) -> Iterator[tuple[bytes, Kind]]:
    for scope in (Scope.EXACT, Scope.SUBDOMAINS):
        yield key, Kind(scope, allow=not blocked & scope)


def _between(upper: bytes, lower: bytes) -> Iterator[bytes]:
    """The names strictly between two keys, one of which is above the other."""
    end = lower.find(b".", len(upper)) + 1
    while end < len(lower):
        yield lower[:end]
        end = lower.find(b".", end) + 1


def _with_exceptions(resolved: Resolved, kinds: frozenset[Kind], loss: Loss) -> Iterator[tuple[bytes, Kind]]:
    """Statements where an exception beats every block: each turn from block to allow and back takes a higher kind."""
    above: list[tuple[bytes, int]] = []
    for key, code in resolved.entries():
        while above and not key.startswith(above[-1][0]):
            above.pop()
        level = above[-1][1] + 1 if above else 0
        inherited = _TREE if code & Code.INHERITED else 0
        turned = Scope((code & _TREE) ^ inherited)
        stated = [(turned, level)] if turned != Scope.SUBDOMAINS else [(Scope.TREE, level), (Scope.EXACT, level + 1)]
        wanted = [(key, Kind(scope, bool(turn % 2), Rank(min(turn // 2, 2)))) for scope, turn in stated]
        usable = [statement for statement in wanted if statement[1] in kinds]
        loss.dropped += usable != wanted
        yield from usable
        if turned & Scope.SUBDOMAINS:
            above.append((key, level))


def _blocks_only(
    resolved: Resolved, hosts: Collection[bytes], kinds: frozenset[Kind], loss: Loss
) -> Iterator[tuple[bytes, Kind]]:
    """Statements without exceptions: a tree with a hole in it shrinks to the names that are known to be blocked."""
    exact, tree = Kind(Scope.EXACT), Kind(Scope.TREE)
    holed = _holed(resolved) if tree in kinds else ()
    covered = b""
    known = sorted(host for host in set(hosts) if _blocked(resolved, host) and _code(resolved, host) is None)
    for key, code in _merge(resolved, known):
        if covered and key.startswith(covered):
            continue
        if tree in kinds and code & _TREE == _TREE and key not in holed:
            covered = key
            yield key, tree
            continue
        told = bool(code & Code.EXACT)
        if code & Code.BELOW and code not in REDUNDANT:
            loss.narrowed += told
            loss.dropped += not told
        if told:
            yield key, exact
            loss.hosts += code == _HOST


_HOST = Code.EXACT | 8


def _merge(resolved: Resolved, known: Iterable[bytes]) -> Iterable[tuple[bytes, int]]:
    """Keys with their codes, and the known hosts among them, in order."""
    entries = list(zip(resolved.keys, resolved.codes, strict=True))
    extra = [(host, _HOST) for host in known]
    return sorted(entries + extra) if extra else entries


def _holed(resolved: Resolved) -> set[bytes]:
    """Keys of trees with something below them that is not blocked."""
    holes = set()
    for key, code in resolved.entries():
        if code & Code.INHERITED and code & _TREE != _TREE:
            end = key.find(b".") + 1
            while end < len(key):
                holes.add(key[:end])
                end = key.find(b".", end) + 1
    return holes


def _code(resolved: Resolved, key: bytes) -> int | None:
    at = bisect_left(resolved.keys, key)
    return resolved.codes[at] if at < len(resolved.keys) and resolved.keys[at] == key else None


def _blocked(resolved: Resolved, key: bytes) -> bool:
    """Whether the list blocks the name of ``key``: its nearest entry decides."""
    name, bit = key, Code.EXACT
    while name:
        if (code := _code(resolved, name)) is not None:
            return bool(code & bit)
        name, bit = name[: name.rfind(b".", 0, -1) + 1], Code.BELOW
    return False
