"""Why a name is answered as it is: the chain of everything that applied, each traced to the line that says so.

The bundle holds no line numbers: it keeps the text of every source, and the few lines that can concern one name are
found in it when somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sinkhole.bundle import Bundle
from sinkhole.formats import format_named
from sinkhole.formats.format import Format
from sinkhole.names import key, lineage
from sinkhole.policy.policy import INTERNAL, Policy, Step
from sinkhole.policy.verdict import Action
from sinkhole.rules import Kind, Rank, Rule, Scope

#: How many lines are cited for one source; a name is rarely stated more than twice.
_MAX_LINES = 20
_LABEL = frozenset(bytes((octet,)) for octet in b"abcdefghijklmnopqrstuvwxyz0123456789-_")


class Citation(NamedTuple):
    """A line that states a rule for a name: in which source, and its text; ``hole``: it takes a name out."""

    source: str
    line: int
    text: str
    rule: Rule
    hole: bool


def explain(policy: Policy, name: str, client: str, rtype: str) -> dict[str, Any]:
    """The decision on ``name`` for a client, as ``sinkhole explain --json`` prints it, without the answer.

    ``chain`` holds one link for each line that says something about the name, in order of precedence; the one that
    decided has ``won`` set.
    """
    profile = policy.profile(client)
    wanted = key(name.encode())
    verdict = policy.decide(profile, wanted)
    chain = []
    decided = False
    for step, hit in policy.trace(profile, wanted):
        links = [_link(step, found) for found in cite(policy.bundle, step.list, name)]
        if hit and not decided and links:
            links[0]["won"] = decided = True
        chain += links
    winner = next((link for link in chain if link["won"]), {})
    return {
        "name": name,
        "type": rtype,
        "client": client,
        "groups": list(policy.groups(client)),
        "at": policy.at.isoformat(),
        "bundle": policy.bundle.name,
        "action": verdict.action.value,
        "directive": verdict.directive,
        "list": verdict.list,
        "source": winner.get("source"),
        "line": winner.get("line"),
        "rule": winner.get("rule"),
        "chain": chain,
    }


def _link(step: Step, found: Citation) -> dict[str, Any]:
    listing = step.verdict.action
    action = listing if not found.hole else Action.BLOCK if listing is Action.ALLOW else Action.ALLOW
    word = "allow" if action is Action.ALLOW else "block"
    return {
        "won": False,
        "action": action.value,
        "because": step.because,
        "directive": step.verdict.directive,
        "list": step.verdict.list,
        "source": found.source,
        "line": found.line,
        "rule": f"{word} {found.rule.kind.scope.label} {found.rule.name}",
        "text": found.text,
    }


def cite(bundle: Bundle, list_number: int, name: str) -> list[Citation]:
    """Every line behind what a list says about a name, the deciding one first."""
    entry = bundle.manifest["lists"][list_number]
    found = [*_own(bundle, entry["id"], name)]
    for source in entry["sources"]:
        found += _lines(bundle, source, name, entry["type"] == "allow")
    if entry["id"] in INTERNAL:  # the operator's names, of which each of the two lists holds both kinds
        return sorted((citation for citation in found if not citation.hole), key=_nearness, reverse=True)
    return sorted(found, key=_strength, reverse=True)


def _strength(citation: Citation) -> tuple[int, ...]:
    kind = citation.rule.kind
    return kind.rank, citation.hole, len(citation.rule.name), -citation.line


def _nearness(citation: Citation) -> tuple[int, ...]:
    return len(citation.rule.name), citation.rule.kind.scope == Scope.EXACT


def _own(bundle: Bundle, list_id: str, name: str) -> Iterator[Citation]:
    for own in bundle.own():
        rule = Rule(own["name"], Kind(Scope[own["scope"].upper()], own["allow"], Rank.OWN))
        if own["list"] == list_id and _covers(rule, name):
            yield Citation(f"{own['source']} ({own['file']})", own["line"], own["text"], rule, own["allow"])


def _covers(rule: Rule, name: str) -> bool:
    if rule.name == name:
        return Scope.EXACT in rule.kind.scope
    return Scope.SUBDOMAINS in rule.kind.scope and name.endswith("." + rule.name)


def _lines(bundle: Bundle, source: dict[str, Any], name: str, allows: bool) -> Iterator[Citation]:
    """The lines of one source that cover a name."""
    format = format_named(source["format"])
    text = (bundle.path / "sources" / source["sha256"]).read_bytes()
    context = format.context(text)
    cited = 0
    for number, line in _candidates(text, name):
        for rule in _read(format, context, line, source["subdomains"]):
            if _covers(rule, name):
                shown = line.decode("utf-8", "replace").strip()[:200]
                yield Citation(source["id"], number, shown, rule, rule.kind.allow and not allows)
                cited += 1
                if cited == _MAX_LINES:
                    return


def _read(format: Format, context: bytes, line: bytes, subdomains: bool) -> Iterator[Rule]:
    for rule in format.read(context + line + b"\n").rules():
        widened = subdomains and rule.kind.scope == Scope.EXACT
        yield Rule(rule.name, rule.kind._replace(scope=Scope.TREE)) if widened else rule


def _candidates(text: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the lines that may state a rule for a name: those that hold it or an ancestor of two labels.

    A line with letters outside ASCII may mean an A-label name in its own script.
    """
    lower = text.lower()
    starts: set[int] = set()
    for part in (part.encode() for part in lineage(name) if "." in part):
        at = lower.find(part)
        while at >= 0:
            end = at + len(part)
            if lower[end : end + 1] not in _LABEL and lower[at - 1 : at] not in _LABEL:
                starts.add(text.rfind(b"\n", 0, at) + 1)
            at = lower.find(part, end)
    if "xn--" in name:
        starts.update(text.rfind(b"\n", 0, match.start()) + 1 for match in re.finditer(rb"[\x80-\xff]+", text))
    number, before = 1, 0
    for start in sorted(starts):
        number += text.count(b"\n", before, start)
        before = start
        yield number, text[start : _end(text, start)]


def _end(text: bytes, start: int) -> int:
    end = text.find(b"\n", start)
    return len(text) if end < 0 else end
