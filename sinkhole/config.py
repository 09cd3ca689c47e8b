"""The operator's file, ``sinkhole.yaml``: each key's type, default and documentation in one place.

:func:`load` gives a :class:`Config` with absolute paths and references that exist, or every problem at once.
The JSON Schema (:func:`schema`) and the commented file that ``sinkhole init`` writes (:func:`commented_example`) are
generated from the same models.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import yaml
from dnslib import QTYPE
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StrictBool, StrictInt, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.model import (
    Duration,
    GroupId,
    Id,
    Instant,
    Known,
    ListId,
    Lists,
    ListSpec,
    LocalPath,
    Model,
    Name,
    Names,
    Network,
    PolicyEntry,
    Target,
    Text,
    one_of,
    parse_duration,
)
from sinkhole.document import Document, read_file, unknown, validate
from sinkhole.endpoint import Endpoint as Endpoint
from sinkhole.errors import ConfigError, Problem
from sinkhole.formats import FORMATS
from sinkhole.formats.records import BadRecord, record
from sinkhole.names import BadName, parse_name
from sinkhole.places import state_directory
from sinkhole.policy.verdict import Action
from sinkhole.resolver.access import PRIVATE
from sinkhole.resolver.rdata import encode
from sinkhole.resolver.zones import MAX_ALIASES
from sinkhole.rules import Scope

#: Where a value stands: ``("access", "allow", 0)``.
KeyPath = tuple[str | int, ...]

MODES = ("null-ip", "nxdomain", "nodata", "refused")
STARTUPS = ("serve-last", "fail-closed", "open")
STRATEGIES = ("parallel", "ordered", "random")
#: The port of each way to ask a resolver.
_PORTS = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
_PATH = re.compile(r"/[!-~]*")
#: Bits of the largest networks that any one organisation has, by IP version.
_WIDEST = {4: 8, 6: 16}
#: The types of record that the operator may state, and how many records, of how many octets, for one name.
RECORD_TYPES = ("A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "PTR", "SRV", "SVCB", "TXT")
MAX_RECORDS, MAX_RECORDS_SIZE = 256, 32_768


class Server(NamedTuple):
    """A resolver to forward to. ``udp`` falls back to TCP for truncated answers; ``tcp`` never uses UDP.

    ``host`` is an address, or for ``tls`` and ``https`` also a host name; ``path`` is that of ``https``.
    """

    protocol: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        where = f"{Endpoint(self.host, self.port)}{self.path}"
        return where if self.protocol == "udp" else f"{self.protocol}://{where}"

    @property
    def plain(self) -> bool:
        """Whether it can be asked without knowing an address first, and without a certificate."""
        return self.protocol in ("udp", "tcp")


def _address_and_port(text: str, port: int | None) -> Endpoint:
    """``192.0.2.1``, ``192.0.2.1:53``, ``2001:db8::1``, ``[2001:db8::1]:53``; ``port`` is the default, if any."""
    host, colon, digits = text, "", ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        colon, digits = rest[:1], rest[1:]
    elif text.count(":") == 1:
        host, colon, digits = text.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} has no IP address; write 192.0.2.1:53 or [2001:db8::1]:53") from None
    if not colon and port is not None and (not text.startswith("[") or text.endswith("]")):
        return Endpoint(str(address), port)
    if colon != ":" or not digits.isascii() or not digits.isdigit() or not int(digits[:6]) < 65536 or len(digits) > 5:
        raise ValueError(f"{text!r} has no port from 0 to 65535; write 192.0.2.1:53 or [2001:db8::1]:53")
    return Endpoint(str(address), int(digits))


def parse_endpoint(text: str) -> Endpoint:
    """An address with a port. Raises ValueError with what is allowed."""
    return _address_and_port(text, None)


def parse_server(text: str) -> Server:
    """``192.0.2.1``, ``tcp://192.0.2.1:53``, ``tls://dns.example``, ``https://dns.example/dns-query``; ports may be
    left out. Raises ValueError with what is allowed."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "udp", text
    if scheme not in _PORTS:
        raise ValueError(
            f"{text!r}: {scheme} is not supported; write an address, or one behind tcp://, tls:// or https://"
        )
    rest, slash, path = rest.partition("/")
    if slash and scheme != "https":
        raise ValueError(f"{text!r}: only https:// has a path")
    path = f"/{path}" if slash else "/dns-query" if scheme == "https" else ""
    if path and (not _PATH.fullmatch(path) or set(path) & set("#{}\\")):
        raise ValueError(f"{text!r}: {path!r} is not a path; write https://dns.example/dns-query")
    if scheme in ("udp", "tcp") or rest.startswith("[") or rest.count(":") > 1 or is_address(rest.partition(":")[0]):
        host, port = _address_and_port(rest, _PORTS[scheme])
    else:
        host, port = _host_and_port(text, rest, _PORTS[scheme])
    if not port:
        raise ValueError(f"{text!r}: port 0 is not a server")
    if is_address(host) and (ip_address(host).is_unspecified or ip_address(host).is_multicast):
        raise ValueError(f"{text!r}: {host} is not the address of a server")
    return Server(scheme, host, port, path)


