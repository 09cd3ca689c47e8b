"""Fit a list into a format: the statements that block what the list blocks, and never more.

Where a format has no word for a rule, the narrower statement is taken and the loss is counted.

What a name comes to decides what is said about it, as long as no tree has a hole in it: a table turns the codes of a
million names into statements in one step. Trees with holes are worked out name by name, each form of a tree once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from sinkhole.compiler.blocklist import REDUNDANT, Code, Resolved
from sinkhole.exports.holding import gather, unsaid, without
from sinkhole.exports.loss import Loss
from sinkhole.exports.special import QUERY, Ready, between_keys, weigh
from sinkhole.exports.statements import Names, Statements, by_key, spliced
from sinkhole.formats import networks
from sinkhole.formats.format import Format
from sinkhole.rules import Kind, Rank, Scope, Special

_TREE = Code.EXACT | Code.BELOW
_HOST = Code.EXACT | 8  #: the code of a known host name, which is no name of the list
_SMALL = 8  #: the most names of a tree whose form is remembered

#: What states a list: its keys and codes in order to (key, kind) in order, counting what it cannot say.
Way = Callable[[Resolved, Loss], Iterator[tuple[bytes, Kind]]]


class Fitted(NamedTuple):
    """Statements, what they leave out, and the lines of special rules."""

    statements: Statements
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
    """:func:`fit_ready` for a list that goes into one format."""
    return fit_ready(Ready(resolved, masks or {}), hosts, format, special)


def fit_ready(ready: Ready, hosts: Collection[bytes], format: Format, special: Iterable[Special] = ()) -> Fitted:
    """The statements of ``format`` for a list with ``special`` rules; ``hosts`` are keys of known host names."""
    loss = Loss()
    lines: list[str] = []
    resolved, weighed = ready.resolved, None
    if format.networks:
        told, rest, lost = networks.stated(special, format.networks, format.closest)
        if not any(rule.kind.allow and rule.on not in QUERY for rule in rest):  # which might be stronger
            lines, special = told, rest
            loss.special += lost
    if special := tuple(special):
        resolved, more, weighed = weigh(ready, special, format, loss)
        lines += more
    if weighed is not None:
        statements = weighed
    elif not format.lines:
        statements = Statements(Names([]))
        loss.unfit = sum(resolved.codes.count(code) for code in range(256) if code & _TREE and code not in REDUNDANT)
    else:
        names = ready.names if resolved is ready.resolved else Names(resolved.keys)
        statements = _fit(resolved, names, hosts, format, loss)
    return Fitted(statements, loss, lines)


def _fit(resolved: Resolved, names: Names, hosts: Collection[bytes], format: Format, loss: Loss) -> Statements:
    kinds = frozenset(format.lines)
    if unheld := names.unheld(format):
        resolved = _without(resolved, unheld, format, loss)
        names = Names(resolved.keys)
    if format.nested:
        return _state(resolved, names, _nested, loss, between=True)
    if format.closest:
        return _state(resolved, names, partial(_closest, kinds=kinds), loss)
    if any(kind.allow for kind in kinds):
        way = partial(_with_exceptions, kinds=kinds) if Kind(Scope.EXACT) in kinds else _trees
        return _state(resolved, names, way, loss)
    if known := sorted(host for host in set(hosts) if _blocked(resolved, host) and _code(resolved, host) is None):
        places = [bisect_left(resolved.keys, host) for host in known]
        names = names.including(known, places)
        resolved = Resolved(list(names.keys), spliced(bytearray(resolved.codes), places, bytes([_HOST]) * len(known)))
    trees = any(kind.scope & Scope.SUBDOMAINS for kind in kinds)
    return _state(resolved, names, partial(_blocks_only, kinds=kinds), loss, alone=not trees)


def _without(resolved: Resolved, unheld: Collection[bytes], format: Format, loss: Loss) -> Resolved:
    """A list without names that ``format`` cannot hold. Where nothing depends on them, they are just taken out."""
    keys, codes = resolved.keys, resolved.codes
    gone = frozenset(unheld)
    places = [bisect_left(keys, key) for key in sorted(gone)]
    deciding = [at for at in places if codes[at] not in REDUNDANT]
    for at in deciding:
        below = keys[at + 1 : bisect_left(keys, keys[at] + b"\xff", at)] if codes[at] & Code.BELOW else ()
        if codes[at] & Code.INHERITED or not gone.issuperset(below):
            pairs = zip(keys, codes, strict=True)
            entries = gather((key, code & 1, code >> 1 & 1, code >> 2 & 1) for key, code in pairs)
            return without(entries, unheld, format, loss).decided
    loss.add(unsaid(len(deciding), format))
    left = [slice(at + 1, to) for at, to in pairwise((-1, *places, len(keys)))]
    return Resolved([key for part in left for key in keys[part]], bytearray(b"".join([codes[part] for part in left])))


def _state(
    resolved: Resolved, names: Names, way: Way, loss: Loss, *, between: bool = False, alone: bool = False
) -> Statements:
    """The statements of ``way``. ``between``: it also states names that no rule names. ``alone``: what it says about a
    name follows from the code of that name."""
    keys, codes = resolved.keys, resolved.codes
    made = Statements(names)

    def form(keys: Sequence[bytes], codes: bytes) -> tuple[bytes, Loss]:
        """What is stated about the names of a whole tree, as numbers."""
        lost = Loss()
        kinds = by_key(way(Resolved(list(keys), bytearray(codes)), lost))
        return bytes(made.number(kinds.get(key, ())) for key in keys), lost

    table, flat = bytearray(256), bytearray(codes)
    single = {code: form([b"a."], bytes([code])) for code in set(codes) if alone or code < Code.INHERITED}
    for code, (number, _) in single.items():
        table[code] = number[0]
    below = any(kind.scope & Scope.SUBDOMAINS and not kind.allow for kind in made.said[table[Code.BELOW]])
    made.shapes = bytearray(codes.translate(table))
    forms: dict[tuple[bytes, bytes], tuple[bytes, Loss]] = {}
    met: Counter[tuple[bytes, bytes]] = Counter()
    apart: list[range] = []
    for first, end in () if alone else _holed_trees(keys, codes, lost=not below):
        tree = keys[first:end]
        parents = _parents(tree, between) if len(tree) <= _SMALL else None
        if parents is None:
            apart.append(range(first, end))
        else:
            known = bytes(codes[first:end]), parents
            if known not in forms:
                forms[known] = form(tree, known[0])
            made.shapes[first:end] = forms[known][0]
            met[known] += 1
        flat[first:end] = bytes(end - first)
    for code, (_, lost) in single.items():
        loss.add(lost, flat.count(code))
    for known, times in met.items():
        loss.add(forms[known][1], times)
    if apart:
        _state_apart(resolved, apart, way, made, loss)
    return made


def _state_apart(resolved: Resolved, apart: Iterable[range], way: Way, made: Statements, loss: Loss) -> None:
    """Work the trees at ``apart`` out name by name."""
    places = [at for tree in apart for at in tree]
    keys = [resolved.keys[at] for at in places]
    kinds = by_key(way(Resolved(keys, bytearray(resolved.codes[at] for at in places)), loss))
    for key, at in zip(keys, places, strict=True):
        made.shapes[at] = made.number(kinds.pop(key, ()))
    if kinds:
        extra = sorted(kinds)
        places = [bisect_left(resolved.keys, key) for key in extra]
        made.shapes = spliced(made.shapes, places, bytes(made.number(kinds[key]) for key in extra))
        made.names = made.names.including(extra, places)


#: A name with all or some below it blocked, and something below it that is not, or a known host.
_HOLED = re.compile(rb"[\x02\x03]\x07*+[\x04-\x06\x09]")
#: The same, or a name with only what is below it blocked, and more of that named.
_HOLED_OR_BELOW = re.compile(_HOLED.pattern + rb"|\x02\x07")


def _holed_trees(keys: Sequence[bytes], codes: bytes | bytearray, *, lost: bool) -> Iterator[tuple[int, int]]:
    """Where trees with holes begin and end. ``lost``: with those too of which the format cannot say what is below."""
    search = (_HOLED_OR_BELOW if lost else _HOLED).search
    end = 0
    while match := search(codes, end):
        first = match.start()
        end = match.end()
        if end < len(keys) and keys[end].startswith(keys[first]):
            last, near = keys[first] + b"\xff", min(end + _SMALL, len(keys))
            if (end := bisect_left(keys, last, end, near)) == near:
                end = bisect_left(keys, last, end)
        yield first, end


def _parents(tree: Sequence[bytes], between: bool) -> bytes | None:
    """For each key of a tree, the number of the nearest one above it; None if ``between`` and a name stands between."""
    if len(tree) == 2:  # as most are
        return None if between and tree[1].find(b".", len(tree[0])) != len(tree[1]) - 1 else b"\0\0"
    parents = bytearray(1)
    above = [0]
    for at in range(1, len(tree)):
        key = tree[at]
        while not key.startswith(tree[above[-1]]):
            above.pop()
        if between and key.find(b".", len(tree[above[-1]])) != len(key) - 1:
            return None
        parents.append(above[-1])
        above.append(at)
    return bytes(parents)


#: The records of a name and of what is below it, by what of them is blocked.
_BOTH = [
    tuple(Kind(scope, allow=not blocked & scope) for scope in (Scope.EXACT, Scope.SUBDOMAINS)) for blocked in range(4)
]


def _nested(resolved: Resolved, loss: Loss) -> Iterator[tuple[bytes, Kind]]:
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
            inherited = _BOTH[_TREE if code & Code.INHERITED else 0]
            for name in between_keys(above[-1], key):
                if name not in between:
                    between.add(name)
                    for kind in inherited:
                        yield name, kind
            for kind in _BOTH[code & _TREE]:
                yield key, kind
        else:
            yield from ((key, kind) for kind in _BOTH[code & _TREE] if not kind.allow)
        if above or code & Code.BELOW:
            above.append(key)


def _closest(resolved: Resolved, loss: Loss, kinds: frozenset[Kind]) -> Iterator[tuple[bytes, Kind]]:
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


#: How many turns there are ranks for.
_TURNS = 2 * len(Rank)


def _with_exceptions(resolved: Resolved, loss: Loss, kinds: frozenset[Kind]) -> Iterator[tuple[bytes, Kind]]:
    """Statements where an exception beats every block: each turn from block to allow and back takes a higher kind."""
    above: list[tuple[bytes, int]] = []
    for key, code in resolved.entries():
        while above and not key.startswith(above[-1][0]):
            above.pop()
        level = above[-1][1] + 1 if above else 0
        inherited = _TREE if code & Code.INHERITED else 0
        turned = Scope((code & _TREE) ^ inherited)
        stated = [(turned, level)] if turned != Scope.SUBDOMAINS else [(Scope.TREE, level), (Scope.EXACT, level + 1)]
        wanted = [Kind(scope, bool(turn % 2), Rank(turn // 2)) for scope, turn in stated if turn < _TURNS]
        usable = [(key, kind) for kind in wanted if kind in kinds]
        loss.dropped += len(usable) != len(stated)
        yield from usable
        if turned & Scope.SUBDOMAINS:
            above.append((key, level))


def _trees(resolved: Resolved, loss: Loss) -> Iterator[tuple[bytes, Kind]]:
    """Statements of whole trees, where an exception beats every block: below one nothing can be blocked again."""
    tree, allow = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
    above: list[tuple[bytes, Kind]] = []
    for key, code in resolved.entries():
        while above and not key.startswith(above[-1][0]):
            above.pop()
        whole = code & _TREE == _TREE
        kind = tree if not above and whole else allow if above and above[-1][1] is tree and not whole else None
        loss.dropped += kind is not tree and code & _TREE != 0 and not (above and above[-1][1] is tree and whole)
        if kind:
            yield key, kind
            above.append((key, kind))


def _blocks_only(resolved: Resolved, loss: Loss, kinds: frozenset[Kind]) -> Iterator[tuple[bytes, Kind]]:
    """Statements without exceptions: a tree with a hole in it shrinks to the names that are known to be blocked."""
    exact = Kind(Scope.EXACT)
    holed = _holed(resolved) if any(kind.scope & Scope.SUBDOMAINS for kind in kinds) else ()
    covered = b""
    for key, code in zip(resolved.keys, resolved.codes, strict=True):
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
        if told and exact not in kinds:
            loss.dropped += code != _HOST
        elif told:
            yield key, exact
            loss.hosts += code == _HOST


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
