"""The typed rule: what one line of any list says about one name.

A rule is a name, a :class:`Kind` and nothing else. Readers turn text into rules in bulk: names grouped by kind, because
a list of a million names has a handful of kinds. What a reader could not use is a :class:`Skipped`, counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import NamedTuple


class Scope(IntFlag):
    """Which names a rule covers. ``TREE`` is the union of the two bits, so merging rules of one name is ``|``."""

    EXACT = 1
    SUBDOMAINS = 2
    TREE = 3
    __hash__ = int.__hash__  # Enum's own is Python code, and kinds are keys where a million names go by

    @property
    def label(self) -> str:
        return ("none", "exact", "subdomains", "tree")[self]


class Rank(IntEnum):
    """How strongly a rule speaks inside its list. At one rank an allow beats a block; a higher rank beats a lower.

    ``OWN`` is what the list's author states (services and own names), so no feed weakens it; ``IMPORTANT`` is AdGuard's
    ``$important``; ``FEED`` is every other line.
    """

    FEED = 0
    IMPORTANT = 1
    OWN = 2
    __hash__ = int.__hash__  # as in Scope


class Kind(NamedTuple):
    """All that a rule says beside its name."""

    scope: Scope
    allow: bool = False
    rank: Rank = Rank.FEED

    @property
    def shift(self) -> int:
        """Where this kind's two scope bits stand in a mask: six pairs, strongest highest, allow above block."""
        return 2 * (2 * self.rank + self.allow)

    @property
    def mask(self) -> int:
        """The kind as bits of a 12-bit mask; masks of one name merge with ``|``."""
        return int(self.scope) << self.shift


#: (allow, shift) of every pair of scope bits in a mask, strongest first: the order in which a list decides.
DECIDING = tuple((bool(pair % 2), 2 * pair) for pair in range(5, -1, -1))


_EXACT_BITS = sum(Scope.EXACT << shift for _, shift in DECIDING)
_BELOW_BITS = sum(Scope.SUBDOMAINS << shift for _, shift in DECIDING)


def applying(mask: int, own: bool) -> int:
    """The kinds of a mask that apply, as SUBDOMAINS bits: to the name itself (``own``), or to a name below it."""
    return (mask & _EXACT_BITS) << 1 if own else mask & _BELOW_BITS


