"""Fit special rules into a format: state those that it has a word for, and let the others only ever narrow the rest.

A block that a format cannot state is left out. An exception that it cannot state is taken to hold for every type and
client, and what it may allow is blocked no more: its names become exceptions, and what a pattern finds is taken out
name by name, with every tree below which it may find something cut to its name. A block that meets an exception which
the format cannot set against it is left out too. Everything left out is counted.

Rules are compared by *level*: 1 and 2 are blocks and exceptions of feeds, 3 and 4 important ones, 5 and 6 a list's own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from ipaddress import ip_network
from itertools import chain
from typing import NamedTuple

from sinkhole.compiler.blocklist import Resolved
from sinkhole.exports.holding import Entries, Entry, gather, without
from sinkhole.exports.loss import Loss
from sinkhole.exports.statements import Names, Statements, spliced, stated
from sinkhole.formats.format import Format
from sinkhole.formats.patterns import below, compiled, may_end, suffix, union
from sinkhole.names import key, unkey
from sinkhole.rules import ANY_ANSWER, Kind, On, Rank, Scope, Special, applying, strongest

#: Answers that come to the same as a block, where a format leaves the answer to its user.
_SIMPLE = frozenset(("", "NULL", "NXDOMAIN", "NODATA", "REFUSED"))
_PATTERNS = (On.PATTERN, On.NOT_PATTERN)
QUERY = (On.NAME, *_PATTERNS, On.CLIENT)  # what is known before an answer is

Masks = Mapping[bytes, int]
Action = Special | bool | None  #: a rule with an answer, a block, an exception, or nothing said


class Weighed(NamedTuple):
    """What is left of a list for the ordinary statements, lines for special rules, and, where those two have to be
    worked out together, the ordinary statements too."""

    resolved: Resolved
    lines: list[str]
    statements: Statements | None


@dataclass(frozen=True)
class Ready:
    """A list ready for all formats: what follows from it alone is worked out once. ``masks`` are those of its keys
    (:class:`~sinkhole.compiler.blocklist.Blocklist`), less what an ancestor states already; only a list with special
    rules needs any."""

    resolved: Resolved
    masks: Masks = field(default_factory=dict)

    @cached_property
    def names(self) -> Names:
        return Names(self.resolved.keys)

    @cached_property
    def entries(self) -> Entries:
        return gather(_entries(self.resolved.keys, self.masks, {}))


def weigh(ready: Ready, special: Iterable[Special], format: Format, loss: Loss) -> Weighed:
    """Weigh ``special`` against the rules for names.

    Where they change nothing of what a format says about names, ``resolved`` is that of the list itself.
    """
    resolved = ready.resolved
    rules = sorted({rule._replace(line=0) for rule in special}, key=repr)
    takers = [rule for rule in rules if rule.kind.allow and rule.answer]
    states = {rule: format.special(rule) is not None for rule in takers}
    extra: dict[bytes, int] = {}
    holes = []
    for rule in rules:
        if rule in states:
            loss.special += not states[rule]
        elif rule.kind.allow:
            states[rule] = format.special(rule) is not None
            if not states[rule]:
                loss.special += 1
                if rule.on is On.NAME:
                    _merge(extra, rule)
                else:
                    holes.append(rule)
        elif any(_takes(taker, rule) for taker in takers if not states[taker]):
            loss.special += 1
        elif format.special(rule) is not None:
            states[rule] = True
        elif rule.conditional or rule.answer not in _SIMPLE or any(_takes(taker, rule) for taker in takers):
            loss.special += 1
        elif rule.on is On.NAME and format.lines:
            _merge(extra, rule)
        elif format.special(plain := rule._replace(answer="")) is not None:
            states[plain] = True
        else:
            loss.special += 1
    if format.nested:
        extra |= {key(rule.what.encode()): 0 for rule in states if rule.on is On.NAME} | extra
    changed: Entries | None = None
    if extra:
        changed = gather(_entries(_including(resolved.keys, extra), ready.masks, extra))
    kept = [rule for rule, known in states.items() if known]
    lost = _contested([rule for rule in kept if not rule.kind.allow], changed, ready, holes, format)
    loss.special += len(lost)
    kept = [rule for rule in kept if rule not in lost]
    if format.answers_first:
        kept += _taking(kept, changed, ready, loss)
    if cuts := _cuts(holes):
        changed = gather(_cut(ready.entries if changed is None else changed, cuts, loss))
    joint = kept and (format.nested or (not format.closest and any(kind.allow for kind in format.lines)))
    if joint and (unheld := (ready.names if changed is None else Names(changed.keys)).unheld(format)):
        changed = without(ready.entries if changed is None else changed, unheld, format, loss)
    statements = None
    if joint:
        entries = ready.entries if changed is None else changed
        if format.nested:
            statements, kept = _nested(entries, kept, loss)
        else:
            statements = stated(_ranked(entries, frozenset(format.lines), kept, loss))
    lines = []
    for rule in sorted(set(kept), key=repr):
        if text := format.special(rule):
            lines.append(text)
        else:
            loss.too_long += 1
    return Weighed(resolved if changed is None else changed.decided, lines, statements)


def level(kind: Kind) -> int:
    return 2 * kind.rank + kind.allow + 1


@cache
def _level(bits: int) -> int:
    found = strongest(bits)
    return 0 if found is None else level(Kind(Scope.TREE, found[1], found[0]))


def _merge(masks: dict[bytes, int], rule: Special) -> None:
    found = key(rule.what.encode())
    masks[found] = masks.get(found, 0) | rule.kind.mask


def _including(keys: Sequence[bytes], more: Iterable[bytes]) -> list[bytes]:
    """The sorted ``keys`` and those of ``more`` that are not among them; a set of a million would be large."""
    places = [(bisect_left(keys, key), key) for key in sorted(more)]
    new = [(place, key) for place, key in places if keys[place : place + 1] != [key]]
    merged: list[bytes] = spliced(list(keys), [place for place, _ in new], [key for _, key in new])
    return merged


def _entries(keys: Iterable[bytes], masks: Masks, extra: Masks) -> Iterator[Entry]:
    above: list[tuple[bytes, int]] = []
    top, reach = b"", 0
    for found in keys:
        while not found.startswith(top):
            top, reach = above.pop()
        mask = masks.get(found, 0) | extra.get(found, 0)
        rest = reach | applying(mask, False)
        yield Entry(found, _level(reach | applying(mask, True)), _level(rest), _level(reach))
        if rest != reach:
            above.append((top, reach))
            top, reach = found, rest


#: A level, what tells whether any of its rules may apply to a name, and what tells it of any name below one.
_Cut = tuple[int, Callable[[bytes], object], Callable[[bytes], bool]]


def _cuts(holes: Iterable[Special]) -> list[_Cut]:
    """What ``holes`` may allow, highest level first."""
    by_level = {now: [rule for rule in holes if rule.on in QUERY and level(rule.kind) == now] for now in (6, 4, 2)}
    return [(now, *_cutting(rules)) for now, rules in by_level.items() if rules]


def _cut(entries: Iterable[Entry], cuts: Sequence[_Cut], loss: Loss) -> Iterator[Entry]:
    """``entries`` without what may be allowed."""
    above = [(b"", 0)]
    for found, exact, rest, inherited in entries:
        while not found.startswith(above[-1][0]):
            above.pop()
        name = unkey(found)
        new_exact = next((now for now, meets, _ in cuts if now > exact and exact % 2 and meets(name)), exact)
        new_rest = next((now for now, _, below in cuts if now > rest and rest % 2 and below(name)), rest)
        loss.narrowed += new_rest != rest and (exact, rest) != (inherited, inherited)
        yield Entry(found, new_exact, new_rest, above[-1][1])
        above.append((found, new_rest))


def _cutting(rules: Sequence[Special]) -> tuple[Callable[[bytes], object], Callable[[bytes], bool]]:
    """(what tells whether any of ``rules`` may apply to a name, what tells it of any name below one)."""
    ends = [suffix(rule.what) if rule.on is On.PATTERN else "" for rule in rules]
    if not all(rule.on is On.PATTERN for rule in rules):
        return lambda name: any(_meets(rule, name.decode()) for rule in rules), lambda name: True
    search = union(rule.what for rule in rules)
    return search, lambda name: any(may_end(end, name.decode()) for end in ends)


def _meets(rule: Special, name: str) -> bool:
    """Whether a rule may apply to a query for ``name``."""
    match rule.on:
        case On.NAME:
            scope = Scope.EXACT if name == rule.what else Scope.SUBDOMAINS * name.endswith(f".{rule.what}")
            return bool(rule.kind.scope & scope)
        case On.PATTERN:
            return compiled(rule.what).search(name.encode()) is not None
        case On.NOT_PATTERN:
            return compiled(rule.what).search(name.encode()) is None
    return rule.on is On.CLIENT


def _meets_below(rule: Special, name: str) -> bool:
    """Whether a rule may apply to a query for a name below ``name``."""
    if rule.on is On.NAME:
        reaches = bool(rule.kind.scope & Scope.SUBDOMAINS)
        return rule.what.endswith(f".{name}") or (reaches and f".{name}".endswith(f".{rule.what}"))
    return rule.on in QUERY and (rule.on is not On.PATTERN or below(rule.what, name))


def _meet(one: Special, other: Special) -> bool:
    """Whether two rules may apply to one query."""
    if (one.on in QUERY) is not (other.on in QUERY):
        return False
    if other.on is On.NAME:
        one, other = other, one
    if one.on is not On.NAME:
        return True
    scope = one.kind.scope
    return bool(
        (scope & Scope.EXACT and _meets(other, one.what))
        or (scope & Scope.SUBDOMAINS and _meets_below(other, one.what))
    )


def _takes(taker: Special, rule: Special) -> bool:
    """Whether an exception may take the answer of a block away."""
    return rule.answer != "" and taker.answer in (ANY_ANSWER, *rule.answer.split("\n")) and _meet(taker, rule)


def _contested(
    blocks: list[Special], entries: Entries | None, ready: Ready, against: list[Special], format: Format
) -> set[Special]:
    """Those of ``blocks`` that may meet a stronger exception which the format does not hear before them."""
    heard = any(kind.allow for kind in format.lines) and not format.closest
    lost = {rule for rule in blocks for other in against if level(other.kind) > level(rule.kind) and _meet(other, rule)}
    doubtful = [rule for rule in blocks if rule.on in QUERY and (not heard or rule.on is On.CLIENT)]
    if not doubtful:
        return lost
    allowed = _Allowed(ready.entries if entries is None else entries, doubtful)
    return lost.union(rule for rule in doubtful if allowed.meets(rule))


def _taking(rules: Sequence[Special], entries: Entries | None, ready: Ready, loss: Loss) -> list[Special]:
    """Exceptions that take answers away, for a format where answers come first: one beside each exception that is to
    beat a rule with an answer. They do not know ranks, so an important answer that meets one is lost."""
    answers = [rule for rule in rules if rule.answer and not rule.kind.allow]
    if not answers:
        return []
    entries = ready.entries if entries is None else entries
    allows = [rule for rule in rules if rule.kind.allow and not rule.answer]
    allowed = _Allowed(entries, answers)
    if any(map(allowed.meets, answers)):
        for found, exact, rest, inherited in entries:
            sides = ((Scope.EXACT, exact), (Scope.SUBDOMAINS, rest))
            scope = sum(side for side, now in sides if now and now % 2 == 0 and now != inherited)
            if scope:
                now = max(exact, rest)
                kind = Kind(Scope.EXACT if scope == Scope.EXACT else Scope.TREE, True, Rank((now - 1) // 2))
                allows.append(Special(0, On.NAME, unkey(found).decode(), kind))
    taking = []
    for rule in allows:
        met = {level(other.kind) > level(rule.kind) for other in answers if _meet(rule, other)}
        loss.special += True in met
        taking += [rule._replace(answer=ANY_ANSWER, kind=rule.kind._replace(rank=Rank.FEED))] * (False in met)
    return taking


class _Allowed:
    """The exceptions among the entries of a list, ready to be met by many rules."""

    def __init__(self, entries: Iterable[Entry], rules: Iterable[Special]) -> None:
        pairs = (
            (entry.key, entry.exact * (1 - entry.exact % 2), entry.below * (1 - entry.below % 2)) for entry in entries
        )
        self.levels = {found: (exact, rest) for found, exact, rest in pairs if exact or rest}
        self.keys = list(self.levels)
        names = [(unkey(found), exact) for found, (exact, _) in self.levels.items() if exact]
        rules = [rule for rule in rules if rule.on in _PATTERNS]
        any_found = union(rule.what for rule in rules if rule.on is On.PATTERN)
        found = [(name, exact) for name, exact in names if any_found(name)]
        self.patterns = {rule: self._level(rule, found if rule.on is On.PATTERN else names) for rule in rules}

    def _level(self, rule: Special, names: Iterable[tuple[bytes, int]]) -> int:
        """The highest level of an exception that a rule with a pattern meets."""
        return max((exact for name, exact in names if _meets(rule, name.decode())), default=0)

    def meets(self, rule: Special) -> bool:
        """Whether a block may meet a stronger exception."""
        least = level(rule.kind)
        if rule.on is On.NAME:
            return self._meets_name(key(rule.what.encode()), rule.kind.scope, least)
        if rule.on is On.CLIENT:
            return any(max(levels) > least for levels in self.levels.values())
        if self.patterns[rule] > least:
            return True
        trees = (unkey(found).decode() for found, (_, rest) in self.levels.items() if rest > least)
        return any(_meets_below(rule, tree) for tree in trees)

    def _meets_name(self, found: bytes, scope: Scope, least: int) -> bool:
        end = found.find(b".") + 1
        while end < len(found):
            if self.levels.get(found[:end], (0, 0))[1] > least:
                return True
            end = found.find(b".", end) + 1
        own = self.levels.get(found, (0, 0))
        if (scope & Scope.EXACT and own[0] > least) or (scope & Scope.SUBDOMAINS and own[1] > least):
            return True
        at = bisect_left(self.keys, found)
        while scope & Scope.SUBDOMAINS and at < len(self.keys) and self.keys[at].startswith(found):
            if self.keys[at] != found and max(self.levels[self.keys[at]]) > least:
                return True
            at += 1
        return False


def _ranked(
    entries: Iterable[Entry], kinds: frozenset[Kind], special: Iterable[Special], loss: Loss
) -> Iterator[tuple[bytes, Kind]]:
    """Statements where the highest level decides, each at the level that it has in the list, so that special rules meet
    what they meet there. A format without a word for a list's own rules has them as important ones."""
    own = Kind(Scope.TREE, rank=Rank.OWN) in kinds
    blocks = any(not rule.kind.allow for rule in special)
    blind = not own and any(rule.kind == Kind(rule.kind.scope, True, Rank.IMPORTANT) for rule in special)
    above = [(b"", 0)]
    for found, *levels in entries:
        while not found.startswith(above[-1][0]):
            above.pop()
        loss.special += blind and 5 in levels[:2]
        exact, rest, _ = (now if own or now < 5 else now - 2 for now in levels)
        stated = inherited = above[-1][1]
        if rest > inherited:
            sides = _kind(Scope.SUBDOMAINS, rest), _kind(Scope.TREE, rest)
            if exact < rest and sides[0] in kinds:
                yield found, sides[0]
                stated, rest = inherited, rest
            elif exact < rest and rest % 2:
                # What the name itself is left with is an exception: a tree cannot be said without its top.
                loss.special += exact % 2 or blocks
                yield from ((found, sides[1]), (found, _kind(Scope.EXACT, rest + 1)))
                stated = exact
            else:
                loss.special += exact < rest and (exact % 2 or blocks)
                yield found, sides[1]
                stated = rest
            above.append((found, rest))
        else:
            loss.dropped += rest % 2 > inherited % 2
        if exact > stated:
            yield found, _kind(Scope.EXACT, exact)
        else:
            loss.dropped += exact % 2 > stated % 2


