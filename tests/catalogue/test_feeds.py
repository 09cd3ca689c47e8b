"""The catalogue that ships: what its loader does not check by itself."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from sinkhole.catalogue import model, written
from sinkhole.catalogue.loader import Catalogue, load
from sinkhole.catalogue.model import BLOCKING, KINDS, Entry, Target
from sinkhole.formats import FORMATS
from sinkhole.names import lineage, public_suffixes
from sinkhole.rules import Scope

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs" / "catalogue.md"
FEEDS = CHECKOUT / "feeds"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(FEEDS)


def blocking(catalogue: Catalogue) -> Iterator[tuple[str, str, Entry]]:
    """(service, tier, entry) of every name that blocks."""
    for service in catalogue.services.values():
        for tier in BLOCKING:
            yield from ((service.id, tier, entry) for entry in service.tiers.get(tier, ()))


def on_lists(catalogue: Catalogue) -> Iterator[tuple[str, Target]]:
    """(list, name) of everything that the lists of the catalogue state themselves."""
    for id, spec in catalogue.lists.items():
        for ref in spec.services:
            tiers = catalogue.services[ref.service].tiers
            yield from ((id, entry.target) for tier in ref.tiers for entry in tiers.get(tier, ()))
        if spec.resolvers:
            yield from ((id, name) for resolver in catalogue.resolvers.values() for name in resolver.names)
        yield from ((id, target) for target in spec.block)


def texts(value: Any, key: str) -> Iterator[str]:
    """Every text under ``key``, however deep, in plain data."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield from inner if isinstance(inner, list) else [inner]
            else:
                yield from texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, key)


def test_every_file_is_as_the_formatter_writes_it() -> None:
    for path, type_ in written.files(FEEDS):
        assert written.written(path.read_bytes(), type_, path.name) == path.read_bytes(), path


def test_no_file_is_left_unread() -> None:
    read = {path for path, _ in written.files(FEEDS)}
    assert {path for path in FEEDS.rglob("*") if path.is_file()} == read


def test_names_are_written_as_lower_case_a_labels(catalogue: Catalogue) -> None:
    for (kind, id), place in catalogue.places.items():
        for key in ("name", "hosts", "names", "canary", "block", "allow"):
            for text in texts(place.document.data, key):
                assert re.fullmatch(r"=?(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{2,63}", text), (kind, id, text)


def test_deepseek_is_blocked_by_default_in_all_its_tiers(catalogue: Catalogue) -> None:
    [entry] = catalogue.policy
    assert entry.groups == ("all",)
    assert entry.directives == ("kr-mofa-2025-02-05",)
    assert entry.lists == ("deepseek",)
    assert catalogue.lists["deepseek"].canary == "canary-deepseek.example.com"
    assert set(catalogue.services["deepseek"].tiers) == set(BLOCKING)


@pytest.mark.parametrize(
    "name",
    [
        "chat.deepseek.com",
        "api.deepseek.com",
        "platform.deepseek.com",
        "static.deepseek.com",
        "cdn.deepseek.com",
        "hif-leim.deepseek.com",
        "hif-dliq.deepseek.com",
        "harness-telemetry.deepseeksvc.com",
        "cmpassport.com",
        "wap.cmpassport.com",
        "fp-it.fengkongcloud.com",
        "captcha.fengkongcloud.com",
        "gator.volces.com",
        "apmplus.volces.com",
        "deepseekapp.cc",
    ],
)
def test_names_of_public_reports_are_in_the_service(catalogue: Catalogue, name: str) -> None:
    entries = {entry.name for service, _, entry in blocking(catalogue) if service == "deepseek"}
    assert entries & set(lineage(name))


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("chatgpt", "chatgpt.com"),
        ("chatgpt", "api.openai.com"),
        ("claude", "claude.ai"),
        ("cursor", "cursor.com"),
        ("doubao", "doubao.com"),
        ("gemini", "gemini.google.com"),
        ("github-copilot", "api.githubcopilot.com"),
        ("google-ai-studio", "generativelanguage.googleapis.com"),
        ("grok", "grok.com"),
        ("huggingface", "huggingface.co"),
        ("kimi", "kimi.com"),
        ("meta-ai", "meta.ai"),
        ("microsoft-copilot", "copilot.microsoft.com"),
        ("midjourney", "midjourney.com"),
        ("mistral", "chat.mistral.ai"),
        ("perplexity", "perplexity.ai"),
        ("qwen", "chat.qwen.ai"),
        ("suno", "suno.com"),
    ],
)
def test_what_people_mean_by_generative_ai_is_there(catalogue: Catalogue, service: str, name: str) -> None:
    covered = {entry.name for id, _, entry in blocking(catalogue) if id == service}
    assert covered & set(lineage(name))
    assert service in {ref.service for ref in catalogue.lists["generative-ai"].services}


