"""Response policy zones: every trigger and every action.

Source: https://datatracker.ietf.org/doc/html/draft-vixie-dnsop-dns-rpz-00 (sections 3 and 4). Owners are relative
to the zone. Inside a zone the most specific owner wins; a block below a pass-through is therefore read at a higher
rank, so that it still wins over it in a list where exceptions beat blocks. A client's address is looked at before any
name, so rules on it are read at the higher rank too.

``CNAME .`` is a block with the answer of the policy; NODATA, DROP, TCP-only and local data are special rules. The
records of one owner are one answer; a CNAME that is not alone at its owner is skipped, and so is what follows one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network

from sinkhole.formats.format import Format, Header
from sinkhole.formats.nesting import nest
from sinkhole.formats.reading import PLAIN, Bulk, read_lines, rule
from sinkhole.formats.records import BadRecord, absolute, record
from sinkhole.names import lineage
from sinkhole.rules import Kind, On, Parsed, Rank, Rule, Scope, Special

_TTL_CLASS = rb"[ \t]++(?:\d+[ \t]++)?(?:IN[ \t]++)?CNAME[ \t]++"
_NO_TRIGGER = rb"(?<!\.rpz-ip)(?<!\.rpz-client-ip)(?<!\.rpz-nsdname)(?<!\.rpz-nsip)"
_END = rb"[ \t]*+(?:;[^\n]*+)?$"
_MAX_NAME = 200  # leaves 53 octets for the name of the zone it is loaded into (RFC 1035 2.3.4: 255 in all)


def _bulk(star: bytes, target: bytes, kind: Kind) -> Bulk:
    pattern = rb"^" + star + rb"(" + PLAIN + rb")" + _NO_TRIGGER + _TTL_CLASS + target + _END
    return Bulk(re.compile(pattern, re.M | re.I), kind)


_BULKS = tuple(
    _bulk(star, target, Kind(scope, allow))
    for target, allow in ((rb"\.", False), (rb"rpz-passthru\.", True))
    for star, scope in ((rb"", Scope.EXACT), (rb"\*\.", Scope.SUBDOMAINS))
)
_TRIGGERS = {
    "rpz-ip": On.ADDRESS,
    "rpz-client-ip": On.CLIENT,
    "rpz-nsdname": On.SERVER_NAME,
    "rpz-nsip": On.SERVER_ADDRESS,
}
_LABELS = {on: label for label, on in _TRIGGERS.items()}
_NETWORKS = (On.ADDRESS, On.CLIENT, On.SERVER_ADDRESS)
_ACTIONS = {".": "", "*.": "NODATA", "rpz-drop.": "DROP", "rpz-tcp-only.": "TCP-ONLY"}
_TARGETS = {answer: target for target, answer in _ACTIONS.items()}
_PASS = "rpz-passthru."
_NO_POLICY = frozenset(re.findall(r"\w+", "SOA NS RRSIG NSEC NSEC3 NSEC3PARAM DNSKEY DS CDS CDNSKEY"))
_ORIGIN = re.compile(rb"^\$ORIGIN[ \t]+(\S+)", re.M | re.I)
_SOA = re.compile(rb"^([^\s;@]+\.)[ \t]+(?:\d+[ \t]+)?(?:IN[ \t]+)?SOA\b", re.M | re.I)
_OWNERLESS = re.compile(r"(?:IN|CNAME|A|AAAA|TXT|MX|SRV|NS|SOA|\d+)\s", re.I)
_RECORD = re.compile(r"(?P<owner>\S+)\s+(?:\d+\w?\s+)?(?:IN\s+)?(?P<type>[A-Z][A-Z0-9-]*)\s+(?P<data>.+)", re.I)
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|;.*')
_SINKS = frozenset({"A 0.0.0.0", "A 127.0.0.1", "AAAA ::", "AAAA ::1"})


def read(text: bytes) -> Parsed:
    """The rules of a policy zone; a zone that changes its ``$ORIGIN`` on the way is read record by record."""
    bulks = _BULKS if len(_ORIGIN.findall(text)) < 2 else ()
    parsed = read_lines(text, bulks, _Zone(_zone(text)).read_line)
    if parsed.special:
        _gather(parsed)
    nest(parsed)
    if parsed.special:
        _nest_special(parsed)
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

    def read_line(self, line: str) -> Iterator[Rule | Special | str]:
        text = _COMMENT.sub(r"\1", line).strip()
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
            yield _record(owner, match["type"].upper(), match["data"].strip(), self.origin)

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


def _record(owner: str, rtype: str, data: str, origin: str) -> Rule | Special | str:
    if rtype in _NO_POLICY:
        return f"a record of the type {rtype}, which is no policy"
    target = data.lower() if rtype == "CNAME" else ""
    if target.startswith("rpz-") and target.count(".") == 1 and target not in (*_ACTIONS, _PASS):
        return f"the action {target[:20]}"
    # The oldest way to write a pass-through names the owner itself.
    allow = target == _PASS or target.removesuffix(".") == owner
    try:
        answer = _ACTIONS.get(target) if target and not allow else ""
        if answer is None or not target:
            answer = "NODATA" if rtype == "DNAME" else record(rtype, data, origin)
    except BadRecord as error:
        return str(error)
    trigger = _TRIGGERS.get(owner.rpartition(".")[2])
    on = trigger or On.NAME
    rank = Rank.IMPORTANT if on is On.CLIENT else Rank.FEED
    if on in _NETWORKS:
        network = _network(owner.split(".")[:-1])
        return Special(0, on, network, Kind(Scope.EXACT, allow, rank), answer=answer) if network else "not a network"
    name = owner.removesuffix(f".{_LABELS[on]}") if trigger else owner
    if name == "*":
        return "the root wildcard"
    found = rule(name.removeprefix("*."), Kind(Scope.SUBDOMAINS if name.startswith("*.") else Scope.EXACT, allow, rank))
    if isinstance(found, str) or (on is On.NAME and not answer):
        return found
    return Special(0, on, found.name, found.kind, answer=answer)


def _network(labels: list[str]) -> str:
    """The network of a trigger's labels, which stand from the narrowest up: ``24.0.2.0.192``, ``32.zz.db8.2001``.

    Empty for what is none: a bad prefix length, an octet or word out of range, bits behind the prefix. A word may have
    leading zeros and any run of zeros may be written as ``zz``, which not every server takes.
    """
    prefix, *parts = labels
    decimal = all(re.fullmatch(r"0|[1-9]\d{0,2}", part) for part in labels)
    text = ".".join(reversed(parts)) if decimal and len(parts) == 4 else _words(parts[::-1])
    try:
        return str(ip_network(f"{text}/{prefix}")) if text and re.fullmatch(r"[1-9]\d{0,2}", prefix) else ""
    except ValueError:
        return ""


def _words(parts: list[str]) -> str:
    text = ":".join(parts)
    if parts.count("zz") > 1 or not re.fullmatch(r"(?:(?:[0-9a-f]{1,4}|zz)(?::|$))+", text):
        return ""
    return re.sub(r":?\bzz\b:?", "::", text)


def _owner(on: On, network: IPv4Network | IPv6Network) -> str:
    """The owner of a network, in the one spelling that every server takes."""
    if isinstance(network, IPv4Network):
        parts = str(network.network_address).split(".")
    else:
        parts = [part or "zz" for part in str(network.network_address).replace("::", ":zz:").strip(":").split(":")]
    return ".".join([str(network.prefixlen), *reversed(parts), _LABELS[on]])


def _gather(parsed: Parsed) -> None:
    """Make one rule of the records of each owner, and one of a name and all below it with the same answer."""
    taken = {(name, scope) for kind, names in parsed.names.items() for scope in kind.scope for name in names}
    owners: dict[tuple[On, str, Kind], Special] = {}
    for found in parsed.special:
        key = found[1:4]
        first = owners.get(key)
        plain = found.on is On.NAME and (found.what.encode(), found.kind.scope) in taken
        if plain or (first and not (_data(found) and _data(first))):
            parsed.skip(found.line, str(found), "a second rule of one owner")
        elif not first:
            owners[key] = found
        elif found.answer not in first.answer.split("\n"):
            owners[key] = first._replace(answer=f"{first.answer}\n{found.answer}")
    parsed.special = []
    for (on, what, kind), found in owners.items():
        if on is On.NAME and _SINKS.issuperset(found.answer.split("\n")):
            parsed.add(Rule(what, kind))
            continue
        other = owners.get((on, what, kind._replace(scope=kind.scope ^ Scope.TREE)))
        if on in (On.NAME, On.SERVER_NAME) and other and other.answer == found.answer:
            if kind.scope == Scope.EXACT:
                parsed.special.append(found._replace(kind=kind._replace(scope=Scope.TREE)))
        else:
            parsed.special.append(found)


def _data(found: Special) -> bool:
    """Whether a rule's answer is local data to which more may be added."""
    return " " in found.answer and not found.answer.startswith("CNAME ")