def parse_plain(text: str) -> Server:
    """A server that is asked without encryption. Raises ValueError with what is allowed."""
    server = parse_server(text)
    if not server.plain:
        raise ValueError(f"{text!r}: write an address, or tcp://address: it is asked for the names of the others")
    return server


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host_and_port(text: str, rest: str, port: int) -> Endpoint:
    host, colon, digits = rest.partition(":")
    if colon:
        if not re.fullmatch(r"[0-9]{1,5}", digits) or int(digits) > 65535:
            raise ValueError(f"{text!r} has no port from 0 to 65535")
        port = int(digits)
    try:
        return Endpoint(parse_name(host, single=True), port)
    except BadName as error:
        raise ValueError(f"{text!r}: {host!r} is neither an address nor a host name: {error}") from None


def _parse_timeout(text: str) -> Duration:
    timeout = parse_duration(text)
    if not 0 < timeout <= 60:
        raise ValueError(f"{text!r} is not between 1ms and a minute")
    return timeout


def _parse_client(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def _parse_type(text: str) -> str:
    if not isinstance(QTYPE.reverse.get(text.upper()), int):
        raise ValueError(f"{text!r} is no record type; try A, AAAA or HTTPS")
    return text.upper()


def _parse_domain(text: str) -> str:
    try:
        return parse_name(text, single=True)
    except BadName as error:
        raise ValueError(f"{text!r} is not a domain: {error}") from None


def _check_certificates(path: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"{path} is not a PEM file of certificates") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return path


def _as_mode(value: Any) -> Any:
    if isinstance(value, str) and value in MODES:
        return value
    if isinstance(value, (list, tuple)) and value:
        try:
            return tuple(ip_address(str(address)) for address in value)
        except ValueError as error:
            raise ValueError(f"{error}; write addresses, as in [192.0.2.1, 2001:db8::1]") from None
    if isinstance(value, str):
        raise unknown("mode", value, MODES)
    raise ValueError(f"expected one of {', '.join(MODES)}, or a list of addresses")


def _parse_zone(text: str) -> str:
    try:
        return parse_name(text, single=True)
    except BadName as error:
        raise ValueError(f"{text!r} is not a name: {error}") from None


def _parse_short(text: str) -> str:
    if not 0 < len(text) <= 60 or not text.isprintable():
        raise ValueError(f"{text[:70]!r} is not a text of 1 to 60 printable characters")
    return text


def _parse_record_name(text: str) -> str:
    """A name of one label or more, ``*.`` in front for everything below it."""
    star = "*." if text.startswith("*.") else ""
    return star + _parse_zone(text.removeprefix(star))


def parse_record(text: str) -> str:
    """An address, or ``TYPE data`` as in a zone file with absolute names; the one spelling of the record.

    Raises ValueError with what is allowed.
    """
    try:
        address = ip_address(text.strip())
    except ValueError:
        kind, _, data = text.strip().partition(" ")
    else:
        kind, data = "A" if address.version == 4 else "AAAA", str(address)
    kind = kind.upper()
    if kind not in RECORD_TYPES or (
        kind == "AAAA" and "%" in data
    ):  # an interface of this host means nothing elsewhere
        raise ValueError(f"{text!r} is no record; write an address, or one of {', '.join(RECORD_TYPES)} and its data")
    try:
        found = record(kind, data)
        if found.startswith("CNAME *."):
            raise BadRecord("an alias of a pattern")
        encode(found)
    except ValueError as error:
        raise ValueError(f"{text!r} is {error}") from None
    return found


def _whole(records: tuple[str, ...]) -> tuple[str, ...]:
    """The records that one name may have together (RFC 2181 10.1, and one answer has to hold them)."""
    if len(records) > 1 and any(text.startswith("CNAME ") for text in records):
        raise ValueError("a name with a CNAME has no other record")
    if len(records) > MAX_RECORDS or sum(len(encode(text)[1]) for text in records) > MAX_RECORDS_SIZE:
        raise ValueError(f"more than {MAX_RECORDS} records, or more than {MAX_RECORDS_SIZE} octets of data")
    return records


def _once(records: Any) -> Any:
    """Refuses a name that stands there in two spellings: only one of them would count."""
    if isinstance(records, dict):
        names = Counter(name.lower().removesuffix(".") for name in records if isinstance(name, str))
        if twice := next((name for name, count in names.items() if count > 1), None):
            raise ValueError(f"{twice!r} is there twice, in different spellings")
    return records


def _no_loop(records: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    aliases = {name: stated[0].removeprefix("CNAME ") for name, stated in records.items() if "CNAME" in stated[0][:5]}
    for name in aliases:
        end, steps = name, 0
        while end in aliases and steps <= MAX_ALIASES:
            end, steps = aliases[end], steps + 1
        if steps > MAX_ALIASES:
            raise ValueError(f"the aliases behind {name} end nowhere: a loop, or more than {MAX_ALIASES} of them")
    return records


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_formats(value: Any) -> Any:
    return list(FORMATS) if value == "all" else value


class Command(tuple[str, ...]):
    """The words of a command that no shell reads."""

    def __str__(self) -> str:
        return shlex.join(self)


def _parse_command(text: str) -> Command:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a command: {error}") from None
    if not words or not text.isprintable():
        raise ValueError(f"{text!r} is not a command; write a program and its arguments")
    if odd := next((word for word in words if word in _SHELL), None):
        raise ValueError(f"{odd!r} means something to a shell, and none reads this; write a script and name it here")
    return Command(words)


#: Words that only a shell understands.
_SHELL = frozenset(("|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"))


def _not_all(groups: dict[str, Group]) -> dict[str, Group]:
    if "all" in groups:
        raise ValueError("the group `all` is everyone and cannot be defined")
    return groups


Connections = Annotated[StrictInt, Field(ge=1, le=100_000)]
Mode = Annotated[
    Literal["null-ip", "nxdomain", "nodata", "refused"] | tuple[IPv4Address | IPv6Address, ...],
    BeforeValidator(_as_mode),
]
LocalName = Annotated[str, Text(_parse_zone)]
ShortText = Annotated[str, Text(_parse_short)]
Records = Annotated[
    dict[
        Annotated[str, Text(_parse_record_name)],
        Annotated[tuple[Annotated[str, Text(parse_record)], ...], Field(min_length=1), AfterValidator(_whole)],
    ],
    BeforeValidator(_once),
    AfterValidator(_no_loop),
]
ExportFormats = Annotated[
    tuple[Annotated[str, one_of(*FORMATS)], ...],
    BeforeValidator(_as_formats, json_schema_input_type=Literal["all"] | list[str]),
]


ServerText = Annotated[Server, Text(parse_server)]
#: Servers in one list, and conditional routes.
MAX_SERVERS, MAX_ROUTES = 32, 1000


class Listen(Model):
    """Where queries are taken."""

    dns: tuple[Annotated[Endpoint, Text(parse_endpoint)], ...] = Field(
        (Endpoint("127.0.0.1", 5353), Endpoint("::1", 5353)),
        min_length=1,
        description="Addresses with ports for DNS over UDP and TCP.",
    )
    dot: tuple[Annotated[Endpoint, Text(parse_endpoint)], ...] = Field(
        (),
        description="Addresses with ports for DNS over TLS, usually port 853; takes `tls`.",
        examples=[["0.0.0.0:853", "[::]:853"]],
    )
    web: Annotated[
        tuple[Annotated[Endpoint, Text(parse_endpoint)], ...],
        BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    ] = Field(
        (),
        description="An address with a port for DNS over HTTPS (`/dns-query`), or several. It is HTTPS with `tls`; "
        "plain HTTP, without, is for loopback addresses.",
        examples=["127.0.0.1:8053"],
    )
    web_plain_http: StrictBool = Field(
        False,
        description="Whether `web` is plain HTTP on any address, and with `tls` too: behind a proxy that does TLS, and "
        "that nobody can go around.",
    )
    connections: Connections = Field(
        1000, description="How many connections over TCP and TLS each worker keeps open, and the web."
    )
    connections_per_client: Connections = Field(100, description="How many of them one address may have.")
    idle_timeout: Annotated[Duration, Text(_parse_timeout, what="a duration such as 10s")] = Field(
        Duration(10), description="How long a connection may do nothing, as in `10s`; at most a minute."
    )


class Tls(Model):
    """What encrypted listeners prove themselves with."""

    cert: LocalPath = Field(description="The certificate and its intermediate ones, in PEM.")
    key: LocalPath = Field(description="Its private key in PEM, without a password.")


class Access(Model):
    """Who may ask."""

    allow: tuple[Network, ...] = Field(
        (),
        min_length=1,
        description="Networks whose clients may ask. Default: loopback, private (10.0.0.0/8, 172.16.0.0/12, "
        "192.168.0.0/16, 100.64.0.0/10, fc00::/7) and link-local ones, and those of `groups`.",
        examples=[["127.0.0.0/8", "::1", "192.0.2.0/24", "2001:db8::/48"]],
    )
    open: StrictBool = Field(
        False, description="Whether everybody may ask. Open resolvers are used to attack others; know why you run one."
    )
    denied: Annotated[Literal["refuse", "drop"], one_of("refuse", "drop")] = Field(
        "refuse", description="What the others get: `refuse` is REFUSED with EDE 18, `drop` is nothing at all."
    )
    proxies: tuple[Network, ...] = Field(
        (),
        description="Forwarders that are believed when they name their client: by EDNS Client Subnet, over HTTP by "
        "X-Forwarded-For or Forwarded. They may ask, without limit. From all others these are ignored, and they are "
        "never passed on.",
        examples=[["192.0.2.1"]],
    )


class RateLimit(Model):
    """How many queries over UDP."""

    queries: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = Field(
        1000,
        description="Queries a second over UDP from one network, in each worker; 0 is no limit. The rest is dropped.",
    )
    ipv4_prefix: Annotated[StrictInt, Field(ge=8, le=32)] = Field(24, description="Bits of an IPv4 network.")
    ipv6_prefix: Annotated[StrictInt, Field(ge=16, le=128)] = Field(56, description="Bits of an IPv6 network.")
    truncate: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        0,
        description="Of the queries beyond the limit every so many-th gets an empty answer that sends real clients to "
        "TCP; 0 is none.",
    )
    exempt: tuple[Network, ...] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1")), description="Networks without a limit."
    )


