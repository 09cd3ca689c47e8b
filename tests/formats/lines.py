"""How a line of a list is checked: what becomes a rule, what is nothing, and what is skipped with which reason."""

from __future__ import annotations

from collections.abc import Sequence

from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, Parsed, Rank, Rule, Scope

#: A line, the rules it states, and the reasons why it, or a part of it, was skipped.
Line = tuple[str, Sequence[str], Sequence[str]]


def shown(rule: Rule) -> str:
    rank = "" if rule.kind.rank is Rank.FEED else f" {rule.kind.rank.name.lower()}"
    return f"{rule}{rank}"


def everything(parsed: Parsed) -> list[str]:
    """All rules, as text, sorted."""
    return sorted([*map(shown, parsed.rules()), *(str(rule) for rule in parsed.special)])


def check(name: str, line: str, rules: Sequence[str], reasons: Sequence[str], first: str = "") -> None:
    """A line means this in a format: alone, and between other lines; ``first`` stands at the top of the text."""
    format = FORMATS[name]
    other = (format.lines or {Kind(Scope.EXACT): b"#%s"})[next(iter(format.lines), Kind(Scope.EXACT))]
    other = other.replace(b"%s", b"other.test")
    for before, after in (("", ""), ("\n\n", "\n"), (f"{other.decode()}\n", f"\n{other.decode()}\n")):
        parsed = format.read(f"{first}{before}{line}{after}".encode())
        assert [rule for rule in everything(parsed) if "other.test" not in rule] == sorted(rules)
        assert list(parsed.skipped) == list(reasons)
        for sample in parsed.samples:
            assert sample.line == (first + before).count("\n") + 1
            assert sample.text in (line[:200].strip().lower(), line[:200].strip())