def _nest_special(parsed: Parsed) -> None:
    """Raise the rank of special blocks below a pass-through, and of pass-throughs below those."""
    passes = _below(parsed.names, allow=True)
    networks = {(found.on, found.what) for found in parsed.special if found.on in _NETWORKS and found.kind.allow}
    parsed.special = [
        found._replace(kind=found.kind._replace(rank=Rank.IMPORTANT))
        if not found.kind.allow and (_under(found, passes) or _inside(found, networks))
        else found
        for found in parsed.special
    ]
    raised = {
        found.what.encode()
        for found in parsed.special
        if found.on is On.NAME and found.kind.rank is Rank.IMPORTANT and found.kind.scope & Scope.SUBDOMAINS
    }
    for scope in (Scope.EXACT, Scope.SUBDOMAINS) if raised else ():
        names = parsed.names.get(Kind(scope, allow=True), [])
        nested = {name for name in names if any(above in raised for above in _above(name.decode()))}
        parsed.names[Kind(scope, allow=True)] = [name for name in names if name not in nested]
        parsed.names.setdefault(Kind(scope, True, Rank.IMPORTANT), []).extend(sorted(nested))


def _below(names: dict[Kind, list[bytes]], *, allow: bool) -> set[bytes]:
    return {
        name for kind, found in names.items() if kind.allow is allow and kind.scope & Scope.SUBDOMAINS for name in found
    }


