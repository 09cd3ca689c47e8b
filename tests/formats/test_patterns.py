"""Patterns: one spelling, in time that grows with the name alone, and nothing that is not understood."""

from __future__ import annotations

import random
from itertools import product

import pytest

from sinkhole.formats.patterns import (
    MAX_PATTERN,
    BadPattern,
    below,
    compiled,
    everything,
    expression,
    mask,
    posix,
    suffix,
)

BACK = "a pattern with a back-reference or look-around"
NONE = "a pattern with a character that no name has"
UNKNOWN = "a pattern that is not understood"


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (r"^ads[0-9]+\.", r"^ads[0-9]+\."),
        ("Ads", "(?i)Ads"),
        ("(?i)ads", "ads"),
        ("(?i)ADS", "(?i)ADS"),
        ("[[:upper:]]x", "(?i)[[:upper:]]x"),
    ],
)
def test_an_expression_has_one_spelling(text: str, spelled: str) -> None:
    assert expression(text) == spelled
    assert expression(spelled) == spelled


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty pattern"),
        ("(?i)", "an empty pattern"),
        ("a" * (MAX_PATTERN + 1), "a pattern longer than 512 characters"),
        ("bücher", NONE),
        (r"(a)\1", BACK),
        ("(?=a)b", BACK),
        ("(?!a)b", BACK),
        ("(?<=a)b", BACK),
        ("(?<!a)b", BACK),
        ("(?>a)b", BACK),
        (r"\Qa.b\E", UNKNOWN),
        ("(a", UNKNOWN),
        ("a**", UNKNOWN),
        ("a{1001}", UNKNOWN),
        (".{400}$", "a pattern that is too large"),
        ("((a{1,10}){1,10}){1,10}", "a pattern that is too large"),
    ],
)
def test_an_expression_that_cannot_be_run_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(BadPattern) as caught:
        expression(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("text", "finds", "not_finds"),
    [
        ("||ads.*^", ["ads.test", "x.ads.y.test"], ["xads.test"]),
        ("||ads", ["ads.test", "adsx.test", "b.ads.test"], ["bads.test"]),
        ("|ads.", ["ads.test"], ["b.ads.test"]),
        ("ads.test^", ["bads.test", "ads.test"], ["ads.test.b"]),
        ("ads.test|", ["bads.test"], ["ads.test.b"]),
        ("*.a.test", ["b.a.test", "b.a.testing"], ["a.test"]),
        ("-ads.", ["x-ads.test"], ["xads.test"]),
        ("ads*banner", ["ads.x.banner.test"], ["banner.ads.test"]),
        ("AdS.", ["ads.test"], ["a.test"]),
    ],
)
def test_a_mask_finds_what_it_finds_in_the_engine(text: str, finds: list[str], not_finds: list[str]) -> None:
    search = compiled(mask(text)).search
    assert all(search(name.encode()) for name in finds)
    assert not any(search(name.encode()) for name in not_finds)


@pytest.mark.parametrize("text", ["a^b", "a|b", "a/b", "https://a.test^", "bü*", "a b", "a%b"])
def test_a_mask_with_what_no_name_has_is_refused(text: str) -> None:
    with pytest.raises(BadPattern, match=NONE):
        mask(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"^ad[sz]?\d+\.", r"^ad[sz]?\d+\."),
        (r"[\.]x", r"[\\.]x"),
        (r"[]a]b", r"[]a]b"),
        (r"[^[:digit:]]x", r"[^[:digit:]]x"),
        ("a(?#why)b", "ab"),
        ("(?:a|b)c", "(?:a|b)c"),
        ("a{2,3}b{4}c{5,}", "a{2,3}b{4}c{5,}"),
        ("ADS", "(?i)ADS"),
    ],
)
def test_a_posix_expression_is_read_as_its_engine_reads_it(text: str, found: str) -> None:
    assert posix(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (r"(a)\1", "a pattern with a back-reference"),
        ("a{~1}", "approximate matching"),
        ("(abc){+1}", "approximate matching"),
        ("a{,5}", "approximate matching"),
        (r"\<a", "an escape that is not understood"),
        (r"\Qa\E", "an escape that is not understood"),
        ("(?=a)", "a group that is not understood"),
        ("[[.a.]]", "a bracket that is not understood"),
        ("[a", "a bracket that is not understood"),
    ],
)
def test_a_posix_expression_beyond_what_can_be_run_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPattern) as caught:
        posix(text)
    assert str(caught.value) == why


@pytest.mark.parametrize("text", [".*", ".", "^", "[a-z0-9_.-]", r"\.", "^.+$", "a*"])
def test_what_finds_nearly_every_name_is_known(text: str) -> None:
    assert everything(text)


@pytest.mark.parametrize("text", ["a", "ads", r"\.test$", "^[a-z]+$", r"^\d"])
def test_what_finds_some_names_is_not_everything(text: str) -> None:
    assert not everything(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (r"a\.test$", "a.test"),
        (r"(\.|^)a-b\.test$", "a-b.test"),
        (r"(?i)A\.Test$", "a.test"),
        (r"ab?c$", "c"),
        (r"a[bc]\.d$", ".d"),
        (r"x.test$", "test"),
        (r"a\.test", ""),
        (r"a|b\.test$", ""),
        (r"(a|b)\.test$", ".test"),
        (r"(?:a)+$", ""),
        (r"a{2}$", ""),
        (r"\d$", ""),
    ],
)
def test_a_certain_end_is_found(text: str, end: str) -> None:
    assert suffix(text) == end


def test_a_pattern_that_cannot_find_a_name_below_finds_none() -> None:
    labels = ["a", "b", "test", "a-b"]
    names = [".".join(parts) for size in (2, 3, 4) for parts in product(labels, repeat=size)]
    texts = [
        r"a\.test$",
        r"(\.|^)b\.a$",
        "a",
        r"^a\.b",
        r"\.test$",
        r"b$",
        r"-b\.test$",
        r"a|b\.test$",
        r"^test\.a\.b$",
    ]
    certain = 0
    for text, name in product(texts, names):
        if not below(text, name):
            certain += 1
            assert not any(compiled(text).search(f"{label}.{name}".encode()) for label in labels)
    assert certain > 500


def corpus() -> list[str]:
    """Two hundred expressions on which engines that go back take for ever."""
    draw = random.Random(54)
    atoms = ["a", "[ab]", ".", r"\w", "(a|b)", "(a|aa)", "(a+)", "(a*)", "(.*a)", "(a?)", "[a-z0-9-]"]
    ends = ["$", "c", r"\.x$", "[^a]", "b{3}", ""]
    found = {
        f"({draw.choice(atoms)}{draw.choice(['*', '+', '?'])}){draw.choice(['*', '+', '{8}', '{2,60}'])}{end}"
        for end in ends * 12
    }
    while len(found) < 200:
        parts = [draw.choice(atoms) + draw.choice(["", "*", "+", "{1,40}", "{20}"]) for _ in range(draw.randint(2, 9))]
        found.add("^" * draw.randint(0, 1) + "".join(parts) + draw.choice(ends))
    return sorted(found)[:200]


def test_item_54_no_expression_of_the_corpus_is_larger_than_its_text_allows() -> None:
    """What bounds the time of a match is the size of the program: counts that unfold to more are refused."""
    sizes = []
    for text in corpus():
        try:
            found = compiled(expression(text))
        except BadPattern:
            continue
        sizes.append(found.programsize)
        for name in (b"a" * 253, b"ab" * 126, (b"a" * 62 + b".") * 4):
            found.search(name)
    assert len(sizes) > 100
    assert max(sizes) <= 256 + MAX_PATTERN