class Upstream(Model):
    """Who answers what is not blocked."""

    servers: tuple[ServerText, ...] = Field(
        (),
        max_length=MAX_SERVERS,
        description="Resolvers to forward to: an address with or without a port, `tcp://` in front for TCP only; "
        "`tls://` and `https://` with an address or a host name, for DNS over TLS and over HTTPS. "
        "Default: the name servers of /etc/resolv.conf.",
        examples=[["9.9.9.9", "[2620:fe::fe]:53", "tls://dns.quad9.net", "https://dns.quad9.net/dns-query"]],
    )
    strategy: Annotated[str, one_of(*STRATEGIES)] = Field(
        "parallel",
        description="`parallel` asks the fastest and another one at once and takes the first answer, `ordered` one "
        "after the other, `random` a different one each time. Those that do not answer are always asked last.",
    )
    timeout: Annotated[Duration, Text(_parse_timeout, what="a duration such as 2s")] = Field(
        Duration(2),
        description="How long each of them may take, as in `500ms` or `2s`; at most a minute. All together get 7 "
        "seconds at most.",
    )
    conditional: Annotated[
        dict[
            Annotated[str, Text(_parse_domain)],
            Annotated[tuple[ServerText, ...], Field(min_length=1, max_length=MAX_SERVERS)],
        ],
        Field(max_length=MAX_ROUTES),
    ] = Field(
        default_factory=dict,
        description="Other servers for a domain and all below it; the longest domain that fits a name decides.",
        examples=[{"corp.example": ["10.0.0.53"], "10.in-addr.arpa": ["10.0.0.53"]}],
    )
    bootstrap: tuple[Annotated[Server, Text(parse_plain)], ...] = Field(
        (),
        max_length=MAX_SERVERS,
        description="Who is asked for the addresses of host names in `tls://` and `https://`: addresses, or "
        "`tcp://address`. Default: the servers above that are such, else those of /etc/resolv.conf.",
        examples=[["9.9.9.9"]],
    )
    ca: Annotated[LocalPath, AfterValidator(_check_certificates)] | None = Field(
        None,
        description="A PEM file of certificates to trust beside those of the system, for servers of your own.",
        examples=["./own-ca.pem"],
    )