def test_services_are_many_and_of_every_kind_and_of_both_worlds(catalogue: Catalogue) -> None:
    assert len(catalogue.services) >= 60
    assert {service.kind for service in catalogue.services.values()} == set(KINDS)
    countries = Counter(service.country for service in catalogue.services.values())
    assert countries["CN"] >= 20
    assert countries["US"] >= 40


def test_every_name_that_blocks_has_dated_evidence_and_one_owner(catalogue: Catalogue) -> None:
    owners: dict[str, str] = {}
    for service, _, entry in blocking(catalogue):
        assert owners.setdefault(entry.name, service) == service, entry.name
        for proof in entry.evidence:
            assert date(2023, 1, 1) <= proof.date <= date(2026, 11, 23), entry.name


def test_a_url_and_its_date_say_which_document_is_meant(catalogue: Catalogue) -> None:
    """A report without a date of its own says so, and a file of a repository is named at its commit."""
    for id, report in catalogue.reports.items():
        assert report.url or id == "feroot", id
        if report.url and "/blob/" in report.url:
            assert re.search(r"/blob/[0-9a-f]{40}/", report.url), id
            assert report.retrieved, id


def test_every_report_is_given_by_a_name(catalogue: Catalogue) -> None:
    given = {
        proof
        for place in catalogue.places.values()
        for proof in texts(place.document.data, "evidence")
        if isinstance(proof, str)
    }
    assert given == set(catalogue.reports)


def test_shared_names_are_in_no_tier_that_blocks(catalogue: Catalogue) -> None:
    for service in catalogue.services.values():
        for shared in service.tiers.get("shared", ()):
            for tier in BLOCKING:
                for entry in service.tiers.get(tier, ()):
                    assert not entry.target.meets(Target(shared.name, Scope.EXACT)), (service.id, shared.name)


def test_nothing_blocks_a_public_suffix_or_a_never_block_name(catalogue: Catalogue) -> None:
    stated = list(on_lists(catalogue))
    trees = [target.name.encode() for _, target in stated if Scope.SUBDOMAINS in target.scope]
    assert not public_suffixes(trees)
    for id, target in stated:
        for never in catalogue.never:
            assert not target.meets(never.target), (id, target, never.name)


def test_what_a_name_covers_is_listed_for_formats_without_trees(catalogue: Catalogue) -> None:
    for service, _, entry in blocking(catalogue):
        assert entry.name not in entry.hosts
        for host in entry.hosts:
            assert entry.name in set(lineage(host)), (service, host)


def test_the_signals_that_matter_are_protected(catalogue: Catalogue) -> None:
    assert {entry.name: entry.answer for entry in catalogue.protected} == {
        "_dns.resolver.arpa": "nodata",
        "mask-h2.icloud.com": "nxdomain",
        "mask.icloud.com": "nxdomain",
        "use-application-dns.net": "nxdomain",
    }


def test_no_name_is_both_protected_and_never_blocked(catalogue: Catalogue) -> None:
    assert not {entry.name for entry in catalogue.protected} & {entry.name for entry in catalogue.never}


def test_never_blocked_is_what_everything_rests_on(catalogue: Catalogue) -> None:
    assert {never.kind for never in catalogue.never} == set(model.NEVER)
    assert len(catalogue.never) >= 50


