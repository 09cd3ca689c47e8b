"""Patterns as plain lists have them: an expression, or a part of a name that is to be found, without any condition."""

from __future__ import annotations

import re

from sinkhole.formats.patterns import BadPattern, everything, expression
from sinkhole.rules import Kind, On, Scope, Special

_KIND = Kind(Scope.EXACT)
_PART = re.compile(r"(?P<start>\^?)(?P<part>(?:[a-z0-9_-]|\\[.-])+)")


def pattern(text: str) -> Special | str:
    """The rule that blocks every name in which an RE2 expression is found, or the reason why there is none."""
    try:
        what = expression(text)
    except BadPattern as error:
        return str(error)
    return "a pattern that finds every name" if everything(what) else Special(0, On.PATTERN, what, _KIND)


def stated(rule: Special) -> str | None:
    """The expression of a rule that :func:`pattern` could have made; None for any other."""
    return rule.what if rule._replace(line=0) == Special(0, On.PATTERN, rule.what, _KIND) else None


def part(text: str) -> tuple[bool, str] | None:
    """(it begins the name, the part) of an expression that finds a literal part of a name; None for any other."""
    found = _PART.fullmatch(text)
    return (bool(found["start"]), found["part"].replace("\\", "")) if found else None
