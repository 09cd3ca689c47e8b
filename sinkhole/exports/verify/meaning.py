"""What a list says about one query: the words that every export of it is compared with.

It is worked out from the compiled list rule by rule, as the resolver does it, and by none of the code that fits a list
into a format.
"""

from __future__ import annotations

from bisect import bisect_left
from ipaddress import ip_address
from typing import NamedTuple

from sinkhole.compiler.blocklist import REDUNDANT, Code
from sinkhole.compiler.compile import Compiled
from sinkhole.names import key
from sinkhole.policy.special import Specials, Stated, nearness
from sinkhole.rules import ANY_ANSWER, On, Special, applying, strongest

#: The client that everything is asked from.
CLIENT = ip_address("127.0.0.1")


class Said(NamedTuple):
    """Whether a query is blocked, with which answer of a special rule (as :class:`~sinkhole.rules.Special` has it), and
    what decides: the key of an entry, or a special rule."""

    blocked: bool
    answer: str = ""
    rule: bytes | Special = b""


class Meaning:
    """What ``compiled`` says, to :data:`CLIENT`."""

    def __init__(self, compiled: Compiled) -> None:
        self._keys, self._codes = compiled.resolved.keys, compiled.resolved.codes
        self._masks = compiled.masks()
        self._specials = Specials([Stated(rule, 0, source) for rule, source in compiled.stated])
        self._groups = frozenset(group for group, network in self._specials.clients().items() if CLIENT in network)

    def said(self, name: str, qtype: int, addresses: tuple[bytes, ...]) -> Said:
        """What comes of a query whose answer would have ``addresses``."""
        found = key(name.lower().encode())
        said = self._of_name(found) if not self._specials.rules else self._weighed(found, qtype)
        if said is None and self._specials.networks:
            said = self._of_addresses(addresses, qtype)
        return said or Said(False)

    def _of_name(self, found: bytes) -> Said | None:
        """The nearest entry that says anything decides."""
        name, bit = found, Code.EXACT
        while name:
            code = self._code(name)
            if code not in REDUNDANT:
                return Said(bool(code & bit), rule=name)
            name, bit = name[: name.rfind(b".", 0, -1) + 1], Code.BELOW
        return None

    def _code(self, found: bytes) -> int:
        at = bisect_left(self._keys, found)
        return self._codes[at] if at < len(self._keys) and self._keys[at] == found else 0

    def _weighed(self, found: bytes, qtype: int) -> Said | None:
        """The strongest rule of all that apply decides; an answer beats none, and of two the longer name's."""
        best: tuple[tuple[int, ...], Said] | None = None
        bits, deciding, end = 0, b"", found.find(b".") + 1
        while end:
            if mask := applying(self._masks.get(found[:end], 0), end == len(found)):
                bits, deciding = bits | mask, found[:end]
            end = found.find(b".", end) + 1
        if stated := strongest(bits):
            rank, allow = stated
            best = (rank, allow, False, 0), Said(not allow, rule=deciding)
        applies = [
            self._specials.rules[at].rule
            for at in (*self._specials.match(found), *self._specials.of_client(self._groups))
            if self._specials.holds(at, qtype, self._groups)
        ]
        taken = {rule.answer for rule in applies if rule.kind.allow and rule.answer}
        for rule in applies:
            if rule.answer and (rule.kind.allow or not taken.isdisjoint((rule.answer, ANY_ANSWER))):
                continue
            near = len(rule.what) if rule.on is On.NAME else 0
            strength = rule.kind.rank, rule.kind.allow, bool(rule.answer), near
            if best is None or strength > best[0]:
                best = strength, Said(not rule.kind.allow, rule.answer, rule)
        return best and best[1]

    def _of_addresses(self, addresses: tuple[bytes, ...], qtype: int) -> Said | None:
        """The narrowest network that has one of the addresses decides."""
        found = {at for address in addresses for at in self._specials.networks.find(address)}
        rules = [self._specials.rules[at].rule for at in found if self._specials.holds(at, qtype, self._groups)]
        if not rules:
            return None
        rule = max(rules, key=lambda rule: (*nearness(rule), rule.kind.rank, rule.kind.allow))
        return Said(not rule.kind.allow, rule.answer, rule)
