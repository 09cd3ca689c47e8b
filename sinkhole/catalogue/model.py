"""The types of what people write about policy: sources, services, directives, lists, and who is bound by them.

Every model is frozen, spells its keys in kebab-case and refuses keys that it does not know. A field's description is
the documentation of its key and goes into the JSON Schema. Text becomes its final type here, once: names are
normalised, addresses and instants parsed, references checked against :class:`Known`, the context of validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
    StrictInt,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sinkhole.document import unknown
from sinkhole.names import BadName, parse_name
from sinkhole.policy.schedule import DAYS
from sinkhole.policy.verdict import Action
from sinkhole.rules import Scope

#: Tiers of a service that block; ``shared`` names are recorded, because others need them, and never blocked.
BLOCKING = ("core", "api", "static", "telemetry", "third-party", "look-alike")
TIERS = (*BLOCKING, "shared")

#: What a service can be.
KINDS = (
    "agent",
    "app builder",
    "chat assistant",
    "coding assistant",
    "companion",
    "image generator",
    "inference API",
    "meeting assistant",
    "model hub",
    "music generator",
    "search assistant",
    "video generator",
    "voice generator",
    "writing assistant",
)

#: Why a name may never be blocked.
NEVER = ("certificates", "emergency", "names", "network checks", "time", "updates")

#: The RFC 8914 info-code that each kind of directive gives a blocked answer: 15 Blocked is the operator's own policy,
#: 16 Censored a requirement from outside, 17 Filtered the wish of the client.
EDE = {
    "government-order": 16,
    "bill": 16,
    "own-assessment": 15,
    "organisation-policy": 15,
    "advice": 15,
    "user-request": 17,
}

MAX_SKIPPED = "A text is refused when more than this share of its rules and lines with content cannot be used."
MAX_CHANGE = "A text is refused when its number of rules is off the one before by more than this share of that."

#: Characters in one text; the longest that anyone needs is a URL or a note.
MAX_TEXT = 2048


@dataclass(frozen=True)
class Known:
    """What references may name, and the directory that relative paths start from."""

    directory: Path
    formats: Collection[str] = ()
    sources: Collection[str] = ()
    services: Mapping[str, Collection[str]] = field(default_factory=dict)  # the tiers of each service
    lists: Collection[str] = ()
    directives: Collection[str] = ()
    groups: Collection[str] = ("all",)
    reports: Mapping[str, Any] = field(default_factory=dict)  # every report there is, by its id


@dataclass(frozen=True)
class Text:
    """Annotation for a type that files hold as text.

    ``parse`` raises ValueError with the reason, ``show`` writes the value back, ``what`` says what other types should
    have been, ``choices`` are the words there are.
    """

    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    what: str = "text"
    choices: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Any:
            if isinstance(value, str):
                if len(value) > MAX_TEXT:
                    raise ValueError(f"longer than {MAX_TEXT} characters")
                return self.parse(value)
            if type(value) in (bool, int, float, list, dict, NoneType):
                raise PydanticCustomError("text_type", "expected {what}", {"what": self.what})
            return value  # already parsed: a model that code builds

        shown = core_schema.plain_serializer_function_ser_schema(self.show, when_used="json-unless-none")
        return core_schema.no_info_plain_validator_function(check, serialization=shown)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.choices)} if self.choices else {"type": "string"}


def one_of(*words: str, make: Callable[[str], Any] = str, show: Callable[[Any], str] = str) -> Text:
    """Text that is one of ``words``."""

    def parse(text: str) -> Any:
        if text not in words:
            raise unknown("value", text, words)
        return make(text)

    return Text(parse, show, choices=words)


class Target(NamedTuple):
    """A name that someone states, with its scope; in files ``name`` is the whole tree and ``=name`` that name only."""

    name: str
    scope: Scope

    def __str__(self) -> str:
        return f"={self.name}" if self.scope == Scope.EXACT else self.name

    def meets(self, other: Target) -> bool:
        """Whether any name is in both."""
        if self.name == other.name:
            return bool(self.scope & other.scope)
        above, below = sorted((self, other), key=lambda target: len(target.name))
        return below.name.endswith("." + above.name) and Scope.SUBDOMAINS in above.scope


class ServiceRef(NamedTuple):
    """A service, or some of its tiers: ``deepseek``, ``deepseek:core,api``. ``tiers`` is never empty."""

    service: str
    tiers: tuple[str, ...] = BLOCKING

    def __str__(self) -> str:
        return self.service if self.tiers == BLOCKING else f"{self.service}:{','.join(self.tiers)}"


class Duration(float):
    """Seconds, written with a unit: ``500ms``, ``2s``, ``10m``, ``1h``, ``1d``."""

    def __str__(self) -> str:
        for unit, size in reversed(_UNITS.items()):
            if self >= size and not self % size:
                return f"{self / size:.0f}{unit}"
        return f"{self * 1000:.0f}ms"


class Share(float):
    """A part of a whole, written as a percentage: ``50%`` is 0.5."""

    def __str__(self) -> str:
        return f"{100 * self:g}%"


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(rf"([0-9]{{1,9}})({'|'.join(_UNITS)})")
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


def parse_duration(text: str) -> Duration:
    if found := _DURATION.fullmatch(text):
        return Duration(int(found[1]) * _UNITS[found[2]])
    raise ValueError(f"{text!r} is not a duration; write a number and a unit of {', '.join(_UNITS)}, as in 2s")


def _parse_share(text: str) -> Share:
    if found := re.fullmatch("([0-9]{1,6})%", text):
        return Share(int(found[1]) / 100)
    raise ValueError(f"{text!r} is not a percentage; write one as in 50%")


def _parse_name(text: str) -> str:
    try:
        return parse_name(text)
    except BadName as error:
        raise ValueError(f"{text!r} is not a name: {error}") from None


def parse_target(text: str) -> Target:
    """``example.com`` (the tree) or ``=example.com`` (exact)."""
    scope = Scope.EXACT if text.startswith("=") else Scope.TREE
    return Target(_parse_name(text.removeprefix("=")), scope)


def parse_service(text: str) -> ServiceRef:
    """``deepseek`` (its blocking tiers) or ``deepseek:core,api``. Raises ValueError."""
    service, colon, tiers = text.partition(":")
    if not colon:
        return ServiceRef(service)
    named = tuple(tier.strip() for tier in tiers.split(","))
    for tier in named:
        if tier == "shared":
            raise ValueError(f"{text!r}: names of the tier 'shared' are never blocked")
        if tier not in BLOCKING:
            raise unknown("tier", tier, BLOCKING)
    return ServiceRef(service, named)


def _parse_id(text: str) -> str:
    if len(text) <= 64 and _ID.fullmatch(text):
        return text
    raise ValueError("not an id: lower-case letters and digits, 64 at most, in words joined by '-'")


def _parse_date(text: str) -> date:
    with suppress(ValueError):
        if (day := date.fromisoformat(text)).isoformat() == text:
            return day
    raise ValueError(f"{text!r} is not a date; write 2025-02-05")


def _parse_instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an instant; write 2025-02-05T00:00:00+09:00") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; write 2025-02-05T00:00:00+09:00, or Z for UTC")
    return instant


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write an address or a network such as 10.20.0.0/16 or 2001:db8:20::/48") from None


def _parse_country(text: str) -> str:
    if re.fullmatch(r"[A-Z]{2}", text):
        return text
    raise ValueError(f"{text!r} is not a country; write two capitals of ISO 3166-1, as in KR")


def _parse_clock(text: str) -> str:
    if re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", text):
        return text
    raise ValueError(f"{text!r} is not a time of day; write one from 00:00 to 23:59")


def _parse_zone(text: str) -> str:
    if text not in available_timezones():
        raise unknown("time zone", text, available_timezones())
    return text


def _url(*schemes: str) -> Text:
    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            good = parts.scheme in schemes and parts.hostname and not re.search(r"[\s\x00-\x1f\x7f]", text)
            parts.port  # noqa: B018  raises for a bad port
        except ValueError:
            good = False
        if not good:
            shown = re.sub("//[^/]*@", "//…@", text)
            raise ValueError(f"{shown!r} is not a URL; write {' or '.join(f'{scheme}://…' for scheme in schemes)}")
        return text

    return Text(parse)


def _known(kind: str) -> AfterValidator:
    """Checks a reference against the entries of ``kind`` in :class:`Known`."""

    def check(value: str, info: ValidationInfo) -> str:
        known: Known | None = info.context
        if known and value not in (entries := getattr(known, kind)):
            raise unknown(kind[:-1], value, entries)
        return value

    return AfterValidator(check)


def _known_tiers(ref: ServiceRef, info: ValidationInfo) -> ServiceRef:
    known: Known | None = info.context
    if known is None:
        return ref
    tiers = known.services.get(ref.service)
    if tiers is None:
        raise unknown("service", ref.service, known.services)
    for tier in ref.tiers if ref.tiers != BLOCKING else ():
        if tier not in tiers:
            raise ValueError(f"{ref.service} has no tier {tier!r}; it has {', '.join(tiers)}")
    return ref


def _known_format(value: str, info: ValidationInfo) -> str:
    known: Known | None = info.context
    if known and value != "auto" and value not in known.formats:
        raise unknown("format", value, ["auto", *known.formats])
    return value


def _parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r} is the home of no user here") from None


def _under(value: Path, info: ValidationInfo) -> Path:
    known: Known | None = info.context
    return known.directory / value if known else value


Name = Annotated[str, Text(_parse_name)]
Names = tuple[Annotated[Target, Text(parse_target)], ...]
Id = Annotated[str, Text(_parse_id)]
Day = Annotated[date, Text(_parse_date, what="a date such as 2025-02-05")]
Instant = Annotated[datetime, Text(_parse_instant, datetime.isoformat)]
Clock = Annotated[str, Text(_parse_clock, what="a time of day such as 22:00")]
Seconds = Annotated[Duration, Text(parse_duration, what="a duration such as 2s")]
Percentage = Annotated[Share, Text(_parse_share, what="a percentage such as 50%")]
Network = Annotated[IPv4Network | IPv6Network, Text(_parse_network)]
Country = Annotated[str, Text(_parse_country)]
SecureUrl = Annotated[str, _url("https")]
Url = Annotated[str, _url("https", "http")]
LocalPath = Annotated[Path, Text(_parse_path), AfterValidator(_under)]
Format = Annotated[str, Text(str), AfterValidator(_known_format)]
ScopeName = Annotated[
    Scope, one_of("exact", "subdomains", "tree", make=lambda word: Scope[word.upper()], show=lambda scope: scope.label)
]
PolicyAction = Annotated[Action, one_of("block", "warn", "observe", make=Action)]
ListType = Annotated[Literal["block", "allow"], one_of("block", "allow")]
Minimum = Annotated[StrictInt, Field(ge=0)]
SourceId = Annotated[str, Text(str), _known("sources")]
ListId = Annotated[str, Text(str), _known("lists")]
DirectiveId = Annotated[str, Text(str), _known("directives")]
GroupId = Annotated[str, Text(str), _known("groups")]
ServiceTiers = Annotated[ServiceRef, Text(parse_service), AfterValidator(_known_tiers)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Model(BaseModel):
    """What all models share: kebab-case keys, no unknown ones, no change after validation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
    )