@pytest.mark.parametrize("name", ["dns.google", "cloudflare-dns.com", "dns.quad9.net", "dns.nextdns.io"])
def test_encrypted_dns_of_others_is_on_the_bypass_list(catalogue: Catalogue, name: str) -> None:
    assert name in {target.name for id, target in on_lists(catalogue) if id == "bypass"}


def test_addresses_of_encrypted_dns_are_public_and_said_once(catalogue: Catalogue) -> None:
    addresses = [address for resolver in catalogue.resolvers.values() for address in resolver.addresses]
    assert len(addresses) > 50
    assert len(set(addresses)) == len(addresses)
    assert all(address.is_global and address.num_addresses == 1 for address in addresses)


LISTS = {"deepseek", "generative-ai", "generative-ai-cn", "third-party-exfiltration", "bypass", "ads", "security"}


def test_lists_are_described_and_have_a_canary_each(catalogue: Catalogue) -> None:
    assert set(catalogue.lists) == LISTS
    for id, spec in catalogue.lists.items():
        assert spec.canary == f"canary-{id}.example.com"
        assert len(spec.description or "") > 40
        assert spec.license
    stated = {target.name for _, target in on_lists(catalogue)}
    assert not any("canary" in name for name in stated)


def test_generative_ai_is_every_service_and_its_chinese_part_is_that(catalogue: Catalogue) -> None:
    assert {ref.service for ref in catalogue.lists["generative-ai"].services} == set(catalogue.services)
    chinese = {id for id, service in catalogue.services.items() if service.country == "CN"}
    assert {ref.service for ref in catalogue.lists["generative-ai-cn"].services} == chinese
    assert all(ref.tiers == BLOCKING for ref in catalogue.lists["generative-ai"].services)
    assert all(
        set(ref.tiers) <= {"telemetry", "third-party"} for ref in catalogue.lists["third-party-exfiltration"].services
    )


def test_exports_are_the_lists_that_need_no_download(catalogue: Catalogue) -> None:
    assert set(catalogue.exports) == {id for id, spec in catalogue.lists.items() if not spec.sources}
    index = json.loads((CHECKOUT / "exports" / "index.json").read_bytes())["exports"]
    assert {entry["list"] for entry in index} == set(catalogue.exports)
    assert {entry["format"] for entry in index} == set(FORMATS)


#: Who decided what in the winter of 2025: (country, authority, action, list, kind, when).
ORDERS = [
    ("KR", "Ministry of Foreign Affairs", "block", "deepseek", "own-assessment", "2025-02-05"),
    ("KR", "Ministry of Trade, Industry and Energy", "block", "deepseek", "own-assessment", "2025-02-05"),
    ("KR", "Ministry of National Defense", "block", "deepseek", "own-assessment", "2025-02-05"),
    ("KR", "Ministry of Economy and Finance", "block", "deepseek", "own-assessment", "2025-02"),
    ("KR", "Ministry of Environment", "block", "deepseek", "own-assessment", "2025-02"),
    ("KR", "Korean National Police Agency", "block", "deepseek", "own-assessment", "2025-02"),
    ("KR", "Ministry of the Interior and Safety", "warn", "generative-ai", "advice", "2025-02-04"),
    (
        "KR",
        "Personal Information Protection Commission",
        "block",
        "deepseek",
        "government-order",
        "2025-02-15T18:00:00+09:00",
    ),
    ("KR", "Kakao", "block", "deepseek", "organisation-policy", "2025-02-04"),
    ("KR", "LG Uplus", "block", "deepseek", "organisation-policy", "2025-02-05"),
    ("KR", "LG Uplus", "warn", "deepseek", "advice", "2025-02-05"),
    ("KR", "Samsung Electronics", "block", "generative-ai", "organisation-policy", "2025-02-05"),
    ("KR", "SK Group", "block", "generative-ai", "organisation-policy", "2025-02-05"),
    ("KR", "LG Electronics", "block", "generative-ai", "organisation-policy", "2025-02-05"),
    ("KR", "Korea Hydro & Nuclear Power", "block", "deepseek", "organisation-policy", "2025-02"),
    ("KR", "KEPCO Plant Service & Engineering", "block", "deepseek", "organisation-policy", "2025-02"),
    ("KR", "Hyundai Motor Group", "block", "deepseek", "organisation-policy", "2025-02"),
    ("IT", "Garante per la protezione dei dati personali", "block", "deepseek", "government-order", "2025-01"),
    ("AU", "Department of Home Affairs", "block", "deepseek", "government-order", "2025-02"),
    ("TW", "Ministry of Digital Affairs", "block", "deepseek", "government-order", "2025-01"),
    ("US", "United States House of Representatives", "observe", "deepseek", "bill", "2025-02"),
]