def _above(name: str) -> Iterator[bytes]:
    return (parent.encode() for parent in list(lineage(name))[1:])


def _under(found: Special, passes: set[bytes]) -> bool:
    return found.on is On.NAME and any(above in passes for above in _above(found.what))


def _inside(found: Special, networks: Iterable[tuple[On, str]]) -> bool:
    if found.on not in _NETWORKS or not networks:
        return False
    network = ip_network(found.what)
    return any((found.on, str(network.supernet(new_prefix=size))) in networks for size in range(1, network.prefixlen))


def special(stated: Special) -> str | None:
    """The records that mean ``stated``, whatever its rank: inside a zone the owner decides."""
    if stated.conditional or stated.on in (On.PATTERN, On.NOT_PATTERN) or len(stated.what) > _MAX_NAME:
        return None
    if stated.on in (On.NAME, On.SERVER_NAME) and not all(
        map(partial(_checked, stated.what), stated.answer.split("\n"))
    ):
        return None
    if stated.on in _NETWORKS:
        owners = [_owner(stated.on, ip_network(stated.what))]
    else:
        name = stated.what if stated.on is On.NAME else f"{stated.what}.{_LABELS[stated.on]}"
        owners = [
            star + name for scope, star in ((Scope.EXACT, ""), (Scope.SUBDOMAINS, "*.")) if stated.kind.scope & scope
        ]
    if stated.kind.allow:
        records = [f"CNAME {_PASS}"] * (stated.answer == "")
    elif stated.answer in _TARGETS:
        records = [f"CNAME {_TARGETS[stated.answer]}"]
    else:
        records = [absolute(answer) for answer in stated.answer.split("\n")]
    text = "\n".join(f"{owner} {data}" for owner in owners for data in records)
    back = read(text.encode()).special
    return text if [_ranked(found) for found in back] == [_ranked(stated)] else None


