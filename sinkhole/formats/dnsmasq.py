"""dnsmasq configuration: ``local=/name/``, ``server=/name/`` and ``address=/name/#`` block a tree.

Source: https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html. The most specific domain wins; ``/*.name/`` is
everything below a name and not the name (dnsmasq 2.86 and later), and ``#`` as a server is an exception. Three flavours
differ in the answer: ``local`` and ``server`` give NXDOMAIN, and state a name alone as its tree with an exception
below; ``address`` with ``#`` gives 0.0.0.0 and ``::``, and states a name alone with ``host-record``. Both leave every
other type to the upstream, so ``local`` stands beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from sinkhole.formats.format import Format
from sinkhole.formats.hosts import SINKS
from sinkhole.formats.nesting import nest
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Parsed, Rule, Scope

TREE, BELOW, EXACT = Kind(Scope.TREE), Kind(Scope.SUBDOMAINS), Kind(Scope.EXACT)
ALLOW_TREE, ALLOW_BELOW = Kind(Scope.TREE, allow=True), Kind(Scope.SUBDOMAINS, allow=True)
_BULKS = (
    bulk(rb"(?:local|server)=/", rb"/", TREE),
    bulk(rb"address=/", rb"/(?:#|0\.0\.0\.0|::)?", TREE),
    bulk(rb"(?:local|server)=/\*\.", rb"/", BELOW),
    bulk(rb"address=/\*\.", rb"/(?:#|0\.0\.0\.0|::)?", BELOW),
    bulk(rb"server=/", rb"/#", ALLOW_TREE),
    bulk(rb"server=/\*\.", rb"/#", ALLOW_BELOW),
)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_DOMAINS = re.compile(r"(?P<option>local|server|address)\s*=\s*/(?P<names>.*)/(?P<to>[^/]*)")
_HOST = re.compile(r"host-record\s*=\s*(?P<fields>.+)")
_OPTION = re.compile(r"([a-z0-9-]+)\s*(?:=|$)")


def read(text: bytes) -> Parsed:
    parsed = read_lines(text, _BULKS, read_line)
    nest(parsed)
    return parsed


def read_line(line: str) -> Iterator[Rule | str]:
    text = _COMMENT.sub("", line)
    if not text:
        return
    if match := _DOMAINS.fullmatch(text):
        yield from _domains(match["option"], match["names"].split("/"), match["to"].strip())
    elif match := _HOST.fullmatch(text):
        yield from _host(match["fields"].split(","))
    elif match := _OPTION.match(text):
        yield f"the option {match[1][:20]}"
    else:
        yield "not an option"


def _domains(option: str, names: list[str], to: str) -> Iterator[Rule | str]:
    allow = option != "address" and to == "#"
    if to and not allow and option != "address":
        yield "a server to ask"
        return
    if to and not allow and to != "#" and to not in SINKS:
        yield "not a sink address"
        return
    for name in names:
        if name.startswith("*") and not name.startswith("*."):
            yield "every name" if name == "*" else "a pattern, not a name"
        elif name in ("", "#"):
            yield "every name" if name else "names of one label"
        else:
            yield rule(name.removeprefix("*").removeprefix("."), Kind(_scope(name), allow))


def _scope(name: str) -> Scope:
    return Scope.SUBDOMAINS if name.startswith("*.") else Scope.TREE


def _host(fields: list[str]) -> Iterator[Rule | str]:
    values = [field.strip() for field in fields]
    addresses = [value for value in values if ":" in value or re.fullmatch(r"\d+\.[\d.]+", value)]
    if not addresses or not SINKS.issuperset(addresses):
        yield "not a sink address"
        return
    yield from (rule(value, EXACT) for value in values if value not in addresses and not value.isdigit())


def _flavour(
    name: str, title: str, block: bytes, to: bytes, more: Mapping[Kind, bytes] = MappingProxyType({})
) -> Format:
    return Format(
        name=name,
        title=title,
        use="dnsmasq: conf-file=FILE",
        suffix="conf",
        comment="#",
        read=read,
        lines={
            TREE: block + b"=/%s/" + to,
            BELOW: block + b"=/*.%s/" + to,
            ALLOW_TREE: b"server=/%s/#",
            ALLOW_BELOW: b"server=/*.%s/#",
            **more,
        },
        closest=True,
    )


#: Of other types than addresses only ``local`` keeps a query from going on, HTTPS (RFC 9460) among them.
_NULL = {
    TREE: b"address=/%s/#\nlocal=/%s/",
    BELOW: b"address=/*.%s/#\nlocal=/*.%s/",
    EXACT: b"host-record=%s,0.0.0.0,::\nlocal=/%s/\nserver=/*.%s/#",
}
FORMAT = _flavour("dnsmasq", "dnsmasq configuration", b"local", b"")
ADDRESS = _flavour("dnsmasq-address", "dnsmasq configuration (null addresses)", b"address", b"#", _NULL)
SERVER = _flavour("dnsmasq-server", "dnsmasq configuration (server)", b"server", b"")
