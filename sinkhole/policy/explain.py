"""Why a name is answered as it is: the chain of everything that applied, each traced to the line that says so.

The bundle holds no line numbers: it keeps the text of every source, and the few lines that can concern one name are
found in it when somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import Any, NamedTuple

from dnslib import QTYPE

from sinkhole.bundle import Bundle
from sinkhole.formats import format_named, read_mixed
from sinkhole.names import key, lineage
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.policy import Policy, Step, first
from sinkhole.policy.special import Stated, nearness
from sinkhole.policy.verdict import INTERNAL, Action
from sinkhole.rules import Kind, Parsed, Rank, Rule, Scope, Special

#: How many lines are cited for one source; a name is rarely stated more than twice.
_MAX_LINES = 20
_LABEL = frozenset(bytes((octet,)) for octet in b"abcdefghijklmnopqrstuvwxyz0123456789-_")


class Citation(NamedTuple):
    """A line that states a rule for a name: in which source, and its text; ``hole``: it takes a name out."""

    source: str
    line: int
    text: str
    rule: Rule | Special
    hole: bool


def explain(policy: Policy, name: str, client: str, rtype: str, token: str = "") -> dict[str, Any]:
    """The decision on ``name``, or on an address in an answer, for a client that may have given a token, as ``sinkhole
    explain --json`` prints it, without the answer.

    ``chain`` holds one link for each line that says something about the name, in order of precedence; the one that
    decided has ``won`` set.
    """
    profile, qtype = policy.profile(client, token), QTYPE.reverse[rtype]
    chain = []
    decided = False
    if is_address(name):
        addresses = [ip_address(name).packed]
        trace = policy.trace_addresses(profile, addresses, qtype)
        special = policy.special_of(profile, addresses, qtype)
        verdict = first(trace)
    else:
        query = profile, key(name.encode()), qtype
        trace, special = policy.trace(*query), policy.special(*query)
        verdict = policy.decide(*query)
        if permit := policy.permitted(*query):
            chain.append(_excepted(permit.permission))
            decided = True
    for step, hit in trace:
        links = [_link(step, found) for found in cite(policy.bundle, step.list, name, special)]
        if hit and not decided and links:
            links[0]["won"] = decided = True
        chain += links
    winner = next((link for link in chain if link["won"]), {})
    return {
        "name": name,
        "type": rtype,
        "client": client,
        "groups": list(policy.groups(client, token)),
        "at": policy.at.isoformat(),
        "bundle": policy.bundle.name,
        "action": verdict.action.value,
        "directive": verdict.directive,
        "list": verdict.list,
        "exception": verdict.exception,
        "source": winner.get("source"),
        "line": winner.get("line"),
        "rule": winner.get("rule"),
        "chain": chain,
    }


def _excepted(found: Permission) -> dict[str, Any]:
    """The link of an exception, which stands before all others."""
    ticket = f", ticket {found.ticket}" if found.ticket else ""
    return {
        "won": True,
        "action": Action.ALLOW.value,
        "because": f"exception {found.id}, asked for by {found.requester}, approved by {found.decider} until "
        f"{found.until}{ticket}",
        "directive": None,
        "list": None,
        "source": f"exception {found.id}",
        "line": None,
        "rule": f"allow {found.service or ' '.join(found.names[:8])}",
        "text": found.why,
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
        "rule": f"{word} {str(found.rule).partition(' ')[2]}",
        "text": found.text,
    }


def cite(bundle: Bundle, list_number: int, name: str, special: Sequence[Stated] = ()) -> list[Citation]:
    """Every line behind what a list says about a name, the deciding one first; ``special`` are the rules that apply."""
    entry = bundle.manifest["lists"][list_number]
    found = [
        Citation(source, rule.line, _text_of(rule, bundle, entry, source), rule, rule.kind.allow)
        for rule, number, source in special
        if number == list_number
    ]
    if is_address(name):
        return sorted(found, key=_narrowness, reverse=True)
    found += _own(bundle, entry["id"], name)
    for source in entry["sources"]:
        found += _lines(bundle, source, name, entry["type"] == "allow")
    if entry["id"] in INTERNAL:  # the operator's names, of which each of the two lists holds both kinds
        return sorted((citation for citation in found if not citation.hole), key=_nearness, reverse=True)
    return sorted(found, key=_strength, reverse=True)


def _text_of(rule: Special, bundle: Bundle, entry: dict[str, Any], source_id: str) -> str:
    """The line of a special rule; one that no source states, but the catalogue, speaks for itself."""
    source = next((source for source in entry["sources"] if source["id"] == source_id), None)
    if source is None:
        return str(rule)
    with (bundle.path / "sources" / source["sha256"]).open("rb") as file:
        return _shown(next(islice(file, rule.line - 1, rule.line), b""))


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()[:200]


def _strength(citation: Citation) -> tuple[int, ...]:
    rule = citation.rule
    answer = isinstance(rule, Special) and bool(rule.answer)
    return rule.kind.rank, citation.hole, answer, len(_name(rule)), -citation.line


def _nearness(citation: Citation) -> tuple[int, ...]:
    return len(_name(citation.rule)), citation.rule.kind.scope == Scope.EXACT


def _narrowness(citation: Citation) -> tuple[int, ...]:
    assert isinstance(citation.rule, Special)
    return *nearness(citation.rule), citation.rule.kind.rank, citation.hole


def is_address(text: str) -> bool:
    """Whether a text is an address, and no name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _name(rule: Rule | Special) -> str:
    return rule.what if isinstance(rule, Special) else rule.name


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
    read = partial(read_mixed, format=format) if source["mixed"] else format.read
    context = format.context(text)
    cited = 0
    for number, line in _candidates(text, name):
        for rule in _read(read, context, line, source["subdomains"]):
            if _covers(rule, name):
                yield Citation(source["id"], number, _shown(line), rule, rule.kind.allow and not allows)
                cited += 1
                if cited == _MAX_LINES:
                    return


def _read(read: Callable[[bytes], Parsed], context: bytes, line: bytes, subdomains: bool) -> Iterator[Rule]:
    for rule in read(context + line + b"\n").rules():
        widened = subdomains and rule.kind.scope == Scope.EXACT
        yield Rule(rule.name, rule.kind._replace(scope=Scope.TREE)) if widened else rule


def _candidates(text: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the lines that may state a rule for a name: those that hold it or an ancestor of two labels.

    A line with letters outside ASCII may mean an A-label name in its own script.
    """
    lower = text.lower()
    starts: set[int] = set()
    parts = [part.encode() for part in lineage(name) if "." in part]
    if b"\\." in text:  # a name in a regular expression
        parts += [part.replace(b".", b"\\.") for part in parts]
    for part in parts:
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