def test_the_directives_of_february_2025_are_all_there_and_no_others(catalogue: Catalogue) -> None:
    found = [
        (entry.country, entry.authority, entry.action.value, *entry.lists, entry.kind, entry.effective_from.isoformat())
        for entry in catalogue.directives.values()
    ]
    assert len(found) == len(ORDERS)
    for *order, since in ORDERS:
        assert [row for row in found if list(row[:-1]) == order and row[-1].startswith(since)], order


def test_directives_say_whom_they_bind_and_on_what_record(catalogue: Catalogue) -> None:
    groups = Counter(entry.group for entry in catalogue.directives.values())
    for id, entry in catalogue.directives.items():
        assert id.startswith(f"{entry.country.lower()}-")
        assert id.endswith(entry.effective_from.date().isoformat())
        assert entry.group
        assert groups[entry.group] == 1
        assert all(citation.url for citation in entry.citations)
        assert entry.country not in ("KR", "IT", "TW") or len(entry.message) == 2, id
        assert entry.services or entry.lists


def test_only_prior_authorisation_opens_exceptions(catalogue: Catalogue) -> None:
    assert {id for id, entry in catalogue.directives.items() if entry.exceptions} == {
        "kr-lge-2025-02-05",
        "kr-samsung-2025-02-05",
        "kr-sk-2025-02-05",
    }


def test_temporary_orders_are_reviewed(catalogue: Catalogue) -> None:
    for id in ("kr-motie-2025-02-05", "kr-moef-2025-02-06", "kr-me-2025-02-06", "kr-pipc-2025-02-15"):
        entry = catalogue.directives[id]
        assert entry.review_at
        assert entry.effective_until is None
        assert "suggestion" in (entry.note or "")


def test_sources_are_many_of_many_kinds(catalogue: Catalogue) -> None:
    assert len(catalogue.sources) >= 40
    categories = Counter(catalogue.where("source", id)[0] for id in catalogue.sources)
    assert {Path(name).stem for name in categories} == {
        "abuse", "ads", "bypass", "categories", "mining", "regional", "security", "tracking",
    }  # fmt: skip
    assert {source.format for source in catalogue.sources.values()} >= {
        "adblock", "dnscrypt", "dnsmasq", "domains", "hosts", "pihole-regex", "rpz", "unbound", "v2fly", "wildcard",
    }  # fmt: skip


def test_every_source_says_its_terms_and_how_much_to_expect(catalogue: Catalogue) -> None:
    for id, source in catalogue.sources.items():
        assert source.format in FORMATS, id
        assert 1 < source.min_rules < (source.max_rules or 0), id
        assert source.notes
        assert re.fullmatch(r"[A-Z][A-Za-z0-9.-]+", source.license), id
        for url in (source.url, source.homepage, *source.mirrors):
            assert urlsplit(url).scheme == "https", id
    places = [url for source in catalogue.sources.values() for url in (source.url, *source.mirrors)]
    assert len(set(places)) == len(places)


def test_a_service_is_not_called_as_a_source_is(catalogue: Catalogue) -> None:
    assert not catalogue.services.keys() & catalogue.sources.keys()


@pytest.mark.parametrize(
    "kind",
    [
        model.Source,
        model.Service,
        model.Entry,
        model.Evidence,
        model.Directive,
        model.Citation,
        model.PolicyEntry,
        model.Never,
        model.Protected,
        model.Resolver,
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_key_is_documented(kind: type[BaseModel]) -> None:
    text = DOCS.read_text()
    for info in kind.model_fields.values():
        if info.alias != "id" or kind in (model.Service, model.Directive, model.Resolver):
            assert f"| `{info.alias}` | {info.description} |" in text
