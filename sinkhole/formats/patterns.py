"""Patterns over names: wildcards, POSIX and RE2 expressions of every list syntax, as RE2 texts that are safe to run.

RE2 (https://github.com/google/re2/wiki/Syntax) matches in time that grows with the name and the size of the program,
so what is bounded is the length of the text, and what its counted repetitions unfold to. An expression is found
somewhere in a name, which is in lower case and has no trailing dot. :func:`expression` gives it its one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import re2

#: Longest pattern, in characters.
MAX_PATTERN = 512
#: How many instructions a program may have, beyond what its text needs at most: repetitions unfold to instructions.
_SPARE = 256
_MAX_MEMORY = 1 << 20
_MAX_UNION = 1 << 28

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*\]|\(\?[a-zA-Z<>=!:^-]*[:)]?|[^\n]", re.S)
_LITERAL = re.compile(r"\\?[.-]|[a-z0-9_]")
_NOT_REGULAR = re.compile(r"\\[1-9]|\(\?<?[=!]|\(\?>")
_POSIX_BRACKET = re.compile(r"\[\^?\]?(?:\[:\w+:\]|[^]\[]|\[(?![.=:]))*\]")
_POSIX_ESCAPE = re.compile(r"\\(?:[dDwWsSbB]|[^a-zA-Z0-9<>`'])")
_POSIX_GROUP = re.compile(r"\((?!\?)|\(\?:")
#: Names that have little in common: a pattern that finds all of them finds nearly everything.
_PROBES = (b"x.zz", b"0-1.qk", b"_.w.jv", b"m" * 60 + b".y.hn")


class BadPattern(ValueError):
    """A text that is no usable pattern; ``str()`` is the reason, without the text."""


def expression(text: str) -> str:
    """The one spelling of an RE2 expression that ignores case: ``(?i)`` is in front exactly when it makes a difference.

    Raises :class:`BadPattern` for what RE2 does not know, what is too long or too large, and what nothing or everything
    matches.
    """
    text = text.removeprefix("(?i)")
    if not text or len(text) > MAX_PATTERN:
        raise BadPattern(f"a pattern longer than {MAX_PATTERN} characters" if text else "an empty pattern")
    if not text.isascii():
        raise BadPattern("a pattern with a character that no name has")
    if _NOT_REGULAR.search(text):
        raise BadPattern("a pattern with a back-reference or look-around")
    if "\\Q" in text or "\\C" in text:
        raise BadPattern("a pattern that is not understood")
    text = f"(?i){text}" if text != text.lower() or "[:upper:]" in text else text
    compiled(text)
    return text


@lru_cache(maxsize=16384)
def compiled(text: str) -> Any:
    """The compiled expression, for bytes: ``compiled(text).search(b"ads.example")``."""
    found = _compiled(text, _MAX_MEMORY)
    if found.programsize > len(text) + _SPARE:
        raise BadPattern("a pattern that is too large")
    return found


def _compiled(text: str, memory: int) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors, options.never_capture, options.max_mem = False, True, memory
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        raise BadPattern("a pattern that is not understood") from error


def everything(text: str) -> bool:
    """Whether an expression finds nearly every name."""
    return all(map(compiled(text).search, _PROBES))


#: The parts of a mask with a meaning of their own.
_MASK = {"*": ".*", "^": "$"}


def mask(text: str) -> str:
    """AdGuard's wildcards over a whole name as an expression: ``*`` anything, ``|`` beginning or end, ``||`` beginning
    or a dot before, ``^`` the end (nothing in a name separates)."""
    before = next((bars for bars in ("||", "|") if text.startswith(bars)), "")
    body = text[len(before) :]
    after = "$" if body.endswith("|") else ""
    body = body.removesuffix("|").lower()
    if "^" in body.rstrip("^*") or "|" in body or not re.fullmatch(r"[a-z0-9_.*^-]*", body):
        raise BadPattern("a pattern with a character that no name has")
    start = {"||": r"^(?:[a-z0-9_.-]+\.)?", "|": "^", "": ""}[before]
    inner = "".join(_MASK.get(char) or char.replace(".", r"\.") for char in body)
    return expression(re.sub(r"(?:\.\*)+", ".*", start + inner + after).replace("$$", "$") or ".*")


def posix(text: str) -> str:
    """A POSIX extended expression as Pi-hole's engine reads it (TRE, https://github.com/laurikari/tre), which ignores
    case: in brackets a backslash is a character, comments vanish, and what RE2 has no word for is refused."""
    text = re.sub(r"\(\?#[^)]*\)", "", text)
    parts = []
    at = 0
    while at < len(text):
        part, at = _posix_part(text, at)
        parts.append(part)
    return expression("".join(parts))


def _posix_part(text: str, at: int) -> tuple[str, int]:
    char = text[at]
    if char == "[":
        if not (found := _POSIX_BRACKET.match(text, at)):
            raise BadPattern("a bracket that is not understood")
        return found[0].replace("\\", "\\\\"), found.end()
    if char == "\\":
        if not (found := _POSIX_ESCAPE.match(text, at)):
            digit = text[at + 1 : at + 2].isdigit()
            raise BadPattern("a pattern with a back-reference" if digit else "an escape that is not understood")
        return found[0], found.end()
    if char == "(":
        if not (found := _POSIX_GROUP.match(text, at)):
            raise BadPattern("a group that is not understood")
        return found[0], found.end()
    if char == "{" and not re.compile(r"\{\d+(?:,\d*)?\}").match(text, at):
        raise BadPattern("approximate matching")
    return char, at + 1


def suffix(text: str) -> str:
    """The literal text that every name must end in to be found; empty when none is certain."""
    tokens = _TOKEN.findall(text.lower())
    if tokens[-1:] != ["$"] or "|" in _top(tokens):
        return ""
    found = []
    for token in reversed(tokens[:-1]):
        if not _LITERAL.fullmatch(token) or token == ".":
            break
        found.append(token[-1])
    return "".join(reversed(found))


def _top(tokens: list[str]) -> Iterator[str]:
    """The tokens outside of all groups."""
    depth = 0
    for token in tokens:
        depth += token.startswith("(") and not token.endswith(")")
        if not depth:
            yield token
        depth -= token == ")"


def below(text: str, name: str) -> bool:
    """Whether an expression may find a name below ``name``: no only when it is certain."""
    return may_end(suffix(text), name)


def may_end(last: str, name: str) -> bool:
    """Whether a name below ``name`` may end in ``last``."""
    end = f".{name}"
    return last.endswith(end) or end.endswith(last)


def union(texts: Iterable[str]) -> Callable[[bytes], object]:
    """What tells whether any of some expressions finds a name."""
    return _compiled("|".join(f"(?:{text})" for text in texts), _MAX_UNION).search  # type: ignore[no-any-return]
