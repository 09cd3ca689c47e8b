"""Lines that are taken as one text mean what they mean one by one."""

from __future__ import annotations

from collections.abc import Iterable
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sinkhole.formats import FORMATS, reading
from sinkhole.formats.format import Format
from sinkhole.formats.sieve import sieve
from sinkhole.rules import Kind, Rule, Scope

TREE, EXACT, ALLOW = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.TREE, allow=True)
NAMES = (
    "a.test", "b.a.test", "A-b.Test", "_x.a.test", "x.a_b", "a.b_c.d", "a.test.", ".a.test", "a..test", "a.12", "a.1-",
    "1.2.3.4", "single", "localhost", "localhost.localdomain", "xn--zca.test", "xn--a.test", "-a.test", "ü.test", "",
    ".", "a." + "b" * 63, "a." + "b" * 64, "b" * 63 + ".test", "b" * 64 + ".test", "c.".join(["x" * 60] * 5) + ".test",
    "a.te\rst", "a b", "a\tb.test", "a.test\0",
)  # fmt: skip
SHAPES = (
    "{}", "0.0.0.0 {}", "127.0.0.1 {}", "||{}^", "@@||{}^", "*.{}", "address=/{}/", "local=/{}/",
    'local-zone: "{}." always_null', "||{}^$important",
    "0.0.0.0 {} # why", " {} ", "# {}", "! {}", "{} CNAME .", ".{}", "/{}/", "LOCAL=/{}/",
    "0.0.0.0 {}.", "",
)  # fmt: skip
LINES = st.builds(str.format, st.sampled_from(SHAPES), st.sampled_from(NAMES))


def read(format: Format, text: bytes, sieved: int) -> tuple[object, ...]:
    with mock.patch.object(reading, "SIEVED", sieved):
        parsed = format.read(text)
    stated = sorted((kind, sorted(names)) for kind, names in parsed.names.items() if names)
    return stated, parsed.special, parsed.disabled, parsed.skipped, sorted(parsed.samples), parsed.unread, parsed.lines


def every(shape: str, *more: str) -> list[str]:
    return [line for name in NAMES for line in (shape.format("good.test"), shape.format(name), *more)]


@pytest.mark.parametrize("format", [format for format in FORMATS.values() if format.sniffed], ids=lambda it: it.name)
@settings(max_examples=60)
@given(shape=st.sampled_from(SHAPES), lines=st.lists(LINES, max_size=12), end=st.sampled_from(["", "\n"]))
@example(shape="{}", lines=every("{}"), end="")
@example(shape="0.0.0.0 {}", lines=every("0.0.0.0 {}", "", "plain.test", "# comment"), end="\n")
@example(shape="||{}^", lines=every("||{}^", "plain.test", "! comment"), end="\n")
@example(shape="address=/{}/", lines=every("address=/{}/"), end="")
@example(shape='local-zone: "{}." always_null', lines=every('local-zone: "{}." always_null', "server:"), end="\n")
def test_a_text_means_the_same_as_its_lines(format: Format, shape: str, lines: Iterable[str], end: str) -> None:
    mixed = [other for line in lines for other in (shape.format("good.test"), line, shape.format("other.good.test"))]
    text = ("\n".join(mixed) + end).encode()
    assert read(format, text, 0) == read(format, text, 1 << 30)


def test_nearly_all_of_a_large_list_is_taken_at_once() -> None:
    names = [f"n{number}.example.test" for number in range(5000)]
    text = "".join(f"0.0.0.0 {name}\n" for name in names).encode()
    taken, left = sieve(b"# a list\n" + text + b"0.0.0.0 localhost\n", b"0.0.0.0 ", b"")
    assert set(taken.split()) > {b"." + name.encode() for name in names[1:-1]}
    assert left.count(b"\n") == len(names) + 2
    assert left.strip().startswith(b"# a list")
    parsed = FORMATS["hosts"].read(b"# a list\n" + text)
    assert parsed.bulk
    assert len(parsed) == len(names)
    assert set(parsed.rules()) == {Rule(name, EXACT) for name in names}
    assert not parsed.bulk