class Blocking(Model):
    """What a blocked name is answered with."""

    mode: Mode = Field(
        "null-ip",
        description="`null-ip` (0.0.0.0 and ::), `nxdomain`, `nodata`, `refused`, or a list of addresses, such as that "
        "of a page that explains.",
    )
    ttl: Annotated[StrictInt, Field(ge=0, le=86400)] = Field(60, description="Seconds that clients may remember it.")


class Size(int):
    """Octets, written with a unit: ``500KB``, ``16MB``, ``1GB``."""

    def __str__(self) -> str:
        unit, size = next((unit, size) for unit, size in reversed(_SIZES.items()) if not self % size)
        return f"{self // size}{unit}"


_SIZES = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def _parse_size(text: str) -> Size:
    digits, unit = text[:-2], text[-2:]
    if unit not in _SIZES or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise ValueError(f"{text!r} is not a size; write a number and a unit of {', '.join(_SIZES)}, as in 16MB")
    size = int(digits) * _SIZES[unit]
    if not 64 << 10 <= size <= 64 << 30:
        raise ValueError(f"{text!r} is not between 64KB and 64GB")
    return Size(size)


def _parse_stale(text: str) -> Duration:
    stale = Duration(0) if text == "off" else parse_duration(text)
    if stale > 7 * 86_400:
        raise ValueError(f"{text!r} is over 7d")
    return stale


def _show_stale(stale: Duration) -> str:
    return str(stale) if stale else "off"


def _parse_inside(text: str) -> Target | IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        name = parse_name(text.removeprefix("="), single=True)
    except BadName as error:
        hint = "write a name such as corp.example, or a network such as 10.20.0.0/16"
        raise ValueError(f"{text!r} is not a name: {error}; {hint}") from None
    return Target(name, Scope.EXACT if text.startswith("=") else Scope.TREE)