def _keyed(entries: Any) -> Any:
    """Gives each entry of a mapping its key as ``id``, so that an entry can be passed on alone."""
    if not isinstance(entries, dict):
        return entries
    return {key: {"id": key, **entry} if isinstance(entry, dict) else entry for key, entry in entries.items()}


def _same_ids(entries: dict[str, Any]) -> dict[str, Any]:
    for key, entry in entries.items():
        if entry.id != key:
            raise ValueError(f"{key} says that its id is {entry.id!r}; leave the id out")
    return entries


class Source(Model):
    """A public list: where it is, what it is written in, and on what terms."""

    id: SkipJsonSchema[str] = Field(description="The key of the entry in its file.")
    title: Line = Field(description="Its name, as its authors write it.")
    url: SecureUrl = Field(description="Where it is downloaded from; https only.")
    mirrors: tuple[SecureUrl, ...] = Field((), description="Other places with the same content, tried in order.")
    format: Format = Field("auto", description="The syntax it is written in; `auto` looks at the text.")
    subdomains: StrictBool = Field(
        False, description="Whether a plain name also means everything below it. Only where its authors say so."
    )
    license: Line = Field(description="SPDX identifier where there is one.")
    homepage: SecureUrl = Field(description="Where people read about it.")
    min_rules: Minimum = Field(1, description="A download with fewer rules is refused and the last good copy stays.")
    max_rules: Minimum | None = Field(
        None, description="A download with more rules is refused and the last good copy stays."
    )
    max_skipped: Percentage = Field(Share(0.5), description=MAX_SKIPPED)
    max_change: Percentage = Field(Share(0.5), description=MAX_CHANGE)
    interval: Seconds = Field(Duration(86400), description="How long a copy is fresh, and not asked for again.")
    notes: Line | None = Field(None, description="What it is good for and what it breaks.")

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.max_rules is not None and self.max_rules < self.min_rules:
            raise ValueError(f"max-rules ({self.max_rules}) is less than min-rules ({self.min_rules})")
        return self


