"""One list: its sources merged with its own rules, and resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sinkhole.compiler.blocklist import Blocklist, Resolved, keys_of, resolve, resolve_nearest
from sinkhole.compiler.plan import ListPlan, SourcePlan
from sinkhole.compiler.source import SourceReport, SourceRules
from sinkhole.rules import Kind


class Compiled(NamedTuple):
    """A list ready to be written: what it comes to, the host names known to be on it, and its sources' reports."""

    plan: ListPlan
    resolved: Resolved
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]


def compile_list(plan: ListPlan, rules: Callable[[SourcePlan], SourceRules | None]) -> Compiled:
    """Compile one list; a source without any text yet is left out of ``reports``."""
    if plan.nearest:
        return Compiled(plan, resolve_nearest(own.rule for own in plan.own), frozenset(), ())
    blocklist = Blocklist()
    reports = []
    for found in filter(None, map(rules, plan.sources)):
        blocklist.merge(found.keys)
        reports.append(found.report)
    own: dict[Kind, list[bytes]] = {}
    for entry in plan.own:
        own.setdefault(entry.rule.kind, []).append(entry.rule.name.encode())
    blocklist.merge(keys_of(own))
    blocklist.know(plan.hosts)
    return Compiled(plan, resolve(blocklist.masks), frozenset(blocklist.hosts), tuple(reports))


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