class Cache(Model):
    """What is remembered of upstreams' answers."""

    size: Annotated[Size, Text(_parse_size, what="a size such as 16MB")] = Field(
        Size(4 << 20),
        description="Memory for it in each worker, as in `500KB` or `16MB` (of 1024 KB); at least 64KB, at most 64GB. "
        "A megabyte holds some 2700 names.",
    )
    min_ttl: Annotated[StrictInt, Field(ge=0, le=3600)] = Field(
        0, description="Answers are remembered for at least so many seconds, whatever they say; at most 3600."
    )
    max_ttl: Annotated[StrictInt, Field(ge=1, le=604_800)] = Field(
        86_400,
        description="Answers are remembered for at most so many seconds; no answer without records for over 3600.",
    )
    stale: Annotated[Duration, Text(_parse_stale, _show_stale, what="a duration such as 1d, or off")] = Field(
        Duration(86_400),
        description="How long after its time an answer may still be given while no upstream answers, as in `12h`, at "
        "most `7d`; or `off`.",
    )
    prefetch: StrictBool = Field(
        True, description="Whether a name that is asked for again is asked for before its time ends."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Cache:
        if self.min_ttl > self.max_ttl:
            raise ValueError(f"min-ttl ({self.min_ttl}) is over max-ttl ({self.max_ttl})")
        return self


class Rebinding(Model):
    """Answers that make a public name lead to an internal address."""

    block: StrictBool = Field(
        False, description="Whether an answer from upstreams with an internal address is withheld: no data instead."
    )
    allow: tuple[Annotated[Target | IPv4Network | IPv6Network, Text(_parse_inside)], ...] = Field(
        (),
        description="Names that may lead inside, `corp.example` with all below it or `=corp.example` alone, and "
        "networks that every name may lead to.",
        examples=[["corp.example", "10.20.0.0/16"]],
    )


class Answers(Model):
    """What is looked for in the answers of upstreams."""

    cloaking: StrictBool = Field(
        True,
        description="Whether the names that an answer leads to (aliases, targets of HTTPS and SVCB records) are judged "
        "as if they had been asked for.",
    )
    rebinding: Rebinding = Field(
        Rebinding(), description="Answers that make a public name lead to an internal address."
    )


class Local(Model):
    """What is answered without asking anyone, beside `records`."""

    hosts: tuple[LocalPath, ...] = Field(
        (),
        description="Files like /etc/hosts, read at the start and at every reload. A name in `records` hides the same "
        "name in them.",
        examples=[["/etc/hosts"]],
    )
    zones: tuple[LocalName, ...] = Field(
        (),
        description="Zones of your own: what has no record in them does not exist, and is asked of nobody.",
        examples=[["lan"]],
    )
    forward: tuple[LocalName, ...] = Field(
        (),
        description="Zones that upstreams answer although they are special-use names, with all below them.",
        examples=[["10.in-addr.arpa", "home.arpa"]],
    )
    ttl: Annotated[StrictInt, Field(ge=0, le=86400)] = Field(
        300, description="Seconds that clients may remember records."
    )
    version: ShortText | None = Field(
        None,
        description="What `dig CH TXT version.bind` tells. Default: nothing, the query is refused.",
        examples=["none of your business"],
    )
    server_id: ShortText | None = Field(
        None,
        description="What `dig CH TXT id.server` and `hostname.bind` tell. Default: nothing, the query is refused.",
        examples=["resolver-1"],
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if both := set(self.zones).intersection(self.forward):
            raise ValueError(f"{min(both)} is in `zones` and in `forward`; upstreams answer it or they do not")
        return self


def _parse_token(text: str) -> str:
    if re.fullmatch("[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", text):
        return text
    raise ValueError(f"{text!r} is not a token: 1 to 63 lower-case letters, digits and '-', as one label of a name")


Token = Annotated[str, Text(_parse_token)]


class Group(Model):
    """Some of the clients."""

    clients: tuple[Network, ...] = Field((), description="Their addresses and networks.")
    tokens: tuple[Token, ...] = Field(
        (),
        description="Words by which clients over TLS and HTTPS say that they belong to it: the first label of the name "
        "that they call this resolver by, as `kiosk` in kiosk.dns.example.com, or what follows in "
        "https://dns.example.com/dns-query/kiosk.",
        examples=[["kiosk-7f3a"]],
    )
    exclusive: StrictBool = Field(
        False, description="Whether no client of it may be in another group that is exclusive too."
    )

    @model_validator(mode="after")
    def _has_members(self) -> Self:
        if not self.clients and not self.tokens:
            raise ValueError("a group needs clients or tokens")
        return self


class Exports(Model):
    """Lists as files for other software."""

    dir: LocalPath = Field(Path("exports"), description="The directory they are written to, relative to this file.")
    lists: tuple[ListId, ...] = Field(
        (),
        description="The lists to write. Default: every list in the policy; without a policy, those of default.yaml.",
        examples=[["deepseek"]],
    )
    formats: ExportFormats = Field(
        tuple(FORMATS), description=f"`all`, or some of {', '.join(FORMATS)}.", examples=["all"]
    )
    groups: tuple[GroupId, ...] = Field(
        (),
        description="Groups, or `all`: what the policy keeps from each of them at this instant, in files of its own "
        "that are made anew when it changes.",
        examples=[["office"]],
    )
    gzip: StrictBool = Field(False, description="Whether a compressed twin, `FILE.gz`, stands beside each file.")
    sign: LocalPath | None = Field(
        None,
        description="A secret key of minisign without a password (`minisign -G -W`), for the eyes of its owner alone; "
        "each file then has a signature beside it, `FILE.minisig`.",
        examples=["/etc/sinkhole/minisign.key"],
    )
    after: Annotated[tuple[Annotated[Command, Text(_parse_command)], ...], Field(max_length=16)] = Field(
        (),
        description="Commands to run when a file changed, without a shell, each for a minute at most; "
        "$SINKHOLE_EXPORTS is the directory, and $SINKHOLE_CHANGED has the files, one a line.",
        examples=[["rndc reload", "systemctl reload dnsmasq"]],
    )


class Expectation(Model):
    """A test of the policy: what must happen to a name."""

    client: Annotated[str, Text(_parse_client)] = Field("127.0.0.1", description="The address of who asks.")
    token: Token | None = Field(None, description="The token of a group by which the client asks.")
    name: Name = Field(description="The name that is asked for.")
    rtype: Annotated[str, Text(_parse_type)] = Field("A", alias="type", description="The type of record.")
    at: Instant | None = Field(None, description="At which instant, with a UTC offset. Default: now.")
    action: Annotated[Action, one_of(*Action, make=Action)] = Field(
        description="`block`, `allow`, `warn`, `observe`, or `forward`, when nothing applies."
    )


class Feeds(Model):
    """How lists are fetched."""

    directories: tuple[LocalPath, ...] = Field(
        (),
        description="Directories that list files may be read from, links followed, beside that of this file. Default: "
        "each file that is named may be anywhere, but no link may lead out of its directory.",
        examples=[["/srv/lists"]],
    )


def _parse_keep(text: str) -> Duration:
    keep = parse_duration(text)
    if not 3600 <= keep <= 3650 * 86_400:
        raise ValueError(f"{text!r} is not between 1h and 3650d")
    return keep


class QueryLog(Model):
    """What is written down of queries."""

    record: Annotated[str, one_of("all", "decisions", "none")] = Field(
        "all",
        description="`all` queries, only the `decisions`: what a list, a directive, an exception or a name of your own "
        "blocked, allowed, warned of or observed; or `none`.",
    )
    clients: Annotated[str, one_of("full", "network", "none")] = Field(
        "full",
        description="What is written of who asked: the `full` address, the `network` (/24, in IPv6 /56), or `none`.",
    )
    exempt: tuple[Network, ...] = Field(
        (), description="Networks of whose clients nothing is written.", examples=[["10.20.30.0/24"]]
    )
    keep: Annotated[Duration, Text(_parse_keep, what="a duration such as 7d")] = Field(
        Duration(7 * 86_400), description="How long it is kept, as in `12h` or `30d`; at least `1h`, at most `3650d`."
    )
    max_size: Annotated[Size, Text(_parse_size, what="a size such as 512MB")] = Field(
        Size(512 << 20),
        description="How large it may be in all, as in `512MB` (of 1024 KB); the oldest goes first. At least 64KB, at "
        "most 64GB.",
    )


class Config(Model):
    """A whole configuration. ``policy`` is filled in from the catalogue when the file has none."""

    state_dir: LocalPath = Field(
        default_factory=state_directory,
        description="Where copies of feeds and compiled bundles are kept. Default: $XDG_STATE_HOME/sinkhole.",
        examples=["/var/lib/sinkhole"],
    )
    workers: Annotated[StrictInt, Field(ge=1, le=256)] = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 256),
        description="Processes that answer DNS. Default: one for each CPU.",
        examples=[2],
    )
    startup: Annotated[str, one_of(*STARTUPS)] = Field(
        "serve-last",
        description="What is answered until the lists of this start are ready: `serve-last` (by the last bundle; "
        "SERVFAIL while there is none), `fail-closed` (SERVFAIL), or `open` (everything is forwarded).",
    )
    listen: Listen = Field(Listen(), description="Where queries are taken.")
    tls: Tls | None = Field(
        None,
        description="What encrypted listeners prove themselves with.",
        examples=[{"cert": "/etc/sinkhole/fullchain.pem", "key": "/etc/sinkhole/privkey.pem"}],
    )
    access: Access = Field(Access(), description="Who may ask.")
    rate_limit: RateLimit = Field(RateLimit(), description="How many queries over UDP.")
    upstream: Upstream = Field(Upstream(), description="Who answers what is not blocked.")
    cache: Cache = Field(Cache(), description="What is remembered of upstreams' answers.")
    answers: Answers = Field(Answers(), description="What is looked for in the answers of upstreams.")
    blocking: Blocking = Field(Blocking(), description="What a blocked name is answered with.")
    groups: Annotated[dict[Id, Group], AfterValidator(_not_all)] = Field(
        default_factory=dict,
        description="Groups of clients by id; a client is in every group that has its address, and always in `all`.",
        examples=[{"office": {"clients": ["10.20.0.0/16", "2001:db8:20::/48"]}}],
    )
    lists: Lists = Field(
        default_factory=dict,
        description="Lists of your own by id; one with the id of a catalogue list takes its place.",
        examples=[
            {
                "ads": {"sources": ["stevenblack", {"url": "https://example.org/list.txt", "format": "hosts"}]},
                "ai": {"services": ["deepseek:core,api"], "block": ["example.com"], "allow": ["ok.example.com"]},
            }
        ],
    )
    policy: tuple[PolicyEntry, ...] = Field(
        (),
        description="What holds for whom. Default: that of the catalogue, in default.yaml.",
        examples=[
            [
                {"groups": ["office"], "directives": ["kr-mofa-2025-02-05"], "lists": ["deepseek"]},
                {"groups": ["all"], "lists": ["ads", "ai"], "action": "observe"},
            ]
        ],
    )
    feeds: Feeds = Field(Feeds(), description="How lists are fetched.")
    query_log: QueryLog = Field(QueryLog(), description="What is written down of queries.")
    block: Names = Field(
        (),
        description="Names that nobody may reach: `bad.example` with all below it, `=bad.example` alone.",
        examples=[["bad.example"]],
    )
    allow: Names = Field(
        (),
        description="Names that everybody may reach, whatever lists and directives say; a longer name in `block` wins.",
        examples=[["good.bad.example"]],
    )
    records: Records = Field(
        default_factory=dict,
        description="Names that are answered here, whatever lists and directives say: addresses, or records as in a "
        "zone file. `*.` in front of a name means all below it that have none of their own. Addresses bring their PTR "
        "records.",
        examples=[
            {
                "printer.lan": ["192.0.2.10", "2001:db8::10"],
                "print.lan": ["CNAME printer.lan"],
                "lan": ["MX 10 mail.lan", 'TXT "a text"'],
                "*.apps.lan": ["192.0.2.20"],
            }
        ],
    )
    local: Local = Field(Local(), description="What is answered without asking anyone, beside `records`.")
    expect: tuple[Expectation, ...] = Field(
        (),
        description="Tests of the policy: `sinkhole check` runs them, and a build that fails one is not put in use.",
        examples=[[{"client": "10.20.0.7", "name": "chat.deepseek.com", "action": "block"}]],
    )
    exports: Exports = Field(Exports(), description="Lists as files for other software.")

    _document: Document | None = PrivateAttr(None)

    def where(self, *path: str | int) -> tuple[str, int]:
        """The file and line of ``path``, such as ``("block", 0)``; line 0 and no file when there is no file."""
        return (self._document.file, self._document.where(path)[0]) if self._document else ("", 0)

    def clients(self) -> dict[KeyPath, Network] | None:
        """The networks that may ask, by the path of what says so; None for everybody."""
        if self.access.open:
            return None
        stated: dict[KeyPath, tuple[Network, ...]] = {("access", "proxies"): self.access.proxies}
        if self.access.allow:
            stated["access", "allow"] = self.access.allow
        else:
            stated["default",] = tuple(map(ip_network, PRIVATE))
            stated |= {("groups", id, "clients"): group.clients for id, group in self.groups.items()}
        return {
            (*path, number): network for path, networks in stated.items() for number, network in enumerate(networks)
        }

    def all_lists(self, catalogue: Catalogue) -> dict[str, ListSpec]:
        """The lists that exist, by id: the catalogue's, with the operator's own in place of those of the same id."""
        return {**catalogue.lists, **self.lists}