class Evidence(Model):
    """Who says publicly that a name belongs to a service."""

    publisher: Line = Field(description="Who said it.")
    title: Line = Field(description="The document, report or thread.")
    url: Url | None = Field(None, description="Where it can be read.")
    date: Day = Field(description="When it was published, or when it was read if it is not dated.")
    retrieved: StrictBool = Field(False, description="Whether the date is that of reading, because there is no other.")


class Report(Evidence):
    """A document that is evidence for many names, under an id that they give."""

    id: SkipJsonSchema[str] = Field(description="The key of the entry in its file.")


def _report(value: Any, info: ValidationInfo) -> Any:
    """The report of which ``value`` is the id; evidence that is written out stays as it is."""
    if not isinstance(value, str):
        return value
    reports = info.context.reports if info.context else {}
    if value not in reports:
        raise unknown("report", value, reports)
    return reports[value]


Proofs = tuple[Annotated[Evidence, BeforeValidator(_report, json_schema_input_type=str | Evidence)], ...]


class Entry(Model):
    """One name of a service, and why it is there."""

    name: Name = Field(description="The name.")
    scope: ScopeName = Field(
        Scope.TREE, description="What it stands for: `exact`, `subdomains` (below it only) or `tree`."
    )
    hosts: tuple[Name, ...] = Field((), description="Known host names that it covers, for formats without trees.")
    status: Annotated[str, one_of("active", "inactive", "unknown")] = Field(
        "active",
        description="Whether it is in use, as far as its evidence says: `active`, `inactive` or `unknown`. All block.",
    )
    evidence: Proofs = Field(
        min_length=1, description="Public evidence, or ids of reports; a name without any stays out."
    )
    note: Line | None = Field(None, description="What the name is used for.")

    @property
    def target(self) -> Target:
        return Target(self.name, self.scope)

    @model_validator(mode="after")
    def _covers_its_hosts(self) -> Self:
        for host in self.hosts:
            if not Target(host, Scope.EXACT).meets(self.target):
                raise ValueError(f"hosts: {host} is not covered by {self.name} ({self.scope.label})")
        return self