def _kind(scope: Scope, level: int) -> Kind:
    return Kind(scope, not level % 2, Rank((level - 1) // 2))


def _nested(entries: Entries, special: list[Special], loss: Loss) -> tuple[Statements, list[Special]]:
    """The statements of a policy zone, and the special rules of which each has one owner: names with an answer stand in
    the order of the names, so that the most specific owner is the deciding rule."""
    owners = _owners_of_triggers([rule for rule in special if rule.on is not On.NAME])
    passes = [level(rule.kind) for rule in owners if rule.on is On.CLIENT and rule.kind.allow]
    if passes:  # a client's address is looked at before any name
        blocks = (level(rule.kind) for rule in special if rule.on is On.NAME and not rule.kind.allow)
        levels = (now for entry in entries for now in entry[1:3] if now % 2)
        loss.special += any(now > min(passes) for now in chain(blocks, levels))
    by_key: dict[bytes, list[Special]] = {}
    for rule in special:
        if rule.on is On.NAME:
            by_key.setdefault(key(rule.what.encode()), []).append(rule)

    def pairs() -> Iterator[tuple[bytes, Kind]]:
        for found, *sides in _owners(_acted(entries, by_key)):
            for scope, action in zip((Scope.EXACT, Scope.SUBDOMAINS), sides, strict=True):
                if isinstance(action, Special):
                    owners.append(Special(0, On.NAME, unkey(found).decode(), Kind(scope), answer=action.answer))
                elif action is not None:
                    yield found, Kind(scope, allow=not action)

    return stated(pairs()), owners


def _acted(
    entries: Iterable[Entry], special: Mapping[bytes, Sequence[Special]]
) -> Iterator[tuple[bytes, Action, Action, Action]]:
    """(key, what happens to its name, to names below it, to names below its parent) where that is not all the same."""
    above: list[tuple[bytes, Action, Special | None]] = [(b"", None, None)]
    for found, exact, rest, _ in entries:
        while not found.startswith(above[-1][0]):
            above.pop()
        _, inherited, rule = above[-1]
        own = special.get(found, ())
        name = max((each for each in own if each.kind.scope & Scope.EXACT), key=_strength, default=rule)
        tree = max((each for each in own if each.kind.scope & Scope.SUBDOMAINS), key=_strength, default=rule)
        name, tree = max(name, rule, key=_strength), max(tree, rule, key=_strength)
        actions = _action(exact, name), _action(rest, tree)
        if actions != (inherited, inherited):
            yield found, *actions, inherited
        above.append((found, actions[1], tree))


def _strength(rule: Special | None) -> int:
    return level(rule.kind) if rule else 0


def _action(now: int, rule: Special | None) -> Action:
    if rule and level(rule.kind) >= now:
        return rule
    return bool(now % 2) if now else None


def _owners(rows: Iterable[tuple[bytes, Action, Action, Action]]) -> Iterator[tuple[bytes, Action, Action]]:
    """(key, action, action below) of every owner that DNS wildcards need (see :mod:`sinkhole.exports.fit`)."""
    above: list[bytes] = []
    between: set[bytes] = set()
    for found, exact, rest, inherited in rows:
        while above and not found.startswith(above[-1]):
            above.pop()
        if above:
            for name in between_keys(above[-1], found):
                if name not in between:
                    between.add(name)
                    yield name, inherited, inherited
        yield found, exact, rest
        if above or rest is not None:
            above.append(found)


def between_keys(upper: bytes, lower: bytes) -> Iterator[bytes]:
    """The names strictly between two keys, one of which is above the other."""
    end = lower.find(b".", len(upper)) + 1
    while end < len(lower):
        yield lower[:end]
        end = lower.find(b".", end) + 1


def _owners_of_triggers(rules: Iterable[Special]) -> list[Special]:
    """One rule for each owner, less those on clients inside a network of a higher level: in a zone the longest prefix
    decides, and in a list it does so for addresses of answers alone."""
    owners = {
        (rule.on, rule.what, scope): rule._replace(kind=rule.kind._replace(scope=scope))
        for rule in sorted(rules, key=lambda rule: level(rule.kind))
        for scope in (Scope.EXACT, Scope.SUBDOMAINS)
        if rule.kind.scope & scope
    }
    return [rule for rule in owners.values() if not _outweighed(rule, owners)]


def _outweighed(rule: Special, owners: Mapping[tuple[On, str, Scope], Special]) -> bool:
    if rule.on in (On.SERVER_NAME, On.ADDRESS):
        return False
    network = ip_network(rule.what)
    wider = (
        owners.get((rule.on, str(network.supernet(new_prefix=size)), Scope.EXACT)) for size in range(network.prefixlen)
    )
    return any(other is not None and level(other.kind) > level(rule.kind) for other in wider)