def load(path: Path | None, catalogue: Catalogue) -> Config:
    """The configuration in ``path``, or the defaults for None.

    Relative paths in it start from its directory. Raises :class:`~sinkhole.errors.ConfigError` with every problem.
    """
    document = read_file(path, str(path)) if path else Document("", {}, {})
    directory = path.absolute().parent if path else Path.cwd()
    config: Config = validate(Config, document, _known(document.data, directory, catalogue))
    exports: dict[str, Any] = {"dir": directory / config.exports.dir}
    update: dict[str, Any] = {}
    if "policy" not in document.data:
        update["policy"] = catalogue.policy
        exports["lists"] = config.exports.lists or catalogue.exports
    update["exports"] = config.exports.model_copy(update=exports)
    config = config.model_copy(update=update)
    config._document = document if path else None
    if conflicts := [document.problem(*conflict) for conflict in _conflicts(config)]:
        raise ConfigError(conflicts)
    return config


def _conflicts(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """(path, what is wrong) of values that are right by themselves."""
    if config.listen.dot and not config.tls:
        yield ("listen", "dot"), "DNS over TLS takes a certificate; set tls.cert and tls.key"
    yield from open_to_all(config, (*config.listen.dns, *config.listen.dot, *config.listen.web))
    yield from exposed(config, config.listen.web)
    yield from _own_addresses(config)
    yield from _in_two_groups(config)
    tokens = {token for group in config.groups.values() for token in group.tokens}
    for index, expected in enumerate(config.expect):
        if expected.token and expected.token not in tokens:
            yield ("expect", index, "token"), f"no group has the token {expected.token}"


def open_to_all(config: Config, endpoints: Iterable[Endpoint]) -> Iterator[tuple[KeyPath, str]]:
    """(path, what is wrong) of networks so large that with ``endpoints`` that the world may reach this would be an open
    resolver, without being called one."""
    private = [*map(ip_network, PRIVATE)]
    public = next(
        (at for at in endpoints if not any(ip_address(at.host.partition("%")[0]) in net for net in private)), None
    )
    for path, network in (config.clients() or {}).items():
        if public and network.prefixlen < _WIDEST[network.version] and network not in private:
            yield (
                path,
                (
                    f"{network} and the address {public} make an open resolver; name the networks of your clients, "
                    "or set access.open: true"
                ),
            )


def exposed(config: Config, webs: Iterable[Endpoint]) -> Iterator[tuple[KeyPath, str]]:
    """(path, what is wrong) of addresses where others would talk to the web in the clear."""
    for endpoint in webs if not (config.tls or config.listen.web_plain_http) else ():
        if not ip_address(endpoint.host.partition("%")[0]).is_loopback:
            yield (
                ("listen", "web"),
                (
                    f"{endpoint} would be plain HTTP that others can reach; set tls.cert and tls.key, or, behind a "
                    "proxy that does TLS, listen.web-plain-http: true"
                ),
            )


def _in_two_groups(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """(path, what is wrong) of networks that two exclusive groups have, and of tokens that any two have."""
    seen: list[tuple[str, IPv4Network | IPv6Network]] = []
    tokens: dict[str, str] = {}
    for id, group in config.groups.items():
        for index, network in enumerate(group.clients if group.exclusive else ()):
            for other, taken in seen:
                if other != id and taken.version == network.version and taken.overlaps(network):
                    yield ("groups", id, "clients", index), f"{network} is in {other} ({taken}), and both are exclusive"
            seen.append((id, network))
        for index, token in enumerate(group.tokens):
            if tokens.setdefault(token, id) != id:
                yield ("groups", id, "tokens", index), f"{token} is a token of {tokens[token]} already"


def _own_addresses(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """(path, what is wrong) of every upstream that is this resolver itself."""
    upstream = config.upstream
    placed: list[tuple[KeyPath, Server]] = [
        *((("servers", index), server) for index, server in enumerate(upstream.servers)),
        *((("bootstrap", index), server) for index, server in enumerate(upstream.bootstrap)),
        *(
            (("conditional", domain, index), server)
            for domain, servers in upstream.conditional.items()
            for index, server in enumerate(servers)
        ),
    ]
    for path, server in placed:
        if server.plain and is_own(server, config.listen.dns):
            yield ("upstream", *path), f"{server} is this resolver itself: queries would go round for ever"


def is_own(server: Server, listening: Collection[Endpoint]) -> bool:
    """Whether a plain server is one of the endpoints, or on this host where one takes every address."""
    address = _unmapped(server.host)
    for host, port in listening:
        own = _unmapped(host)
        if port == server.port and (address == own or (own.is_unspecified and address.is_loopback)):
            return True
    return False


def _unmapped(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _known(data: Mapping[str, Any], directory: Path, catalogue: Catalogue) -> Known:
    def ids(key: str) -> list[str]:
        entries = data.get(key)
        return list(entries) if isinstance(entries, dict) else []

    return Known(
        directory,
        FORMATS,
        catalogue.sources,
        {id: service.tiers for id, service in catalogue.services.items()},
        {*catalogue.lists, *ids("lists")},
        catalogue.directives,
        {"all", *ids("groups")},
    )


def system_resolvers(
    path: Path = Path("/etc/resolv.conf"), own: Collection[Endpoint] = (), key: str = "upstream.servers"
) -> tuple[Server, ...]:
    """The name servers of a resolv.conf(5), without those in ``own``, where this process listens itself.

    Raises :class:`~sinkhole.errors.ConfigError` when there is none, with the ``key`` to set instead.
    """
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    servers = []
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            try:
                host = str(ip_address(words[1]))
            except ValueError:
                continue
            server = Server("udp", host, 53)
            if not is_own(server, own):
                servers.append(server)
    if not servers:
        raise ConfigError([Problem(str(path), 0, 0, "nameserver", f"there is none to forward to; set {key}")])
    return tuple(servers)


def bootstrap(config: Config, resolvers: Path = Path("/etc/resolv.conf")) -> tuple[Server, ...]:
    """Who is asked for the host names of upstreams; nobody when there are none.

    Raises :class:`~sinkhole.errors.ConfigError` when there are names and nobody to ask.
    """
    upstream = config.upstream
    servers = [*upstream.servers, *chain.from_iterable(upstream.conditional.values())]
    if all(is_address(server.host) for server in servers):
        return ()
    return (
        upstream.bootstrap
        or tuple(server for server in upstream.servers if server.plain)
        or system_resolvers(resolvers, config.listen.dns, "upstream.bootstrap")
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {"$schema": _Schema.schema_dialect, **Config.model_json_schema(schema_generator=_Schema)}


class _Schema(GenerateJsonSchema):
    """Writes defaults as a file would have them."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Model):
            return dft.model_dump(mode="json")
        if type(dft) is tuple:
            return [self.encode_default(value) for value in dft]
        return dft if isinstance(dft, (bool, int, NoneType)) else str(dft)


def commented_example() -> str:
    """A complete file: every key with its documentation, at its default, or commented out where the default is none.

    Prose starts with ``# `` and a word; any other line that starts with ``#`` is a setting.
    """
    head = (
        "# sinkhole.yaml: every key is optional. What is set here are the defaults; settings behind a # are examples.\n"
        "# Check it with: sinkhole check -c sinkhole.yaml\n"
    )
    return head + "".join(f"\n{block}" for block in _blocks(Config, Config(), ""))


def _blocks(model: type[Model], values: Model, indent: str) -> Iterator[str]:
    """The text of each field of a model."""
    dump = values.model_dump(mode="json")
    for name, info in model.model_fields.items():
        key = str(info.alias)
        text = _prose(str(info.description), indent)
        value = getattr(values, name)
        if isinstance(value, Model):
            inner = "".join(_blocks(type(value), value, indent + "  "))
            sets = any(not line.lstrip().startswith("#") for line in inner.splitlines())
            yield f"{text}{indent}{'' if sets else '#'}{key}:\n{inner}"
            continue
        text += "".join(
            _prose(f"- {inner.alias}: {inner.description}", indent)
            for inner in _entry_fields(info)
            if inner.alias != "id"
        )
        hidden = info.default_factory is not None or dump[key] in ([], None)
        shown = info.examples[0] if info.examples else dump[key]
        flow = None if isinstance(shown, (dict, list)) else False
        lines = yaml.safe_dump({key: shown}, default_flow_style=flow, sort_keys=False, width=1000).splitlines()
        yield text + "".join(f"{indent}{'#' if hidden else ''}{line}\n" for line in lines)


def _prose(text: str, indent: str) -> str:
    return "".join(f"{indent}# {line}\n" for line in textwrap.wrap(text, 110 - len(indent), break_on_hyphens=False))


def _entry_fields(info: FieldInfo) -> list[FieldInfo]:
    """The fields of the model that the entries of a mapping or list field have; none for others."""
    kinds = [info.annotation]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Model):
            return list(kind.model_fields.values())
        kinds += get_args(kind)
    return []