class Service(Model):
    """A product, as tiers of names."""

    id: Id = Field(description="The name of the file without `.yaml`.")
    title: Line = Field(description="Its name.")
    operator: Line = Field(description="Who runs it.")
    country: Country = Field(description="Where the operator is, ISO 3166-1 alpha-2.")
    kind: Annotated[str, one_of(*KINDS)] = Field(description=f"What it is: {', '.join(f'`{kind}`' for kind in KINDS)}.")
    homepage: Url = Field(description="Its own site.")
    note: Line | None = Field(None, description="What blocking it takes along, or leaves open.")
    tiers: dict[Annotated[str, one_of(*TIERS)], tuple[Entry, ...]] = Field(
        min_length=1,
        description="Names by what they do: `core`, `api`, `static`, `telemetry`, `third-party`, `look-alike`, and "
        "`shared`, which is what others need too and is never blocked.",
    )


class Citation(Model):
    """A public record of a directive."""

    publisher: Line = Field(description="Who reported it.")
    title: Line = Field(description="What it reported.")
    date: Day = Field(description="When.")
    retrieved: StrictBool = Field(False, description="Whether the date is that of reading, because there is no other.")
    url: Url | None = Field(None, description="Where it can be read.")


class ExceptionTerms(Model):
    """On which terms there are exceptions to a directive."""

    two_person: StrictBool = Field(
        False, description="Whether somebody else than who asks for an exception must approve it."
    )
    at_most: Seconds | None = Field(None, description="The longest that an exception may last, as in `30d`.")


