"""One list: its sources merged with its own rules, and resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sinkhole.bundle import MASK_SHIFT
from sinkhole.compiler.blocklist import Blocklist, Resolved, keys_of, resolve, resolve_nearest
from sinkhole.compiler.plan import ListPlan, SourcePlan
from sinkhole.compiler.source import SourceReport, SourceRules
from sinkhole.rules import Kind, Rule, Special


@dataclass(frozen=True)
class Compiled:
    """A list ready to be written: what it comes to, the host names known to be on it, its sources' reports.

    ``stated`` are its special rules, each with the id of its source; ``masked`` the entries of a list that has some.
    """

    plan: ListPlan
    resolved: Resolved
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]
    stated: tuple[tuple[Special, str], ...] = ()
    masked: Mapping[int, list[bytes]] | None = None

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change exactly when what the list says changes."""
        digest = hashlib.sha256()
        special = [repr(rule._replace(line=0)).encode() for rule in self.special]
        for part in (b"\n".join(self.resolved.keys), bytes(self.resolved.codes), *sorted(self.hosts), *special):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()[:12]

    @property
    def special(self) -> tuple[Special, ...]:
        return tuple(rule for rule, _ in self.stated)

    def masks(self) -> dict[bytes, int]:
        """The masks of ``masked`` by key; none for a list without special rules."""
        return {key: code >> MASK_SHIFT for code, keys in (self.masked or {}).items() for key in keys}

    def codes(self) -> Mapping[int, list[bytes]]:
        """The keys of the bundle's entries, by code."""
        return self.resolved.by_code() if self.masked is None else self.masked


def compile_list(plan: ListPlan, rules: Callable[[SourcePlan], SourceRules | None]) -> Compiled:
    """Compile one list; a source without any text yet is left out of ``reports``."""
    if plan.nearest:
        return Compiled(plan, resolve_nearest(own.rule for own in plan.own), frozenset(), ())
    blocklist = Blocklist()
    sources = []
    for found in filter(None, map(rules, plan.sources)):
        blocklist.merge(found.keys)
        sources.append(found._replace(keys={}))  # which need not be held twice
    stated = _stated(plan, sources, blocklist)
    own: dict[Kind, list[bytes]] = {}
    for entry in plan.own:
        own.setdefault(entry.rule.kind, []).append(entry.rule.name.encode())
    blocklist.merge(keys_of(own))
    blocklist.know(plan.hosts)
    return Compiled(
        plan,
        resolve(blocklist.masks),
        frozenset(blocklist.hosts),
        tuple(found.report for found in sources),
        stated,
        blocklist.masked() if stated else None,
    )


def _stated(plan: ListPlan, sources: Iterable[SourceRules], blocklist: Blocklist) -> tuple[tuple[Special, str], ...]:
    """The special rules of the list and all sources, each once; what any source takes back is gone from those of the
    sources, from the plain rules too."""
    gone = {
        rule._replace(line=0) if isinstance(rule, Special) else rule for found in sources for rule in found.disabled
    }
    for rule in gone:
        if isinstance(rule, Rule):
            blocklist.take_back(rule)
    stated = {
        plain: (rule, found.report.source.id)
        for found in sources
        for rule in found.special
        if (plain := rule._replace(line=0)) not in gone
    } | {rule._replace(line=0): (rule, source) for rule, source in plan.special}
    return tuple(stated[rule] for rule in sorted(stated, key=repr))


def own_rules(plans: Iterable[ListPlan]) -> list[dict[str, Any]]:
    """The rules of catalogue and configuration with their places, as the bundle keeps them."""
    return [
        {
            "list": plan.id,
            "name": own.rule.name,
            "scope": own.rule.kind.scope.label,
            "allow": own.rule.kind.allow,
            "source": own.source,
            "file": own.file,
            "line": own.line,
            "text": own.text,
        }
        for plan in plans
        for own in plan.own
    ]
