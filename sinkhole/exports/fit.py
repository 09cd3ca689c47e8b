"""Fit a list into a format: the statements that block what the list blocks, and never more.

Where a format has no word for a rule, the narrower statement is taken and the loss is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sinkhole.compiler.blocklist import REDUNDANT, Code, Resolved
from sinkhole.exports.loss import Loss
from sinkhole.exports.special import between_keys, weigh
from sinkhole.formats.format import Format
from sinkhole.rules import Kind, Rank, Scope, Special

_TREE = Code.EXACT | Code.BELOW


class Fitted(NamedTuple):
    """Statements, sorted by key, what they leave out, and the lines of special rules."""

    statements: list[tuple[bytes, Kind]] | _Plain
    loss: Loss
    special: Sequence[str] = ()

    @property
    def rules(self) -> int:
        """How many rules are stated."""
        return len(self.statements) + len(self.special)


def fit(
    resolved: Resolved,
    hosts: Collection[bytes],
    format: Format,
    special: Iterable[Special] = (),
    masks: Mapping[bytes, int] | None = None,
) -> Fitted:
    """The statements of ``format`` for a list; ``hosts`` are keys of known host names.

    With ``special`` rules, ``masks`` are those of the keys (:class:`~sinkhole.compiler.blocklist.Blocklist`), less what
    an ancestor states already.
    """
    loss = Loss()
    lines: list[str] = []
    weighed = None
    if special := tuple(special):
        resolved, lines, weighed = weigh(resolved, masks or {}, special, format, loss)
    if weighed is None and (plain := _plain(resolved, hosts, format, loss)):
        return Fitted(plain, loss, lines)
    if weighed is not None:
        statements = weighed
    elif not format.lines:
        statements = []
        loss.unfit = sum(1 for _, code in resolved.entries() if code & _TREE)
    elif format.nested:
        statements = list(_nested(resolved))
    elif format.closest:
        statements = list(_closest(resolved, frozenset(format.lines), loss))
    elif any(kind.allow for kind in format.lines):
        statements = list(_with_exceptions(resolved, frozenset(format.lines), loss))
    else:
        statements = list(_blocks_only(resolved, hosts, frozenset(format.lines), loss))
    fitting = [statement for statement in statements if len(statement[0]) <= format.max_name + 1]
    loss.too_long = len(statements) - len(fitting)
    if format.unfit:
        unfit = format.unfit.search
        loss.unfit = len(fitting)
        fitting = [statement for statement in fitting if not unfit(statement[0])]
        loss.unfit -= len(fitting)
    fitting.sort()
    return Fitted(fitting, loss, lines)


@dataclass(frozen=True)
class _Plain:
    """The statements of a list without any hole, made one by one as they are asked for: a million take no memory.

    ``said`` are the kinds of statement for each code.
    """

    resolved: Resolved
    said: Mapping[int, tuple[Kind, ...]]

    def __len__(self) -> int:
        return sum(self.resolved.codes.count(code) * len(kinds) for code, kinds in self.said.items())

    def __iter__(self) -> Iterator[tuple[bytes, Kind]]:
        said = [self.said.get(code, ()) for code in range(256)]
        for key, code in zip(self.resolved.keys, self.resolved.codes, strict=True):
            for kind in said[code]:
                yield key, kind


def _plain(resolved: Resolved, hosts: Collection[bytes], format: Format, loss: Loss) -> _Plain | None:
    """The statements of a list where every name can be judged alone: most lists, and the large ones. None for any
    other, and where some name does not fit the format."""
    count = resolved.codes.count
    if len(resolved.codes) > sum(map(count, (0, Code.EXACT, _TREE, _TREE | Code.INHERITED))):
        return None
    exact, below, tree = (Kind(scope) for scope in (Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE))
    said: dict[int, tuple[Kind, ...]]
    if tree in format.lines and (exact in format.lines or not count(Code.EXACT)):
        said = {int(Code.EXACT): (exact,), int(_TREE): (tree,)}
    elif format.nested:
        said = {int(Code.EXACT): (exact,), int(_TREE): (exact, below)}
    elif exact in format.lines and not hosts:
        said = dict.fromkeys((int(Code.EXACT), int(_TREE), int(_TREE | Code.INHERITED)), (exact,))
    else:
        return None
    if max(map(len, resolved.keys), default=0) > format.max_name + 1:
        return None
    if format.unfit and any(map(format.unfit.search, resolved.keys)):
        return None
    if tree not in format.lines and not format.nested:
        loss.narrowed += count(_TREE)
    return _Plain(resolved, said)


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
            for name in between_keys(above[-1], key):
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


def _closest(resolved: Resolved, kinds: frozenset[Kind], loss: Loss) -> Iterator[tuple[bytes, Kind]]:
    """Statements where the most specific one decides, and a name without any takes what the tree above it has.

    A key is compared with what is stated above it, not with what the list has there: what was lost above comes back
    below, for the names that the list's sources name.
    """
    known: dict[tuple[bool, bool, bool], tuple[tuple[Kind, ...], bool, bool]] = {}
    above: list[tuple[bytes, bool]] = [(b"", False)]
    for key, code in zip(resolved.keys, resolved.codes, strict=True):
        while not key.startswith(above[-1][0]):
            above.pop()
        inherited = above[-1][1]
        wanted = bool(code & Code.EXACT), bool(code & Code.BELOW), inherited
        if wanted not in known:
            known[wanted] = _sides(*wanted, kinds)
        stated, below, lost = known[wanted]
        loss.dropped += lost
        yield from ((key, kind) for kind in stated)
        if below is not inherited:
            above.append((key, below))


def _sides(exact: bool, below: bool, inherited: bool, kinds: frozenset[Kind]) -> tuple[tuple[Kind, ...], bool, bool]:
    """(kinds that make a name and what is below it blocked as wanted, what is below in the end, whether it is less)."""
    for wanted in ((exact, below), (exact, False), (False, False)):
        name, rest = (
            Kind(scope, not blocked) for scope, blocked in zip((Scope.EXACT, Scope.SUBDOMAINS), wanted, strict=True)
        )
        tree_name, tree_rest = (Kind(Scope.TREE, not blocked) for blocked in wanted)
        ways: tuple[tuple[Kind, ...], ...] = {
            (False, False): ((),),
            (True, True): ((tree_rest,),),
            (True, False): ((name,), (tree_name, rest)),
            (False, True): ((rest,), (tree_rest, name)),
        }[wanted[0] is not inherited, wanted[1] is not inherited]
        for way in ways:
            if kinds.issuperset(way):
                return way, wanted[1], wanted != (exact, below)
    raise AssertionError("a format that cannot say an exception")


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
    exact = Kind(Scope.EXACT)
    holed = _holed(resolved) if any(kind.scope & Scope.SUBDOMAINS for kind in kinds) else ()
    covered = b""
    known = sorted(host for host in set(hosts) if _blocked(resolved, host) and _code(resolved, host) is None)
    for key, code in _merge(resolved, known):
        if covered and key.startswith(covered):
            continue
        if code & Code.BELOW and (kind := Kind(Scope(code & _TREE))) in kinds and key not in holed:
            covered = key
            yield key, kind
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
