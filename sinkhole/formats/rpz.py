"""Response policy zones: QNAME triggers with the NXDOMAIN, NODATA, DROP and PASSTHRU actions.

Source: https://datatracker.ietf.org/doc/html/draft-vixie-dnsop-dns-rpz-00 (sections 3 and 4). Owners are relative
to the zone. Inside a zone the most specific owner wins; a block below a pass-through is therefore read at a higher
rank, so that it still wins over it in a list where exceptions beat blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import PLAIN, Bulk, read_lines, rule
from sinkhole.names import lineage
from sinkhole.rules import Kind, Parsed, Rank, Rule, Scope

_TTL_CLASS = rb"[ \t]++(?:\d+[ \t]++)?(?:IN[ \t]++)?CNAME[ \t]++"
_NO_TRIGGER = rb"(?<!\.rpz-ip)(?<!\.rpz-client-ip)(?<!\.rpz-nsdname)(?<!\.rpz-nsip)"
_END = rb"[ \t]*+(?:;[^\n]*+)?$"
_TARGETS = {".": False, "*.": False, "rpz-drop.": False, "rpz-passthru.": True}


def _bulk(star: bytes, target: bytes, kind: Kind) -> Bulk:
    pattern = rb"^" + star + rb"(" + PLAIN + rb")" + _NO_TRIGGER + _TTL_CLASS + target + _END
    return Bulk(re.compile(pattern, re.M | re.I), kind)


_BULKS = tuple(
    _bulk(star, target, Kind(scope, allow))
    for target, allow in ((rb"\.", False), (rb"rpz-passthru\.", True))
    for star, scope in ((rb"", Scope.EXACT), (rb"\*\.", Scope.SUBDOMAINS))
)
_TRIGGER = re.compile(r"(?:^|\.)(rpz-(?:ip|client-ip|nsdname|nsip))$", re.I)
_ORIGIN = re.compile(rb"^\$ORIGIN[ \t]+(\S+)", re.M | re.I)
_SOA = re.compile(rb"^([^\s;@]+\.)[ \t]+(?:\d+[ \t]+)?(?:IN[ \t]+)?SOA\b", re.M | re.I)
_OWNERLESS = re.compile(r"(?:IN|CNAME|A|AAAA|TXT|MX|SRV|NS|SOA|\d+)\s", re.I)
_RECORD = re.compile(r"(?P<owner>\S+)\s+(?:\d+\w?\s+)?(?:IN\s+)?(?P<type>[A-Z]\w*)\s+(?P<data>.+)", re.I)
_SINKS = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})


def read(text: bytes) -> Parsed:
    """The rules of a policy zone; a zone that changes its ``$ORIGIN`` on the way is read record by record."""
    bulks = _BULKS if len(_ORIGIN.findall(text)) < 2 else ()
    parsed = read_lines(text, bulks, _Zone(_zone(text)).read_line)
    _nest(parsed)
    return parsed


def _zone(text: bytes) -> str:
    found = _ORIGIN.search(text) or _SOA.search(text)
    return found[1].decode("latin-1").lower().strip(".") if found else ""


def _context(text: bytes) -> bytes:
    zone = _zone(text)
    return f"$ORIGIN {zone}.\n".encode() if zone else b""


class _Zone:
    """A zone file's state from line to line: origin, last owner, and whether a parenthesis is open."""

    def __init__(self, zone: str) -> None:
        self.zone = self.origin = zone
        self.owner = "@"
        self.open = False

    def read_line(self, line: str) -> Iterator[Rule | str]:
        text = line.partition(";")[0].strip()
        inside, self.open = self.open, "(" in text or (self.open and ")" not in text)
        if inside or not text:
            return
        self.open = self.open and ")" not in text
        if text.startswith("$"):
            directive, _, value = text.partition(" ")
            if directive.upper() == "$ORIGIN":
                self.origin = value.strip().lower().strip(".")
            elif directive.upper() != "$TTL":
                yield f"the directive {directive[:20]}"
            return
        if _OWNERLESS.match(text):
            text = f"{self.owner} {text}"
        if not (match := _RECORD.fullmatch(text)):
            yield "not a record"
            return
        self.owner = match["owner"]
        owner = self._relative(match["owner"].lower())
        if owner is None:
            yield "outside the zone"
        elif owner:
            yield _record(owner, match["type"].upper(), match["data"].strip().lower())

    def _relative(self, owner: str) -> str | None:
        """``owner`` relative to the zone's apex: empty for the apex, None outside of the zone."""
        if not owner.endswith("."):
            full = self.origin if owner == "@" else f"{owner}.{self.origin}".rstrip(".")
        else:
            full = owner.rstrip(".")
        if full == self.zone:
            return ""
        if not self.zone:
            return full
        return full.removesuffix("." + self.zone) if full.endswith("." + self.zone) else None


