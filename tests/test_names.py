"""Names: what is one, in each of its forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from sinkhole import names

GOOD = {
    "Example.COM.": "example.com",
    "a.b-": "a.b-",
    "-edge-.under_score.test": "-edge-.under_score.test",
    "faß.de": "xn--fa-hia.de",
    "Müller.DE": "xn--mller-kva.de",
    "日本。jp": "xn--wgv71a.jp",
    "xn--mller-kva.de": "xn--mller-kva.de",
    "☃.test": "xn--n3h.test",
    "xn--n3h.test": "xn--n3h.test",
    "аррӏе.com": "xn--80ak6aa92e.com",  # a mixed-script look-alike stays a name of its own
    "ｅｘａｍｐｌｅ.com": "example.com",
    f"{'a' * 63}.test": f"{'a' * 63}.test",
    "_dns.resolver.arpa": "_dns.resolver.arpa",
}
BAD = {
    "": "an empty label",
    "com": "a single label",
    "a..b": "an empty label",
    ".example.com": "an empty label",
    "1.2.3.4": "an address, not a name",
    "1.2.3": "an address, not a name",
    "192.168.": "an address, not a name",
    "10.0.0.0/8": "an address, not a name",
    "[2001:db8::1]": "an address, not a name",
    "2001:db8::1": "an address, not a name",
    "１２７.0.0.1": "an address, not a name",
    "example.123": "a top label that is a number",
    "*.example.com": "a character that no name has",
    "exa mple.com": "a character that no name has",
    "example.com/path": "a character that no name has",
    'ex"ample.com': "a character that no name has",
    "ads\u200d.com": "not a valid international name",
    "xn--a.com": "invalid punycode",
    "xn--zzzzzzzzzzzzzzzz9999.com": "invalid punycode",
    f"{'a' * 64}.test": "a label longer than 63 octets",
    ".".join(["abcdefgh"] * 29): "longer than 253 octets",
}


@pytest.mark.parametrize(("text", "name"), GOOD.items())
def test_a_name_in_any_writing_becomes_one_form(text: str, name: str) -> None:
    assert names.parse_name(text) == name
    assert names.parse_name(name) == name


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_what_is_no_name_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(names.BadName) as error:
        names.parse_name(text)
    assert str(error.value) == why


def test_a_single_label_is_a_name_only_where_it_is_asked_for() -> None:
    assert names.parse_name("localhost", single=True) == "localhost"


@given(st.text(max_size=300))
def test_any_text_is_a_name_of_the_index_or_refused(text: str) -> None:
    try:
        name = names.parse_name(text)
    except names.BadName:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(name) <= 253
    assert names.parse_name(name) == name


LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=4)


def wire(labels: list[bytes]) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


@given(LABELS)
def test_labels_of_any_octets_have_a_key_of_their_own_and_print_safely(labels: list[bytes]) -> None:
    """Names are compared by label, and printed with escapes only."""
    packed = wire(labels)
    assert names.wire_key(packed).count(b".") == len(labels)
    assert names.present(packed).isascii()
    assert names.present(packed).isprintable()
    assert " " not in names.present(packed)


def test_item_07_a_dot_inside_a_label_is_not_a_label_boundary() -> None:
    assert names.wire_key(wire([b"ads.example", b"com"])) != names.wire_key(wire([b"ads", b"example", b"com"]))
    assert not names.wire_key(wire([b"ads.example", b"com"])).startswith(names.key(b"example.com"))
    assert names.present(wire([b"ads.example", b"com"])) == r"ads\.example.com"
    assert names.present(wire([b"a\nb\x1b\x00\xff", b"test"])) == r"a\010b\027\000\255.test"
    assert names.present(b"\0") == "."


def test_the_forms_of_one_name_agree() -> None:
    assert names.key(b"www.example.com") == b"moc.elpmaxe.www."
    assert names.unkey(b"moc.elpmaxe.www.") == b"www.example.com"
    assert names.to_wire("www.example.com") == wire([b"www", b"example", b"com"])
    assert names.wire_key(wire([b"WWW", b"Example", b"com"])) == b"moc.elpmaxe.www."
    assert names.wire_key(b"\0") == b""
    assert names.to_wire("") == b"\0"
    assert list(names.lineage("a.b.test")) == ["a.b.test", "b.test", "test"]


def test_public_suffixes_are_those_of_the_list() -> None:
    found = names.public_suffixes(
        sorted(map(names.key, (b"com", b"co.uk", b"github.io", b"foo.ck", b"www.ck", b"example.com", b"a.github.io")))
    )
    assert set(map(names.unkey, found)) == {b"com", b"co.uk", b"github.io", b"foo.ck"}


def test_the_whole_public_suffix_list_is_understood() -> None:
    judge = PublicSuffixList()
    suffixes, wild, exceptions = names._suffix_rules()
    assert len(suffixes) > 9000
    below = [key + b"x." for key in (*wild, *exceptions)]
    for key in [*suffixes, *below, *exceptions]:
        assert judge.is_public(names.unkey(key).decode()) == bool(names.public_suffixes([key])), key


def test_many_keys_give_the_names_that_each_gives() -> None:
    found = [b"example.com", b"a.b.example.com", b"-x.y_.test"]
    assert names.unkeyed(map(names.key, found)).split(b"\n") == found
    assert names.unkeyed([]) == b""
