r"""Pi-hole lists: plain names block exactly, ``||name^`` a tree, ``@@||name^`` allows a tree; regular expressions.

Sources: https://docs.pi-hole.net/database/domain-database/, https://docs.pi-hole.net/regex/ and
https://docs.pi-hole.net/regex/pi-hole/ (``;querytype=``, ``;invert``, ``;reply=``).
Hosts lines are those of hosts files: a file that gives a server its address is no block of that server. The
expressions ``(\.|^)name$``, ``^name$`` and ``\.name$`` are read as the rules that they are.

Pi-hole takes names by subscription and expressions by hand, so there are two formats: ``pihole`` states names alone,
and ``pihole-regex`` the same list as expressions. Neither has exceptions: Pi-hole keeps those in lists of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

from sinkhole.formats import adblock, hosts
from sinkhole.formats.format import Format
from sinkhole.formats.patterns import BadPattern, everything, posix
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, On, Rule, Scope, Special

TREE, EXACT, SUBDOMAINS = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.SUBDOMAINS)
_BULKS = (
    bulk(b"", rb"\.?", EXACT),
    bulk(rb"\|\|", rb"\^", TREE),
    bulk(rb"@@\|\|", rb"\^", adblock.ALLOW_TREE),
)
_NAME = r"(?P<name>(?:[\w-]|\\\.|\\-)+)\$"
_NAMES = tuple(
    (re.compile(before + _NAME), kind)
    for before, kind in ((r"\((?:\\\.\|\^|\^\|\\\.)\)", TREE), (r"\^", EXACT), (r"\\\.", SUBDOMAINS))
)
_ABP = re.compile(r"(?P<allow>@@)?\|\|(?P<name>[^\^|$/*]+)\^")
_TYPES = frozenset(re.findall(r"\w+", "A AAAA ANY SRV SOA PTR TXT NAPTR MX DS RRSIG DNSKEY NS SVCB HTTPS"))
_REPLIES = {"nodata": "NODATA", "nxdomain": "NXDOMAIN", "refused": "REFUSED", "none": "DROP", "ip": ""}


def read_line(line: str) -> Iterator[Rule | Special | str]:
    text = uncomment(line)
    if not text or text.startswith(("!", "[Adblock", "//")):
        return
    if match := _ABP.fullmatch(text):
        yield rule(match["name"], Kind(Scope.TREE, bool(match["allow"])))
    elif any(char in text for char in "|^$*()[]\\?+{;"):
        yield from read_regex(text)
    else:
        yield from hosts.read_line(text) if len(text.split()) > 1 else [rule(text, EXACT)]


def read_regex(line: str) -> Iterator[Rule | Special | str]:
    """A line that is an expression, whatever it looks like."""
    if line and not line.startswith("#"):
        try:
            yield _regex(*line.split(";"))
        except BadPattern as error:
            yield str(error)


def _regex(pattern: str, *options: str) -> Rule | Special | str:
    types: list[str] = []
    replies = []
    invert = False
    for option in options:
        name, _, value = option.partition("=")
        if name.lower() == "querytype" and not types:
            types = [("~" if value.startswith("!") else "") + entry for entry in value.lstrip("!").upper().split(",")]
        elif name.lower() == "reply":
            replies.append(value.lower())
        elif option.lower() == "invert":
            invert = True
        else:
            raise BadPattern(f"the option ;{name[:20]}")
    if unknown := [entry for entry in types if entry.lstrip("~") not in _TYPES]:
        raise BadPattern(f"the query type {unknown[0][:10]}")
    found = next(((match["name"], kind) for regex, kind in _NAMES if (match := regex.fullmatch(pattern))), None)
    special = Special(
        0, On.NOT_PATTERN if invert else On.PATTERN, "", EXACT, tuple(sorted(types)), answer=_answer(replies)
    )
    if found and not invert:
        named = rule(found[0].replace("\\", ""), found[1])
        if isinstance(named, str) or special == Special(0, On.PATTERN, "", EXACT):
            return named
        return special._replace(on=On.NAME, what=named.name, kind=named.kind)
    special = special._replace(what=posix(pattern))
    if not invert and not types and everything(special.what):
        raise BadPattern("a pattern that finds every name")
    return special


def _answer(replies: list[str]) -> str:
    if len(replies) == 1 and replies[0] in _REPLIES:
        return _REPLIES[replies[0]]
    try:
        given = {address.version: str(address) for address in map(ip_address, replies)}
    except ValueError:
        raise BadPattern("a ;reply= that is not understood") from None
    if len(given) != len(replies):
        raise BadPattern("a ;reply= that is not understood")
    pair = given.get(4, "0.0.0.0"), given.get(6, "::")
    if not given:
        return ""
    return "NULL" if pair == ("0.0.0.0", "::") else f"A {pair[0]}\nAAAA {pair[1]}"


def special(stated: Special) -> str | None:
    """The expression that means ``stated``."""
    inverted = [entry.startswith("~") for entry in stated.types]
    if any(inverted) and not all(inverted):
        return None
    if stated.on is On.NAME:
        before = {Scope.TREE: r"(\.|^)", Scope.EXACT: "^", Scope.SUBDOMAINS: r"\."}[stated.kind.scope]
        pattern = before + stated.what.replace(".", r"\.") + "$"
    else:
        pattern = stated.what.removeprefix("(?i)")
    line = pattern
    if stated.types:
        line += f";querytype={'!' * any(inverted)}{','.join(entry.lstrip('~') for entry in stated.types)}"
    line += ";invert" * (stated.on is On.NOT_PATTERN) + _reply(stated.answer)
    return line if list(read_regex(line)) == [stated._replace(line=0)] else None


def _reply(answer: str) -> str:
    if answer == "NULL":
        return ";reply=0.0.0.0;reply=::"
    if " " in answer:
        return "".join(f";reply={record.partition(' ')[2]}" for record in answer.split("\n"))
    return next((f";reply={reply}" for reply, known in _REPLIES.items() if known == answer), "") if answer else ""


FORMAT = Format(
    name="pihole",
    title="Pi-hole list",
    use="Pi-hole: Lists, Add blocklist",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"||%s^", EXACT: b"%s"},
    effect="what the blocking mode of Pi-hole says; exceptions are in lists of their own there",
)
REGEX = Format(
    name="pihole-regex",
    title="Pi-hole regular expressions",
    use="Pi-hole: Domains, RegEx filter, one line each",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=(), line=read_regex),
    lines={TREE: rb"(\.|^)%s$", EXACT: b"^%s$", SUBDOMAINS: rb"\.%s$"},
    dot=rb"\.",
    special=special,
    sniffed=False,
)
