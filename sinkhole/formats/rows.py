"""Rules as rows of named values, the shape that CSV and JSON share: ``name``, ``scope``, ``action`` and ``rank``.

``scope`` is ``exact`` (the default), ``subdomains`` or ``tree``; ``action`` is ``block`` (the default) or ``allow``;
``rank`` is ``feed`` (the default) or ``important``. At one rank an exception beats every block, and a higher rank
beats a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from sinkhole.formats.reading import rule
from sinkhole.rules import Kind, Rank, Rule, Scope

NAMES = ("name", "scope", "action", "rank")
_SCOPES = {scope.label: scope for scope in (Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE)}
_ALLOWS = {"block": False, "allow": True}
_RANKS = {"feed": Rank.FEED, "important": Rank.IMPORTANT}
#: The words of each column, the default first.
_KNOWN = {"scope": list(_SCOPES), "action": list(_ALLOWS), "rank": list(_RANKS)}
#: Every kind that a row may state, by its words.
WORDS = {
    (scope, action, rank): Kind(_SCOPES[scope], _ALLOWS[action], _RANKS[rank])
    for scope, action, rank in product(*_KNOWN.values())
}
#: What nearly all rows say.
USUAL = (("tree", "block", "feed"), ("exact", "block", "feed"), ("tree", "allow", "feed"))


def row(values: Mapping[str, object]) -> Rule | str:
    """The rule of a row, or why it has none."""
    said = {column: str(values.get(column) or known[0]) for column, known in _KNOWN.items()}
    for column, known in _KNOWN.items():
        if said[column] not in known:
            return f"{column} is none of {', '.join(known)}"
    name = values.get("name")
    if not isinstance(name, str) or not name:
        return "no name"
    return rule(name, WORDS[said["scope"], said["action"], said["rank"]])
