"""The catalogue that ships: what its loader does not check by itself."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from sinkhole.catalogue import model
from sinkhole.catalogue.loader import Catalogue, load
from sinkhole.catalogue.model import BLOCKING
from sinkhole.names import lineage

DOCS = Path(__file__).parents[2] / "docs" / "catalogue.md"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


def test_deepseek_is_blocked_by_default_in_all_its_tiers(catalogue: Catalogue) -> None:
    [entry] = catalogue.policy
    assert entry.groups == ("all",)
    assert entry.directives == ("kr-mofa-2025-02-05",)
    assert entry.lists == ("deepseek",)
    assert catalogue.lists["deepseek"].canary == "canary-deepseek.example.com"
    assert set(catalogue.services["deepseek"].tiers) == set(BLOCKING)


@pytest.mark.parametrize(
    "name",
    ["chat.deepseek.com", "api.deepseek.com", "hif-leim.deepseek.com", "cmpassport.com", "fp-it.fengkongcloud.com"],
)
def test_names_of_public_reports_are_in_the_service(catalogue: Catalogue, name: str) -> None:
    entries = [entry for tier in BLOCKING for entry in catalogue.services["deepseek"].tiers[tier]]
    assert {entry.name for entry in entries} & set(lineage(name))


def test_entries_of_a_tier_are_sorted_and_have_their_evidence_dated(catalogue: Catalogue) -> None:
    for service in catalogue.services.values():
        for entries in service.tiers.values():
            assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
            assert all(proof.date.year >= 2023 for entry in entries for proof in entry.evidence)


def test_the_signals_that_matter_are_protected(catalogue: Catalogue) -> None:
    assert {entry.name: entry.answer for entry in catalogue.protected} == {
        "_dns.resolver.arpa": "nodata",
        "mask-h2.icloud.com": "nxdomain",
        "mask.icloud.com": "nxdomain",
        "use-application-dns.net": "nxdomain",
    }


def test_no_name_is_both_protected_and_never_blocked(catalogue: Catalogue) -> None:
    assert not {entry.name for entry in catalogue.protected} & {entry.name for entry in catalogue.never}


def test_every_source_says_its_terms_and_how_much_to_expect(catalogue: Catalogue) -> None:
    assert len(catalogue.sources) >= 3
    for source in catalogue.sources.values():
        assert source.format != "auto"
        assert source.min_rules > 1
        assert source.notes


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
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_key_is_documented(kind: type[BaseModel]) -> None:
    text = DOCS.read_text()
    for info in kind.model_fields.values():
        if info.alias != "id" or kind in (model.Service, model.Directive):
            assert f"| `{info.alias}` | {info.description} |" in text