#: Types of which BIND wants the owner, or a name in the data, to be a host's (its ``check-names``), else it loads no
#: record of the whole zone.
_OWNER_IS_HOST = frozenset(("A", "AAAA", "MX"))
_TARGET_IS_HOST = frozenset(("MX", "NS", "SRV"))
_IS_HOST = re.compile(r"\.|[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


def _checked(owner: str, answer: str) -> bool:
    """Whether every server loads a record at ``owner``."""
    rtype, _, data = answer.partition(" ")
    last = data.rpartition(" ")[2]
    return (rtype not in _OWNER_IS_HOST or _IS_HOST.fullmatch(owner) is not None) and (
        rtype not in _TARGET_IS_HOST or _IS_HOST.fullmatch(last) is not None
    )


def _ranked(found: Special) -> Special:
    return found._replace(line=0, kind=found.kind._replace(rank=Rank.FEED))


def serial_after(former: int, wanted: int, *, same: bool) -> int:
    """The serial of a zone whose file had ``former``: ``wanted`` when that comes after it (RFC 1982 3.2), else the next
    one, or ``former`` itself for the ``same`` content. Never 0, which some servers take for none."""
    former %= 1 << 32
    if 0 < (wanted - former) % (1 << 32) < 1 << 31:
        return wanted % (1 << 32) or 1
    return former if same else (former + 1) % (1 << 32) or 1


def _start(header: Header) -> bytes:
    """TTL, SOA and NS of the zone (RFC 1035 5.1). Nobody asks these servers: a policy zone is never delegated."""
    soa = f"@ SOA localhost. hostmaster.localhost. {header.serial} 3600 600 604800 60"
    return f"$TTL 60\n{soa}\n@ NS localhost.\n".encode()


FORMAT = Format(
    name="rpz",
    title="response policy zone",
    use='BIND: response-policy { zone "NAME"; }; Unbound: rpz: with zonefile: FILE; PowerDNS: rpzFile("FILE")',
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
    max_name=_MAX_NAME,
    start=_start,
    context=_context,
    special=special,
)


def _acting(action: str, told: str, target: bytes) -> Format:
    """The same zone with another action for everything that it blocks."""
    plain, own = b" CNAME .", b" CNAME " + target
    record = re.compile(re.escape(own) + rb"$", re.M)
    return FORMAT._replace(
        name=f"rpz-{action}",
        title=f"response policy zone ({told})",
        read=lambda text: read(record.sub(plain, text)),
        lines={kind: line.replace(plain, own) for kind, line in FORMAT.lines.items()},
        special=partial(_special_of, own.decode()),
        sniffed=False,
    )


def _special_of(action: str, found: Special) -> str | None:
    text = special(found)
    return text if text is None or found.answer or found.kind.allow else text.replace(" CNAME .", action)


#: The other actions that a zone may have for all its names. What software does with an override of the action (BIND's
#: ``policy``, Unbound's ``rpz-action-override``, PowerDNS's ``defpol``) comes to the same. Null addresses are none of
#: them: BIND refuses a zone with addresses at names that no host may have (``check-names``).
ACTIONS = (
    _acting("nodata", "no data", b"*."),
    _acting("drop", "no answer at all", b"rpz-drop."),
    _acting("tcp-only", "over TCP alone", b"rpz-tcp-only."),
)
