"""What a build refuses: a text that is too small, too odd, or too different from the one in use.

A refused text takes nothing away: the text that the bundle in use was made of stays in use for that source, and
everything else is built. What is in use already is not judged again. Changes of fewer than :data:`FEW` are never too
large, unless nothing is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole import bundle
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.planned import ListPlan
from sinkhole.compiler.source import SourceReport, Text
from sinkhole.errors import BundleError
from sinkhole.seals import Seals

#: Rules, lines or entries that may come, go or be skipped whatever the shares are.
FEW = 50

#: Octets that may go with them.
FEW_BYTES = 4096


class Before(NamedTuple):
    """What the bundle in use says of its sources and lists."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def inputs(self) -> str:
        return str(self.manifest["inputs"])

    def list(self, list_id: str) -> Mapping[str, Any] | None:
        return next((entry for entry in self.manifest["lists"] if entry["id"] == list_id), None)

    def source(self, list_id: str, source_id: str) -> Mapping[str, Any] | None:
        """A source as it was in this list, else in any."""
        lists = sorted(self.manifest["lists"], key=lambda entry: bool(entry["id"] != list_id))
        return next((found for entry in lists for found in entry["sources"] if found["id"] == source_id), None)

    def text(self, sha256: str) -> Text:
        return Text(self.path / "sources" / sha256, sha256)


def before(directory: Path, seals: Seals | None = None) -> Before | None:
    """The bundle in use below ``directory``; None when there is none, or it is damaged."""
    path = bundle.current(directory)
    try:
        return Before(path, bundle.load(path, (seals or Seals()).sha256).manifest) if path else None
    except BundleError:
        return None


def source_refusals(report: SourceReport, was: Mapping[str, Any] | None) -> Iterator[str]:
    """Why a text is refused, in sentences; ``was``: the report of the text in use, None for a new source."""
    source, rules, skipped = report.source, report.rules, sum(report.skipped.values())
    if rules < source.min_rules:
        yield f"{source.id}: {rules} rules, fewer than its min-rules {source.min_rules}"
    if source.max_rules is not None and rules > source.max_rules:
        yield f"{source.id}: {rules} rules, more than its max-rules {source.max_rules}"
    if skipped >= FEW and skipped > source.max_skipped * (rules + skipped):
        most = max(report.skipped, key=lambda why: report.skipped[why])
        yield (
            f"{source.id}: {skipped} of {rules + skipped} rules cannot be used, more than its max-skipped "
            f"{source.max_skipped:.0%}; most often: {most}"
        )
    if was is None:
        return
    if _too_much(was["rules"], rules, source.max_change):
        yield _told(source.id, was["rules"], rules, "rules", source.max_change)
    elif report.bytes < was["bytes"] and _too_much(was["bytes"], report.bytes, source.max_change, FEW_BYTES):
        yield _told(source.id, was["bytes"], report.bytes, "bytes", source.max_change)


def list_refusals(compiled: Compiled, was: Mapping[str, Any] | None) -> Iterator[str]:
    """Why what the sources of a list do to it is refused; what its author changes is not."""
    plan, entries = compiled.plan, compiled.resolved.size
    if was and was["authored"] == authored(plan) and _too_much(was["entries"], entries, plan.max_change):
        yield _told(f"list {plan.id}", was["entries"], entries, "entries", plan.max_change)


def authored(plan: ListPlan) -> str:
    """Twelve hex digits that change exactly when what the author of a list says changes."""
    return hashlib.sha256(repr(plan.portable).encode()).hexdigest()[:12]


def _too_much(before: int, now: int, share: float, few: int = FEW) -> bool:
    change = abs(now - before)
    return (before > 0 and now == 0) or (change >= few and change > share * before)


def _told(what: str, before: int, now: int, unit: str, share: float) -> str:
    change = f" ({(now - before) / before:+.0%})" if before else ""
    return f"{what}: {before} {unit} before and {now} now{change}, more than its max-change {share:.0%}"
