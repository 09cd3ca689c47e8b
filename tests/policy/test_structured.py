from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.policy.structured import MAX_TEXT, MAX_TOTAL, structured


@pytest.mark.parametrize(
    ("contact", "uris"),
    [
        ("help@example.org", ["mailto:help@example.org"]),
        ("mailto:help@example.org", ["mailto:help@example.org"]),
        ("tel:+358-555-1234567", ["tel:+358-555-1234567"]),
        ("https://example.org/contact", None),
        ("Room 101, ask for the desk", None),
        ("mailto:" + "a" * MAX_TEXT, None),
        ("", None),
    ],
)
def test_contacts_are_uris_of_the_two_schemes_that_clients_know(contact: str, uris: list[str] | None) -> None:
    full, *_ = structured(15, "why", 6, contact=contact)
    assert json.loads(full).get("c") == uris


def test_only_blocked_has_a_sub_error() -> None:
    """draft-ietf-dnsop-structured-dns-error-25, 5.2: not Censored."""
    assert [json.loads(text) for text in structured(15, "why", 6)] == [{"s": 6, "j": "why", "l": "en"}, {"s": 6}]
    assert [json.loads(text) for text in structured(16, "why", 5)] == [{"j": "why", "l": "en"}]
    assert json.loads(structured(17, "why", 5, contact="a@example.org")[1]) == {"c": ["mailto:a@example.org"]}


@given(st.sampled_from([15, 16, 17]), st.text(max_size=400), st.text(max_size=400), st.text(max_size=300))
def test_whatever_people_write_is_bounded_and_json(ede: int, why: str, contact: str, organisation: str) -> None:
    for text in structured(ede, why, 5, contact=contact, organisation=organisation):
        assert len(text.encode()) <= MAX_TOTAL
        assert set(json.loads(text)) <= set("cjsol")
