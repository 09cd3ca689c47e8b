"""AdGuard's DNS filtering syntax: ``||name^``, ``|name^``, ``@@`` exceptions, masks, ``/expressions/`` and modifiers.

Source: https://adguard-dns.io/kb/general/dns-filtering-syntax/. Plain names block exactly there, and hosts lines are
hosts lines. ``$important``, ``$badfilter``, ``$denyallow``, ``$dnstype``, ``$client``, ``$ctag`` and ``$dnsrewrite``
mean what they mean there; a rule with any other modifier is skipped as a whole, as the same page demands. A mask is
matched with the name alone: nothing in it separates, and no path follows it. An exception with ``$dnsrewrite`` takes
answers away and allows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

from sinkhole.formats import hosts
from sinkhole.formats.format import Format
from sinkhole.formats.patterns import BadPattern, everything, expression, mask
from sinkhole.formats.reading import Disabled, bulk, read_lines, rule, uncomment
from sinkhole.formats.records import TYPES, BadRecord, quoted, record, text
from sinkhole.names import BadName, parse_name
from sinkhole.rules import ANY_ANSWER, Kind, On, Rank, Rule, Scope, Special

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
ALLOW_TREE, ALLOW_EXACT = Kind(Scope.TREE, allow=True), Kind(Scope.EXACT, allow=True)
_LINES = {
    TREE: b"||%s^",
    EXACT: b"|%s^",
    ALLOW_TREE: b"@@||%s^",
    ALLOW_EXACT: b"@@|%s^",
    **{
        Kind(scope, allow, Rank.IMPORTANT): (b"@@" if allow else b"") + bars + b"%s^$important"
        for scope, bars in ((Scope.TREE, b"||"), (Scope.EXACT, b"|"))
        for allow in (False, True)
    },
}
_BULKS = (
    bulk(rb"\|\|", rb"\^", TREE, b"!"),
    bulk(rb"@@\|\|", rb"\^", ALLOW_TREE, b"!"),
    bulk(rb"\|", rb"\^", EXACT, b"!"),
)
_COSMETIC = re.compile(r"#[@?$%]*#|\$\$")
_NOT_PLAIN = re.compile(r"[|^$*/@]|^[.-]|[.-]$")
_NAME = re.compile(r"(?P<bars>\|\|?|(?:http)?://)(?P<name>[^\^|$/*]+)(?:\^\|?|(?P<pipe>\|)|/\*)")
_URL = re.compile(r"(?:http)?://|/(?=[a-z0-9.-]+\.$)", re.I)  # the engine puts http:// before the name for these alone
_NUMERIC = re.compile(r"[0-9.:*^|\[\]]*[0-9][0-9.:*^|\[\]]*")
_TAG = re.compile(r"[a-z0-9_]+")
_HOST = re.compile(r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)*\.?", re.I)
_KEYWORDS = {"NOERROR": "NODATA", "NXDOMAIN": "NXDOMAIN", "REFUSED": "REFUSED"}
_REWRITTEN = {"A", "AAAA", "CNAME", "HTTPS", "MX", "PTR", "SRV", "SVCB", "TXT"}
_BAD = (BadPattern, BadName, BadRecord)


class _Unsaid(BadPattern):
    """A rule that says nothing here."""


def read_line(line: str) -> Iterator[Rule | Special | Disabled | str]:
    if line.startswith(("!", "[Adblock")):
        return
    if _COSMETIC.search(line) and not line.startswith(("/", "@@/")):
        yield "a cosmetic rule, which means nothing in DNS"
        return
    if line.startswith("#"):
        return
    pattern = line.partition("$")[0].strip()
    if " " in pattern or "\t" in pattern:
        name, *rest = uncomment(line).split() or [line]
        yield from hosts.read_line(line) if rest else [rule(name, EXACT)]
    elif _NOT_PLAIN.search(line):
        try:
            yield _rule(line)
        except _BAD as error:
            yield str(error)
    else:
        yield rule(line, EXACT)


def _rule(line: str) -> Rule | Special | Disabled:
    stated = line.removeprefix("@@")
    pattern, modifiers = _split(stated)
    values = dict(modifier.partition("=")[::2] for modifier in modifiers)
    if unknown := [name for name in values if name not in _MODIFIERS]:
        raise _Unsaid(f"the modifier ${unknown[0][:20]}")
    allow = stated != line
    fields: dict[str, Any] = {}
    for name, value in values.items():
        field, read = _MODIFIERS[name]
        if read is not None:
            fields[field] = tuple(sorted(_entry(entry, name, read) for entry in set(_parts(value, "|"))))
            if not fields[field]:
                raise _Unsaid(f"an empty ${name}")
    if "dnsrewrite" in values:
        fields["answer"] = _answer(values["dnsrewrite"], allow)
    found = _matched(pattern, allow, Rank("important" in values))
    if isinstance(found, Special):
        found = found._replace(**fields)
        if not (found.conditional or allow) and (len(pattern) < 3 or everything(found.what)):
            raise _Unsaid("a pattern that finds every name")
    elif fields:
        found = Special(0, On.NAME, *found, **fields)
    return Disabled(found) if "badfilter" in values else found


def _matched(pattern: str, allow: bool, rank: Rank) -> Rule | Special:
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return Special(0, On.PATTERN, expression(pattern[1:-1]), Kind(Scope.EXACT, allow, rank))
    if match := _NAME.fullmatch(pattern):
        scope = Scope.TREE if match["bars"] == "||" else Scope.EXACT
        return Rule(parse_name(match["name"]), Kind(scope, allow, rank))
    if _NUMERIC.fullmatch(pattern):
        raise _Unsaid("an address, not a name")
    pattern = re.sub(r"/\*$", "^", _URL.sub("|", pattern, count=1))
    return Special(0, On.PATTERN, mask(pattern), Kind(Scope.EXACT, allow, rank))


def _split(stated: str) -> tuple[str, list[str]]:
    """Pattern and modifiers. As in the engine, the last dollar sign divides, unless a backslash stands before it; an
    expression that ends the line has none."""
    if len(stated) > 1 and stated.startswith("/") and stated.endswith("/"):
        return stated, []
    at = stated.rfind("$", 0, -1)
    if at > 0 and stated[at - 1] == "\\":
        at = stated.rfind("$", 0, at)  # the engine steps over one such sign only
    return (stated, []) if at < 0 else (stated[:at], list(_parts(stated[at + 1 :].replace("\\$", "$"), ",")))


def _parts(value: str, separator: str) -> Iterator[str]:
    """``value`` without empty parts, split where no backslash stands before the separator."""
    for part in re.split(rf"(?<!\\){re.escape(separator)}", value):
        if part:
            yield part.replace(f"\\{separator}", separator)


def _entry(entry: str, modifier: str, read: Callable[[str], str]) -> str:
    value = entry.removeprefix("~")
    if modifier == "denyallow" and value != entry:
        raise _Unsaid("a $denyallow with an exclusion")
    return ("~" if value != entry else "") + read(value)


def _client(value: str) -> str:
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1].replace(f"\\{value[0]}", value[0])
    try:
        return str(ip_address(value)) if "/" not in value else str(ip_network(value, strict=False))
    except ValueError:
        if not value or value.startswith("~"):
            raise _Unsaid("a $client that is not understood") from None
        return value


def _type(value: str) -> str:
    if value.upper() not in TYPES:
        raise _Unsaid("a $dnstype that is not understood")
    return value.upper()


def _tag(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise _Unsaid("a $ctag that is not understood")
    return value


#: Modifiers with the field that each fills, and what reads one of its values.
_MODIFIERS: dict[str, tuple[str, Callable[[str], str] | None]] = {
    "important": ("", None),
    "badfilter": ("", None),
    "dnsrewrite": ("", None),
    "denyallow": ("except_names", partial(parse_name, single=True)),
    "dnstype": ("types", _type),
    "client": ("clients", _client),
    "ctag": ("tags", _tag),
}


def _answer(value: str, allow: bool) -> str:
    rcode, rtype, data = _rewrite(value)
    if rtype or data:
        return record(rtype, data)
    if rcode not in _KEYWORDS:
        raise _Unsaid("a $dnsrewrite that is not understood")
    return ANY_ANSWER if allow and rcode == "NOERROR" else _KEYWORDS[rcode]


def _rewrite(value: str) -> tuple[str, str, str]:
    """(response code, record type, data) of the short form and of the full one."""
    parts = value.split(";", 2)
    if len(parts) == 3:
        rcode, rtype, data = parts[0].upper(), parts[1].upper(), parts[2]
        if rcode != "NOERROR" or not (rtype or data):
            return rcode, "", ""
    elif not value or (value.isalpha() and value.isupper()):
        return value or "NOERROR", "", ""
    else:
        try:
            rcode, rtype, data = "NOERROR", "A" if ip_address(value).version == 4 else "AAAA", value
        except ValueError:
            rcode, rtype, data = "NOERROR", "CNAME", value
    if rtype not in _REWRITTEN:
        raise _Unsaid("a $dnsrewrite that is not understood")
    if rtype in ("HTTPS", "SVCB") and any(pair.count("=") != 1 for pair in data.split(" ")[2:]):
        raise _Unsaid(f"a record of the type {rtype} that is not understood")
    if rtype in ("CNAME", "PTR") and not _HOST.fullmatch(data):
        raise _Unsaid("a $dnsrewrite to what is no host name")
    return rcode, rtype, quoted(data) if rtype == "TXT" else data


def special(stated: Special) -> str | None:
    """The lines that mean ``stated``: one for each record of its answer."""
    match stated.on, stated.kind.scope:
        case On.NAME, Scope.TREE:
            pattern = f"||{stated.what}^"
        case On.NAME, Scope.EXACT:
            pattern = f"|{stated.what}^"
        case On.PATTERN, _:
            pattern = f"/{stated.what}/"
        case _:
            return None
    modifiers = ["important"] * (stated.kind.rank is Rank.IMPORTANT)
    for name, values in (("denyallow", stated.except_names), ("dnstype", stated.types), ("ctag", stated.tags)):
        modifiers += [f"{name}={'|'.join(values)}"] * bool(values)
    modifiers += [f"client={'|'.join(map(_client_text, stated.clients))}"] * bool(stated.clients)
    lines: list[str] = []
    back: list[object] = []
    for answer in stated.answer.split("\n"):
        told = ",".join([*modifiers, *_rewrite_text(answer)])
        lines.append(("@@" if stated.kind.allow else "") + pattern + (f"${told}" if told else ""))
        back += read_line(lines[-1])
    # What the engine would read otherwise, however written, is not said at all.
    wanted: list[object] = [stated._replace(line=0, answer=answer) for answer in stated.answer.split("\n")]
    return "\n".join(lines) if back == wanted and "\n" not in "".join(lines) else None


def _client_text(client: str) -> str:
    value = client.removeprefix("~")
    if not re.fullmatch(r"[\w.:/-]+", value):
        value = "'" + re.sub(r"(['|,$])", r"\\\1", value) + "'"
    return client[: len(client) - len(client.removeprefix("~"))] + value


def _rewrite_text(answer: str) -> list[str]:
    rtype, _, data = answer.partition(" ")
    if not answer or answer == ANY_ANSWER:
        return ["dnsrewrite"] * bool(answer)
    if data:
        value = f"NOERROR;{rtype};{text(data) if rtype == 'TXT' else data}"
    else:
        value = next((keyword for keyword, known in _KEYWORDS.items() if known == answer), answer)
    return ["dnsrewrite=" + value.replace(",", "\\,").replace("$", "\\$")]


FORMAT = Format(
    name="adblock",
    title="AdGuard DNS filter",
    use="AdGuard Home: Filters, DNS blocklists, Add blocklist",
    suffix="txt",
    comment="!",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines=_LINES,
    special=special,
    answers_first=True,
)
