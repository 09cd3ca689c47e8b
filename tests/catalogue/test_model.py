from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sinkhole.catalogue.model import (
    BLOCKING,
    EDE,
    Directive,
    Duration,
    Entry,
    Evidence,
    Known,
    ListSource,
    ListSpec,
    Report,
    Service,
    ServiceRef,
    Source,
    Target,
    parse_duration,
    parse_target,
)
from sinkhole.document import Document, validate
from sinkhole.errors import ConfigError
from sinkhole.policy.verdict import Action
from sinkhole.rules import Scope

EVIDENCE = {"publisher": "Example Labs", "title": "A report", "date": "2026-01-31"}
DIRECTIVE: dict[str, Any] = {
    "id": "gb-example-2026-02-01",
    "title": "No Chatty",
    "authority": "Example Council",
    "country": "GB",
    "kind": "organisation-policy",
    "binds": "Staff",
    "citations": [EVIDENCE],
    "lists": ["chatty"],
    "effective-from": "2026-02-01T09:00:00+09:00",
    "message": {"en": "Not available here."},
}
SOURCE = {
    "id": "example",
    "title": "Example",
    "url": "https://lists.example.org/ads.txt",
    "license": "MIT",
    "homepage": "https://lists.example.org/",
}


def reason(kind: type, value: dict[str, Any], context: Known | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(kind, Document("f", value, {}), context)
    [problem] = caught.value.problems
    return f"{problem.path}: {problem.message}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("90s", 90.0), ("10m", 600.0), ("1h", 3600.0), ("7d", 604800.0)]
)
def test_durations_are_seconds_and_print_as_written_or_shorter(text: str, seconds: float) -> None:
    found = parse_duration(text)
    assert found == seconds
    assert parse_duration(str(found)) == found


@pytest.mark.parametrize("text", ["", "2", "s", "-2s", "2 s", "1.5s", "2w", "9999999999s", "２s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a number and a unit of ms, s, m, h, d"):
        parse_duration(text)


def test_durations_print_in_the_largest_unit_that_is_whole() -> None:
    assert [str(Duration(value)) for value in (0.5, 1, 90, 3600, 86400, 90000)] == [
        "500ms",
        "1s",
        "90s",
        "1h",
        "1d",
        "25h",
    ]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("example.com", Target("example.com", Scope.TREE)),
        ("=Example.COM.", Target("example.com", Scope.EXACT)),
        ("bücher.example", Target("xn--bcher-kva.example", Scope.TREE)),
    ],
)
def test_own_names_are_trees_or_exact(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (("a.test", Scope.EXACT), ("a.test", Scope.EXACT), True),
        (("a.test", Scope.EXACT), ("a.test", Scope.SUBDOMAINS), False),
        (("a.test", Scope.TREE), ("a.test", Scope.EXACT), True),
        (("a.test", Scope.TREE), ("x.a.test", Scope.EXACT), True),
        (("a.test", Scope.SUBDOMAINS), ("x.y.a.test", Scope.TREE), True),
        (("a.test", Scope.EXACT), ("x.a.test", Scope.TREE), False),
        (("a.test", Scope.TREE), ("aa.test", Scope.TREE), False),
        (("a.test", Scope.TREE), ("ba.test", Scope.TREE), False),
    ],
)
def test_targets_meet_when_a_name_is_in_both(one: tuple[str, Scope], other: tuple[str, Scope], meets: bool) -> None:
    assert Target(*one).meets(Target(*other)) is meets
    assert Target(*other).meets(Target(*one)) is meets


def test_models_are_built_in_code_with_python_names_and_typed_values() -> None:
    entry = Entry(name="Chatty.EXAMPLE", scope=Scope.EXACT, evidence=(Evidence(**EVIDENCE),))
    assert entry.target == Target("chatty.example", Scope.EXACT)
    assert entry.evidence[0].date == date(2026, 1, 31)
    assert Source(**SOURCE, min_rules=5).interval == 86400.0


def test_entries_cover_their_hosts() -> None:
    entry = {"name": "chatty.example", "scope": "subdomains", "hosts": ["chatty.example"], "evidence": [EVIDENCE]}
    assert reason(Entry, entry) == ": hosts: chatty.example is not covered by chatty.example (subdomains)"


def test_a_source_expects_a_range_of_sizes() -> None:
    assert reason(Source, {**SOURCE, "min-rules": 10, "max-rules": 9}) == ": max-rules (9) is less than min-rules (10)"
    assert validate(Source, Document("f", {**SOURCE, "min-rules": 9, "max-rules": 9}, {})).max_rules == 9


def test_evidence_may_be_the_id_of_a_report() -> None:
    report = Report(id="labs", **EVIDENCE)
    entry = {"name": "chatty.example", "evidence": ["labs"]}
    assert validate(Entry, Document("f", entry, {}), Known(Path(), reports={"labs": report})).evidence == (report,)
    assert reason(Entry, {**entry, "evidence": ["lab"]}, Known(Path(), reports={"labs": report})) == (
        "evidence[0]: unknown report 'lab'; did you mean \"labs\"?"
    )