class Directive(Model):
    """An order: who decided what, when, for whom, and what people are told."""

    id: Id = Field(description="The name of the file without `.yaml`: country, authority, date.")
    title: Line = Field(description="The document or decision.")
    authority: Line = Field(description="Who decided.")
    country: Country = Field(description="Where, ISO 3166-1 alpha-2.")
    kind: Annotated[str, one_of(*EDE)] = Field(
        description="Its legal kind, which gives blocked answers their Extended DNS Error: `government-order`, `bill`: "
        "16 Censored; `own-assessment`, `organisation-policy`, `advice`: 15 Blocked; `user-request`: 17 Filtered."
    )
    binds: Line = Field(description="Whom it binds, in words.")
    group: Id | None = Field(None, description="A group to bind to it in a configuration, by a suggested id.")
    citations: tuple[Citation, ...] = Field(min_length=1, description="Public records of it.")
    services: tuple[ServiceTiers, ...] = Field((), description="Services it is about, or some of their tiers.")
    lists: tuple[ListId, ...] = Field((), description="Lists it is about.")
    action: PolicyAction = Field(
        Action.BLOCK, description="`block`; `warn` (resolves, marked); `observe` (resolves, logged as would-block)."
    )
    announce_from: Instant | None = Field(None, description="From when people are told of it.")
    effective_from: Instant = Field(description="From when it is enforced; with a UTC offset.")
    review_at: Instant | None = Field(None, description="When it must be looked at again.")
    effective_until: Instant | None = Field(None, description="When it ends; without it, never.")
    message: dict[str, Line] = Field(description="What people are told, by language tag; `en` is required.")
    contact: Line | None = Field(None, description="Whom to ask, as an address or URL.")
    exceptions: StrictBool | ExceptionTerms = Field(
        False, description="Whether exceptions to it may be approved: `true`, `false`, or on which terms."
    )
    note: Line | None = Field(None, description="What is not certain about it, or said by none of its keys.")

    @property
    def ede(self) -> int:
        """The RFC 8914 info-code of answers that it blocks."""
        return EDE[self.kind]

    @property
    def terms(self) -> dict[str, Any] | None:
        """The terms of exceptions as plain data; None when there are none."""
        if not self.exceptions:
            return None
        found = ExceptionTerms() if self.exceptions is True else self.exceptions
        return {"two-person": found.two_person, "at-most": found.at_most and float(found.at_most)}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.services and not self.lists:
            raise ValueError("a directive needs services or lists")
        if "en" not in self.message:
            raise ValueError("message: `en` is required")
        for tag in self.message:
            if not _LANGUAGE.fullmatch(tag):
                raise ValueError(f"message: {tag!r} is not a language tag such as en or ko")
        order = ("announce_from", "effective_from", "review_at", "effective_until")
        given = [(key.replace("_", "-"), at) for key in order if (at := getattr(self, key))]
        for (before, first), (after, second) in pairwise(given):
            if second < first:
                raise ValueError(f"{after} ({second.isoformat()}) is before {before} ({first.isoformat()})")
        return self


