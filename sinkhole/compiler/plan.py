"""Makes the plan of a build: the configuration and the catalogue with every reference followed.

Nothing after this step knows a configuration key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.model import Directive, ListSource, ListSpec, ServiceRef, Target
from sinkhole.compiler.guard import Fence, fence
from sinkhole.compiler.planned import ListPlan, Own, Plan, SourcePlan
from sinkhole.config import Config
from sinkhole.feeds.body import shown
from sinkhole.names import BadName, parse_name
from sinkhole.policy.verdict import INTERNAL, OPERATOR_ALLOW, OPERATOR_BLOCK
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special


def make(config: Config, catalogue: Catalogue) -> Plan:
    """The plan of a configuration: the lists that its policy, its directives and its exports name, and its own."""
    planner = _Planner(config, catalogue)
    specs = config.all_lists(catalogue)
    directives = {id: _directive(catalogue.directives[id]) for entry in config.policy for id in entry.directives}
    services = {ref for id in directives for ref in catalogue.directives[id].services}
    named = [
        *(id for entry in config.policy for id in entry.lists),
        *(id for name in directives for id in catalogue.directives[name].lists),
        *config.exports.lists,
        *config.lists,
    ]
    lists = (
        *planner.internal(),
        *(planner.service(ref) for ref in sorted(services)),
        *(planner.list(specs[id]) for id in sorted(set(named))),
    )
    policy = {
        "groups": {id: sorted(map(str, group.clients)) for id, group in sorted(config.groups.items())},
        "tokens": {token: id for id, group in sorted(config.groups.items()) for token in group.tokens},
        "directives": directives,
        "entries": [
            {
                "groups": list(entry.groups),
                "directives": list(entry.directives),
                "lists": list(entry.lists),
                "action": entry.action and entry.action.value,
                "schedule": entry.schedule and entry.schedule.model_dump(mode="json"),
            }
            for entry in config.policy
        ],
        "allow-lists": [entry.id for entry in lists if entry.allows],
    }
    return Plan(lists, policy, _fence(config, catalogue))


def only(config: Config, catalogue: Catalogue, list_id: str) -> Plan:
    """A plan of one list and no policy."""
    spec = config.all_lists(catalogue)[list_id]
    return Plan((_Planner(config, catalogue).list(spec),), {}, _fence(config, catalogue))


def _fence(config: Config, catalogue: Catalogue) -> Fence:
    never = (entry.target for entry in catalogue.never)
    needed = (Target(name, Scope.EXACT) for name in _needed(config, catalogue))
    return fence({*never, *needed}, (entry.name for entry in catalogue.protected))


def _needed(config: Config, catalogue: Catalogue) -> Iterator[str]:
    """The names without which no update would come any more: the hosts of all feeds and their mirrors, and the upstream
    servers that are given by name."""
    planner = _Planner(config, catalogue)
    sources = [planner.source(source) for spec in config.all_lists(catalogue).values() for source in spec.sources]
    places = (place for source in sources for place in (source.location, *source.mirrors) if "://" in place)
    hosts = (urlsplit(place).hostname or "" for place in places)
    for host in (*hosts, *(server.host for server in config.upstream.servers)):
        with suppress(BadName):  # an address, or a name of one label, which no feed can block
            yield parse_name(host)


def _directive(directive: Directive) -> dict[str, Any]:
    """A directive as the resolver needs it; its services are lists of their own."""

    def instant(name: str) -> str | None:
        at = getattr(directive, name)
        return at.isoformat() if at else None

    return {
        "title": directive.title,
        "authority": directive.authority,
        "kind": directive.kind,
        "ede": directive.ede,
        "action": directive.action.value,
        "lists": [*map(_service_list, directive.services), *directive.lists],
        "announce-from": instant("announce_from"),
        "effective-from": instant("effective_from"),
        "review-at": instant("review_at"),
        "effective-until": instant("effective_until"),
        "message": dict(directive.message),
        "contact": directive.contact,
        "exceptions": directive.terms,
    }


def _service_list(ref: ServiceRef) -> str:
    return f"service:{ref}"


@dataclass(frozen=True)
class _Planner:
    config: Config
    catalogue: Catalogue

    def internal(self) -> Iterator[ListPlan]:
        """The operator's own names, most specific first to decide, and the protected names with their answers."""
        own = {
            OPERATOR_ALLOW: (("allow", self.config.allow, False), ("block", self.config.block, True)),
            OPERATOR_BLOCK: (("block", self.config.block, False), ("allow", self.config.allow, True)),
        }
        for id in INTERNAL:
            if id in own:
                rules = (self._targets(key, targets, hole) for key, targets, hole in own[id])
                yield ListPlan(id, nearest=True, own=tuple(rule for found in rules for rule in found))
            else:
                answers = (entry for entry in self.catalogue.protected if entry.answer == id.removeprefix("="))
                yield ListPlan(id, own=tuple(self._protected(entry.name) for entry in answers))

    def _targets(self, key: str, targets: Iterable[Any], hole: bool) -> Iterator[Own]:
        for index, target in enumerate(targets):
            rule = Rule(target.name, Kind(target.scope, hole, Rank.OWN))
            yield Own(rule, f"the operator's {key} names", *self.config.where(key, index), f"{key}: {target}")

    def _protected(self, name: str) -> Own:
        return Own(
            Rule(name, Kind(Scope.EXACT, rank=Rank.OWN)), "protected names", *self._place("protected", name), name
        )

    def service(self, ref: ServiceRef) -> ListPlan:
        """The list of a service that a directive names."""
        service = self.catalogue.services[ref.service]
        return ListPlan(
            _service_list(ref),
            service.title,
            own=tuple(self._service_rules(ref)),
            hosts=tuple(self._hosts(ref)),
        )

    def list(self, spec: ListSpec) -> ListPlan:
        allows = spec.type == "allow"
        own = [
            *(rule for ref in spec.services for rule in self._service_rules(ref)),
            *(self._resolver_rules() if spec.resolvers else ()),
            *self._names(spec, "block", allows),
            *self._names(spec, "allow", not allows),
        ]
        if spec.canary:
            rule = Rule(spec.canary, Kind(Scope.EXACT, rank=Rank.OWN))
            own.append(Own(rule, "canary", *self._where(spec.id, "canary"), f"canary: {spec.canary}"))
        return ListPlan(
            spec.id,
            spec.title or spec.id,
            spec.description or "",
            spec.homepage or "",
            spec.license or "",
            spec.updated.isoformat() if spec.updated else "",
            allows,
            sources=tuple(map(self.source, spec.sources)),
            own=tuple(own),
            hosts=tuple(host for ref in spec.services for host in self._hosts(ref)),
            special=tuple(self._resolver_addresses()) if spec.resolvers else (),
            max_change=spec.max_change,
            protected=tuple(entry.name for entry in self.catalogue.protected),
        )

    def _names(self, spec: ListSpec, key: str, hole: bool) -> Iterator[Own]:
        """The own names of a list; ``hole``: they are taken out of it."""
        for index, target in enumerate(getattr(spec, key)):
            rule = Rule(target.name, Kind(target.scope, hole, Rank.OWN))
            yield Own(rule, f"{key} names of the list", *self._where(spec.id, key, index), f"{key}: {target}")

    def _service_rules(self, ref: ServiceRef) -> Iterator[Own]:
        tiers = self.catalogue.services[ref.service].tiers
        for tier in ref.tiers:
            for index, entry in enumerate(tiers.get(tier, ())):
                rule = Rule(entry.name, Kind(entry.scope, rank=Rank.OWN))
                place = self._place("service", ref.service, "tiers", tier, index)
                yield Own(rule, f"service {ref.service}, tier {tier}", *place, f"{entry.scope.label} {entry.name}")

    def _resolver_rules(self) -> Iterator[Own]:
        for id, resolver in self.catalogue.resolvers.items():
            for index, target in enumerate(resolver.names):
                rule = Rule(target.name, Kind(target.scope, rank=Rank.OWN))
                place = self._place("resolver", id, "names", index)
                yield Own(rule, f"encrypted DNS, {id}", *place, f"names: {target}")

    def _resolver_addresses(self) -> Iterator[tuple[Special, str]]:
        for id, resolver in self.catalogue.resolvers.items():
            for index, network in enumerate(resolver.addresses):
                file, line = self._place("resolver", id, "addresses", index)
                yield Special(line, On.ADDRESS, str(network), Kind(Scope.EXACT)), f"encrypted DNS, {id} ({file})"

    def _hosts(self, ref: ServiceRef) -> Iterator[str]:
        tiers = self.catalogue.services[ref.service].tiers
        return (host for tier in ref.tiers for entry in tiers.get(tier, ()) for host in entry.hosts)

    def source(self, source: ListSource) -> SourcePlan:
        if source.source is not None:
            known = self.catalogue.sources[source.source]
            return SourcePlan(
                known.id, known.url, known.format, known.subdomains, known.min_rules, known.max_rules,
                known.max_skipped, known.max_change, known.title, known.license, known.homepage, known.mirrors,
                known.interval,
            )  # fmt: skip
        location = str(source.url or source.path)
        return SourcePlan(
            shown(source.url) if source.url else self._relative(location), location,
            source.format, source.subdomains, source.min_rules, None, source.max_skipped, source.max_change,
            source.title or "", source.license or "", interval=source.interval, local=source.local,
            within=self._within(source.path) if source.path else (),
        )  # fmt: skip

    @property
    def _directory(self) -> Path:
        return Path(self.config.where()[0]).absolute().parent

    def _relative(self, path: str) -> str:
        """A path as from the configuration's directory, so that a bundle does not depend on where that is."""
        return str(Path(path).relative_to(self._directory)) if Path(path).is_relative_to(self._directory) else path

    def _within(self, path: Path) -> tuple[str, ...]:
        """The directories that a file of the configuration may be in. To name a file elsewhere allows its directory,
        unless the configuration says which ones it allows."""
        named = self.config.feeds.directories
        if not named and not Path(normpath(path)).is_relative_to(self._directory):
            named = (path.parent,)
        return tuple(map(str, dict.fromkeys((self._directory, *named))))

    def _where(self, list_id: str, *path: str | int) -> tuple[str, int]:
        if list_id in self.config.lists:
            return self.config.where("lists", list_id, *path)
        return self._place("list", list_id, *path)

    def _place(self, kind: str, id: str, *path: str | int) -> tuple[str, int]:
        file, line = self.catalogue.where(kind, id, *path)
        return f"feeds/{file}", line