def strongest(bits: int) -> tuple[Rank, bool] | None:
    """(rank, allow) of the strongest kind among SUBDOMAINS bits; None among none."""
    for allow, shift in DECIDING:
        if bits & (Scope.SUBDOMAINS << shift):
            return Rank(shift // 4), allow
    return None


class Rule(NamedTuple):
    """One rule. ``name`` is a lower-case A-label name without the trailing dot."""

    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{'allow' if self.kind.allow else 'block'} {self.kind.scope.label} {self.name}"


class On(StrEnum):
    """What a special rule is matched with."""

    NAME = "name"
    PATTERN = "pattern"  #: an RE2 expression that is found somewhere in the name
    NOT_PATTERN = "not-pattern"  #: an RE2 expression that is not
    ADDRESS = "address"  #: a network that has an address of the answer (RPZ-IP, lists of addresses)
    CLIENT = "client"  #: a network that has the client's address (RPZ-CLIENT-IP)
    SERVER_NAME = "server-name"  #: the name of an authoritative server (RPZ-NSDNAME): a forwarder never sees one
    SERVER_ADDRESS = "server-address"  #: the address of an authoritative server (RPZ-NSIP): nor this


#: What the resolver can match a rule with. It forwards, so it never sees the authoritative servers that the other kinds
#: of rules speak of; those are kept for conversion and counted as not enforced.
ENFORCED = frozenset({On.NAME, On.PATTERN, On.NOT_PATTERN, On.CLIENT, On.ADDRESS})


#: The answer of an exception that takes every answer away (``@@…$dnsrewrite``).
ANY_ANSWER = "ANY"


class Special(NamedTuple):
    """A rule that a name and a kind cannot say: a few in a list of a million.

    ``what`` is a name, an RE2 expression over lower-case names without the trailing dot, or a network. Each of the
    conditions holds when it is empty or one of its entries fits; an entry with ``~`` in front must not fit. ``answer``
    is empty for the policy's blocking mode, else ``NXDOMAIN``, ``NODATA``, ``REFUSED``, ``DROP``, ``TCP-ONLY``,
    ``NULL`` (0.0.0.0 and ::), or records in the form ``TYPE DATA`` (:mod:`sinkhole.formats.records`), separated by
    newlines. An exception with an answer allows nothing: it takes that answer (:data:`ANY_ANSWER`: every answer) away
    from the blocks of any rank that would give it.
    """

    line: int
    on: On
    what: str
    kind: Kind
    types: tuple[str, ...] = ()  #: record types: ``A``, ``~AAAA``
    clients: tuple[str, ...] = ()  #: addresses, networks or names of clients
    tags: tuple[str, ...] = ()  #: kinds of device: ``device_phone``
    except_names: tuple[str, ...] = ()  #: trees that the rule does not touch (``$denyallow``)
    answer: str = ""

    @property
    def conditional(self) -> bool:
        """Whether there is a query for a name it matches that it does not apply to."""
        return bool(self.types or self.clients or self.tags or self.except_names)

    def __str__(self) -> str:
        parts = [f"{'allow' if self.kind.allow else 'block'}"]
        parts += [self.kind.scope.label] if self.on is On.NAME else [self.on.value]
        parts.append(self.what)
        for name in ("types", "clients", "tags", "except_names"):
            if values := getattr(self, name):
                parts.append(f"{name.replace('_', '-')}={'|'.join(values)}")
        if self.answer:
            parts.append(f"answer={self.answer!r}")
        return " ".join(parts)


class Skipped(NamedTuple):
    """A line that became no rule: its number from 1, its text (cut), and the reason."""

    line: int
    text: str
    why: str


#: How many skipped lines are kept whole for each reason; the rest is counted.
SAMPLES = 5


@dataclass
class Parsed:
    """What a reader made of one text: names by kind, special rules, and every line it did not use, counted by reason.

    ``bulk`` holds names that nobody has looked at one by one yet, as texts of lines ``.name``: :attr:`names` takes them
    in when somebody wants to, and :func:`sinkhole.compiler.blocklist.keys_of` makes keys of them as they are.
    ``disabled`` are rules that another line takes back (``$badfilter``), wherever in the list they stand; the line
    numbers of special ones mean nothing. ``unread`` are the numbers of the lines of which nothing was used, by reason.
    """

    single: dict[Kind, list[bytes]] = field(default_factory=dict)
    bulk: dict[Kind, list[bytes]] = field(default_factory=dict)
    special: list[Special] = field(default_factory=list)
    disabled: list[Rule | Special] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    samples: list[Skipped] = field(default_factory=list)
    unread: dict[str, list[int]] = field(default_factory=dict)
    lines: int = 0

    @property
    def names(self) -> dict[Kind, list[bytes]]:
        """All names by kind, to read and to change."""
        for kind, texts in self.bulk.items():
            found = self.single.setdefault(kind, [])
            for text in texts:
                found += text[1:-1].split(b"\n.")
        self.bulk.clear()
        return self.single

    @property
    def kinds(self) -> set[Kind]:
        return {*self.single, *self.bulk}

    def add(self, rule: Rule) -> None:
        self.single.setdefault(rule.kind, []).append(rule.name.encode())

    def skip(self, line: int, text: str, why: str) -> None:
        self.skipped[why] += 1
        if self.skipped[why] <= SAMPLES:
            self.samples.append(Skipped(line, text[:200], why))

    def rules(self) -> Iterator[Rule]:
        for kind, names in self.names.items():
            for name in names:
                yield Rule(name.decode(), kind)

    def __len__(self) -> int:
        lines = sum(text.count(b"\n") for texts in self.bulk.values() for text in texts)
        return lines + sum(map(len, self.single.values())) + len(self.special)