def _as_source(value: Any) -> Any:
    """The short forms of a list's source: an id, a path that starts with ``.``, ``/`` or ``~``, or a URL."""
    if not isinstance(value, str):
        return value
    return {"url" if "://" in value else "path" if value.startswith((".", "/", "~")) else "source": value}


class ListSource(Model):
    """Where rules of a list come from: a source of the catalogue, a file, or a URL."""

    source: SourceId | None = Field(None, description="The id of a catalogue source; the short form is the id alone.")
    path: LocalPath | None = Field(None, description="A file, relative to this one; the short form starts with `./`.")
    url: Url | None = Field(None, description="An address; the short form is the URL alone.")
    format: Format = Field("auto", description="The syntax of the file or URL.")
    subdomains: StrictBool = Field(False, description="Whether a plain name also means everything below it.")
    min_rules: Minimum = Field(0, description="Fewer rules than this are refused and the last good copy stays.")
    max_skipped: Percentage = Field(Share(0.5), description=MAX_SKIPPED)
    max_change: Percentage = Field(Share(0.5), description=MAX_CHANGE)
    interval: Seconds | None = Field(
        None,
        description="How long a copy of the URL is fresh, and not asked for again. Default: what its "
        "`! Expires:` line says, else every build asks.",
    )
    title: Line | None = Field(None, description="What to call it in reports.")
    license: Line | None = Field(None, description="Its licence, for the header of exports.")
    local: StrictBool = Field(False, description="Whether the URL may lead to loopback or a private network.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.source, self.path, self.url)) != 1:
            raise ValueError("exactly one of source, path and url is needed")
        if self.source is not None and self.model_fields_set != {"source"}:
            raise ValueError("a catalogue source says the rest itself; for another format use its url")
        return self


class ListSpec(Model):
    """What is published and enforced under one id."""

    id: SkipJsonSchema[str] = Field(description="The key of the entry.")
    title: Line | None = Field(None, description="Its name, for people.")
    description: Line | None = Field(None, description="What is on it and why.")
    homepage: Url | None = Field(None, description="Where people read about it.")
    license: Line | None = Field(None, description="Licence of the list itself, for the header of exports.")
    updated: Day | None = Field(None, description="When its own content last changed; exports print it.")
    type: ListType = Field("block", description="`block`, or `allow`: its names are allowed whatever other lists say.")
    sources: tuple[Annotated[ListSource, BeforeValidator(_as_source, json_schema_input_type=str | ListSource)], ...] = (
        Field(
            (), description="Catalogue sources by id, files (`./own.txt`), URLs, or mappings of either with its format."
        )
    )
    services: tuple[ServiceTiers, ...] = Field(
        (), description="Services whose blocking tiers are on it, or some of their tiers: `chatgpt:core,api`."
    )
    resolvers: StrictBool = Field(
        False, description="Whether the public encrypted-DNS services of the catalogue are on it."
    )
    block: Names = Field((), description="Names of its own: `example.com` with all below it, `=example.com` alone.")
    allow: Names = Field((), description="Names that it does not block, whatever its sources say.")
    canary: Name | None = Field(None, description="A name that is always on it, to test whether it is in force.")
    max_change: Percentage = Field(
        Share(0.5), description="Sources that change its number of entries by more than this share are refused."
    )


class PublishedList(ListSpec):
    """A list of the catalogue, which people import: it says what it is and when it changed."""

    title: Line = Field(description="Its name, for people.")
    description: Line = Field(description="What is on it and why.")
    updated: Day = Field(description="When its own content last changed; exports print it.")


class ScheduleSpec(Model):
    """When something holds: on which days, from when to when."""

    days: tuple[Annotated[str, one_of(*DAYS)], ...] = Field(
        DAYS, min_length=1, description=f"Days on which it starts, of {', '.join(DAYS)}. Default: every day."
    )
    since: Clock = Field(
        "00:00", alias="from", description="The time of day from which it holds, as in `22:00`. Default: midnight."
    )
    until: Clock = Field(
        "00:00",
        alias="to",
        description="The time of day until which it holds, on the next day when it is not after `from`. Default: "
        "midnight.",
    )
    zone: Annotated[str, Text(_parse_zone)] = Field(
        description="Whose clocks, by the name of the IANA time zone, as in `Asia/Seoul`."
    )


class PolicyEntry(Model):
    """What holds for some groups of clients."""

    groups: tuple[GroupId, ...] = Field(min_length=1, description="Groups of clients; `all` is everyone.")
    directives: tuple[DirectiveId, ...] = Field((), description="Directives to enforce while they are in force.")
    lists: tuple[ListId, ...] = Field((), description="Lists to enforce.")
    action: PolicyAction | None = Field(
        None, description="`block`, `warn` or `observe`. Default: each directive's own action; `block` for lists."
    )

    schedule: ScheduleSpec | None = Field(
        None,
        description="When the entry holds: a mapping of `days`, `from`, `to` and `zone`. Default: always.",
        examples=[{"days": ["mon", "fri"], "from": "22:00", "to": "06:00", "zone": "Asia/Seoul"}],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.directives and not self.lists:
            raise ValueError("an entry needs directives or lists")
        return self


class Never(Model):
    """A name that no feed may block, because too much breaks with it."""

    name: Name = Field(description="The name.")
    kind: Annotated[str, one_of(*NEVER)] = Field(description=f"Why: {', '.join(f'`{kind}`' for kind in NEVER)}.")
    scope: ScopeName = Field(Scope.TREE, description="`exact`, `subdomains` or `tree`.")
    reason: Line = Field(description="What breaks.")
    source: Url | None = Field(None, description="Where that can be read.")

    @property
    def target(self) -> Target:
        return Target(self.name, self.scope)


class Protected(Model):
    """A signal to software, with its one right answer that no feed changes."""

    name: Name = Field(description="The name.")
    answer: Annotated[str, one_of("nxdomain", "nodata")] = Field(description="`nxdomain` or `nodata`.")
    reason: Line = Field(description="What the answer tells the client.")
    source: Url = Field(description="Where that is specified.")


class Resolver(Model):
    """A public service of encrypted DNS, which answers past this resolver."""

    id: Id = Field(description="Its id.")
    title: Line = Field(description="Its name.")
    operator: Line = Field(description="Who runs it.")
    country: Country = Field(description="Where the operator is, ISO 3166-1 alpha-2.")
    homepage: Url = Field(description="Its own site.")
    names: Names = Field(min_length=1, description="Its names: `example.com` with all below it, `=example.com` alone.")
    addresses: tuple[Network, ...] = Field((), description="Its addresses.")
    evidence: Proofs = Field(min_length=1, description="Public evidence, or ids of reports.")
    note: Line | None = Field(None, description="What else happens at these names.")


Reports = Annotated[dict[Id, Report], BeforeValidator(_keyed), AfterValidator(_same_ids)]
Sources = Annotated[dict[Id, Source], BeforeValidator(_keyed), AfterValidator(_same_ids)]
Lists = Annotated[dict[Id, ListSpec], BeforeValidator(_keyed), AfterValidator(_same_ids)]
PublishedLists = Annotated[dict[Id, PublishedList], BeforeValidator(_keyed), AfterValidator(_same_ids)]


class NeverSet(Model):
    """The file `never.yaml`."""

    never: tuple[Never, ...] = Field(description="Names that no feed may block.")


class Bypass(Model):
    """The file `bypass.yaml`."""

    protected: tuple[Protected, ...] = Field(description="Canary and discovery names with their one right answer.")
    resolvers: tuple[Resolver, ...] = Field((), description="Public services of encrypted DNS.")


class Default(Model):
    """The file `default.yaml`: what holds without any configuration."""

    policy: tuple[PolicyEntry, ...] = Field(description="The policy, as in a configuration file.")
    exports: tuple[ListId, ...] = Field((), description="The lists to export. Default: every list in the policy.")