def test_names_need_evidence() -> None:
    assert reason(Entry, {"name": "chatty.example", "evidence": []}).startswith("evidence: ")


def test_services_have_known_tiers_only() -> None:
    service = {
        "id": "x",
        "title": "X",
        "operator": "X",
        "country": "GB",
        "kind": "agent",
        "homepage": "https://x.example",
    }
    found = reason(Service, {**service, "tiers": {"cor": []}})
    assert found == "tiers.cor: unknown value 'cor'; did you mean \"core\"?"


def test_directives_are_instants_with_offsets_and_know_their_error_code() -> None:
    found = Directive.model_validate(DIRECTIVE)
    assert found.effective_from == datetime(2026, 2, 1, tzinfo=UTC)
    assert found.effective_from.tzinfo == timezone(timedelta(hours=9))
    assert found.action is Action.BLOCK
    assert found.ede == 15
    assert Directive.model_validate({**DIRECTIVE, "kind": "government-order"}).ede == 16
    assert set(EDE.values()) == {15, 16, 17}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"effective-from": "2026-02-01T09:00:00"}, "effective-from: '2026-02-01T09:00:00' has no UTC offset; write "),
        ({"effective-from": "2026-02-01"}, "effective-from: '2026-02-01' has no UTC offset; write "),
        ({"effective-from": "soon"}, "effective-from: 'soon' is not an instant; write "),
        ({"effective-until": "2026-01-31T23:59:59Z"}, ": effective-until (2026-01-31T23:59:59+00:00) is before "),
        ({"announce-from": "2026-02-02T00:00:00Z"}, ": effective-from (2026-02-01T09:00:00+09:00) is before announce-"),
        ({"review-at": "2025-01-01T00:00:00Z"}, ": review-at (2025-01-01T00:00:00+00:00) is before effective-from"),
        ({"message": {"ko": "x"}}, ": message: `en` is required"),
        ({"message": {"en": "x", "Korean!": "y"}}, ": message: 'Korean!' is not a language tag such as en or ko"),
        ({"lists": []}, ": a directive needs services or lists"),
        ({"kind": "advise"}, "kind: unknown value 'advise'; did you mean "),
        ({"country": "kr"}, "country: 'kr' is not a country; write two capitals of ISO 3166-1, as in KR"),
        ({"services": ["chatty:shared"]}, "services[0]: 'chatty:shared': names of the tier 'shared' are never blocked"),
        ({"action": "allow"}, "action: unknown value 'allow'; allowed: block, observe, warn"),
    ],
)
def test_directives_that_contradict_themselves_are_refused(change: dict[str, Any], why: str) -> None:
    assert reason(Directive, {**DIRECTIVE, **change}).startswith(why)


def test_references_are_checked_against_what_is_known() -> None:
    known = Known(
        Path("/x"), formats=["hosts"], services={"chatty": {"core": []}}, lists=["chatty"], sources=["example"]
    )
    spec = {"id": "l", "services": ["chatty", "chatty:core"], "sources": [{"path": "a"}, {"source": "example"}]}
    found = ListSpec.model_validate(spec, context=known)
    assert found.services == (ServiceRef("chatty", BLOCKING), ServiceRef("chatty", ("core",)))
    assert found.sources[0].path == Path("/x/a")
    assert reason(ListSpec, {"id": "l", "services": ["chatty:api"]}, known).endswith(
        "chatty has no tier 'api'; it has core"
    )
    assert reason(ListSpec, {"id": "l", "services": ["chat"]}, known).endswith('did you mean "chatty"?')
    assert reason(ListSource, {"source": "exmple"}, known).endswith(
        "unknown source 'exmple'; did you mean \"example\"?"
    )
    assert reason(ListSource, {"url": "https://x.example", "format": "host"}, known).endswith('did you mean "hosts"?')


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://example.org/a?b#c", True),
        ("https://user:secret@example.org:8443/", True),
        ("http://example.org/", False),
        ("file:///etc/passwd", False),
        ("https:///path", False),
        ("https://example.org:99999/", False),
        ("https://[::1/", False),
        ("https://example.org/a b", False),
        ("https://example.org/\n", False),
        ("example.org", False),
    ],
)
def test_sources_are_https(url: str, good: bool) -> None:
    if good:
        assert Source.model_validate({**SOURCE, "url": url}).url == url
    else:
        assert reason(Source, {**SOURCE, "url": url}).startswith(f"url: {url!r} is not a URL; write https://")


@pytest.mark.parametrize("value", [5, 1.5, True, None, [], {}])
def test_what_is_text_is_not_a_number_or_a_list(value: object) -> None:
    assert reason(Source, {**SOURCE, "interval": value}).startswith("interval: expected a duration such as 2s, got ")


def test_text_is_bounded_and_not_repeated_in_full() -> None:
    assert reason(Source, {**SOURCE, "url": "https://example.org/" + "a" * 5000}) == "url: longer than 2048 characters"


def test_models_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Source.model_validate(SOURCE).title = "other"  # type: ignore[misc]