def _record(owner: str, rtype: str, data: str) -> Rule | str:
    if trigger := _TRIGGER.search(owner):
        return f"a trigger of kind {trigger[1]}"
    if owner == "*":
        return "the root wildcard"
    scope = Scope.SUBDOMAINS if owner.startswith("*.") else Scope.EXACT
    name = owner.removeprefix("*.")
    if rtype == "CNAME" and data in _TARGETS:
        return rule(name, Kind(scope, allow=_TARGETS[data]))
    if rtype == "CNAME" and data.rstrip(".") == owner:  # the oldest way to write a pass-through
        return rule(name, Kind(scope, allow=True))
    if rtype in ("A", "AAAA") and data in _SINKS:
        return rule(name, Kind(scope))
    if rtype == "CNAME" and data.startswith("rpz-") and data.count(".") == 1:
        return f"the action {data[:20]}"
    return "local data"


def _nest(parsed: Parsed) -> None:
    """Raise the rank of rules that stand below a rule of the other action, so that the most specific wins."""
    for allow, rank in ((False, Rank.FEED), (True, Rank.IMPORTANT)):
        above = {
            name
            for kind, names in parsed.names.items()
            if kind.allow is not allow and kind.rank is rank and kind.scope & Scope.SUBDOMAINS
            for name in names
        }
        if not above:
            return
        for scope in (Scope.EXACT, Scope.SUBDOMAINS):
            names = parsed.names.get(Kind(scope, allow), [])
            nested = {name for name in names if _below(name, above)}
            if nested:
                parsed.names[Kind(scope, allow)] = [name for name in names if name not in nested]
                parsed.names.setdefault(Kind(scope, allow, Rank.IMPORTANT), []).extend(sorted(nested))


def _below(name: bytes, above: set[bytes]) -> bool:
    return any(parent.encode() in above for parent in list(lineage(name.decode()))[1:])


def _start(header: Header) -> bytes:
    """TTL, SOA and NS of the zone (RFC 1035 5.1). Nobody asks these servers: a policy zone is never delegated."""
    soa = f"@ SOA localhost. hostmaster.localhost. {header.serial} 3600 600 604800 60"
    return f"$TTL 60\n{soa}\n@ NS localhost.\n".encode()


FORMAT = Format(
    name="rpz",
    title="response policy zone",
    suffix="zone",
    comment=";",
    read=read,
    lines={
        Kind(Scope.EXACT): b"%s CNAME .",
        Kind(Scope.SUBDOMAINS): b"*.%s CNAME .",
        Kind(Scope.EXACT, allow=True): b"%s CNAME rpz-passthru.",
        Kind(Scope.SUBDOMAINS, allow=True): b"*.%s CNAME rpz-passthru.",
    },
    nested=True,
    max_name=200,  # leaves 53 octets for the name of the zone it is loaded into (RFC 1035 2.3.4: 255 in all)
    start=_start,
    context=_context,
)
