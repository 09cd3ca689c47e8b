"""The operator's file, ``sinkhole.yaml``: each key's type, default and documentation in one place.

:func:`load` gives a :class:`Config` with absolute paths and references that exist, or every problem at once.
The JSON Schema (:func:`schema`) and the commented file that ``sinkhole init`` writes (:func:`commented_example`) are
generated from the same models.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StrictBool, StrictInt, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.model import (
    Duration,
    Id,
    Known,
    ListId,
    Lists,
    ListSpec,
    LocalPath,
    Model,
    Names,
    Network,
    PolicyEntry,
    Target,
    Text,
    one_of,
    parse_duration,
)
from sinkhole.document import Document, read_file, unknown, validate
from sinkhole.errors import ConfigError, Problem
from sinkhole.formats import FORMATS
from sinkhole.names import BadName, parse_name
from sinkhole.rules import Scope

MODES = ("null-ip", "nxdomain", "nodata", "refused")
_SCHEMES = ("udp", "tcp")


class Endpoint(NamedTuple):
    """An address and port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server(NamedTuple):
    """A resolver to forward to. ``udp`` falls back to TCP for truncated answers; ``tcp`` never uses UDP."""

    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        where = str(Endpoint(self.host, self.port))
        return where if self.protocol == "udp" else f"{self.protocol}://{where}"


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
    """An address with a port or 53, ``tcp://`` in front for TCP only. Raises ValueError with what is allowed."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "udp", text
    if scheme not in _SCHEMES:
        raise ValueError(f"{text!r}: {scheme} is not supported; write an address, or tcp://address")
    host, port = _address_and_port(rest, 53)
    if not port:
        raise ValueError(f"{text!r}: port 0 is not a server")
    return Server(scheme, host, port)


def _parse_timeout(text: str) -> Duration:
    timeout = parse_duration(text)
    if not 0 < timeout <= 60:
        raise ValueError(f"{text!r} is not between 1ms and a minute")
    return timeout


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


def _as_formats(value: Any) -> Any:
    return list(FORMATS) if value == "all" else value


def _not_all(groups: dict[str, Group]) -> dict[str, Group]:
    if "all" in groups:
        raise ValueError("the group `all` is everyone and cannot be defined")
    return groups


Mode = Annotated[
    Literal["null-ip", "nxdomain", "nodata", "refused"] | tuple[IPv4Address | IPv6Address, ...],
    BeforeValidator(_as_mode),
]
ExportFormats = Annotated[
    tuple[Annotated[str, one_of(*FORMATS)], ...],
    BeforeValidator(_as_formats, json_schema_input_type=Literal["all"] | list[str]),
]


class Listen(Model):
    """Where queries are taken."""

    dns: tuple[Annotated[Endpoint, Text(parse_endpoint)], ...] = Field(
        (Endpoint("127.0.0.1", 5353), Endpoint("::1", 5353)),
        min_length=1,
        description="Addresses with ports for DNS over UDP and TCP.",
    )


class Upstream(Model):
    """Who answers what is not blocked."""

    servers: tuple[Annotated[Server, Text(parse_server)], ...] = Field(
        (),
        description="Resolvers to forward to: an address with or without a port; `tcp://` in front for TCP only. "
        "Default: the name servers of /etc/resolv.conf.",
        examples=[["9.9.9.9", "[2620:fe::fe]:53", "tcp://149.112.112.112"]],
    )
    timeout: Annotated[Duration, Text(_parse_timeout, what="a duration such as 2s")] = Field(
        Duration(2), description="How long to wait for one of them, as in `500ms` or `2s`; at most a minute."
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
        Size(16 << 20),
        description="Memory for it in each worker, as in `500KB` or `16MB` (of 1024 KB); at least 64KB, at most 64GB.",
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


class Group(Model):
    """Some of the clients."""

    clients: tuple[Network, ...] = Field(min_length=1, description="Their addresses and networks.")


class Exports(Model):
    """Lists as files for other software."""

    dir: LocalPath = Field(Path("exports"), description="The directory they are written to, relative to this file.")
    lists: tuple[ListId, ...] = Field(
        (), description="The lists to write. Default: every list in the policy.", examples=[["deepseek"]]
    )
    formats: ExportFormats = Field(
        tuple(FORMATS), description=f"`all`, or some of {', '.join(FORMATS)}.", examples=["all"]
    )


class Feeds(Model):
    """How lists are fetched."""

    directories: tuple[LocalPath, ...] = Field(
        (),
        description="Directories that list files may be read from, links followed, beside that of this file. Default: "
        "each file that is named may be anywhere, but no link may lead out of its directory.",
        examples=[["/srv/lists"]],
    )


def _state_directory() -> Path:
    """Where programs keep state: https://specifications.freedesktop.org/basedir-spec/latest/."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "sinkhole"


class Config(Model):
    """A whole configuration. ``policy`` is filled in from the catalogue when the file has none."""

    state_dir: LocalPath = Field(
        default_factory=_state_directory,
        description="Where copies of feeds and compiled bundles are kept. Default: $XDG_STATE_HOME/sinkhole.",
        examples=["/var/lib/sinkhole"],
    )
    workers: Annotated[StrictInt, Field(ge=1, le=256)] = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 256),
        description="Processes that answer DNS. Default: one for each CPU.",
        examples=[2],
    )
    listen: Listen = Field(Listen(), description="Where queries are taken.")
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
    exports: Exports = Field(Exports(), description="Lists as files for other software.")

    _document: Document | None = PrivateAttr(None)

    def where(self, *path: str | int) -> tuple[str, int]:
        """The file and line of ``path``, such as ``("block", 0)``; line 0 and no file when there is no file."""
        return (self._document.file, self._document.where(path)[0]) if self._document else ("", 0)

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
    update: dict[str, Any] = {"exports": config.exports.model_copy(update={"dir": directory / config.exports.dir})}
    if "policy" not in document.data:
        update["policy"] = catalogue.policy
    config = config.model_copy(update=update)
    config._document = document if path else None
    return config


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


def system_resolvers(path: Path = Path("/etc/resolv.conf"), own: Collection[Endpoint] = ()) -> tuple[Server, ...]:
    """The name servers of a resolv.conf(5), without those in ``own``, where this process listens itself.

    Raises :class:`~sinkhole.errors.ConfigError` when there is none.
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
            if Endpoint(host, 53) not in own:
                servers.append(Server("udp", host, 53))
    if not servers:
        raise ConfigError([Problem(str(path), 0, 0, "nameserver", "there is none to forward to; set upstream.servers")])
    return tuple(servers)


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
        hidden = info.default_factory is not None or dump[key] == []
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
