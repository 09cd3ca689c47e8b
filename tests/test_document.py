import random
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from sinkhole import document
from sinkhole.document import dotted, read, suggest, validate
from sinkhole.errors import ConfigError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: StrictInt = Field(0, alias="size")
    names: tuple[str, ...] = Field((), alias="names")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    on: StrictBool = Field(False, alias="on")
    inner: Inner | None = Field(None, alias="inner")
    many: dict[str, Inner] = Field(default_factory=dict, alias="many")
    required: str = Field(alias="required")


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(Outer, read(text.encode() if isinstance(text, str) else text, "f.yaml"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("~", "~"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("12:30:45", "12:30:45"),
        ("2025-02-05", "2025-02-05"),
        ("9.9.9.9", "9.9.9.9"),
        ("999999999999999999999", "999999999999999999999"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("|\n  a\n  b", "a\nb"),
    ],
)
def test_scalars_are_typed_only_when_plain_and_unmistakable(text: str, value: object) -> None:
    found = read(f"a: {text}".encode(), "f").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text() -> None:
    assert read(b"no: 1\n1: 2\ntrue: 3", "f").data == {"no": 1, "1": 2, "true": 3}


@pytest.mark.parametrize("text", [b"", b"# only a comment\n", b"---\n", b"null", b"\xef\xbb\xbf"])
def test_nothing_is_an_empty_mapping(text: bytes) -> None:
    assert read(text, "f").data == {}


def test_positions_are_those_of_keys_and_items_and_fall_back_to_the_nearest_ancestor() -> None:
    found = read(b"a:\n  b: [x,\n      y]\n  c: {d: 1}\n", "f")
    assert found.where(()) == (1, 1)
    assert found.where(("a",)) == (1, 1)
    assert found.where(("a", "b")) == (2, 3)
    assert found.where(("a", "b", 0)) == (2, 7)
    assert found.where(("a", "b", 1)) == (3, 7)
    assert found.where(("a", "c", "d")) == (4, 7)
    assert found.where(("a", "c", "missing", "deeper")) == (4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [1", "f.yaml:2:1: not YAML: did not find expected ',' or ']'"),
        (b"a: b: c", "f.yaml:1:5: not YAML: mapping values are not allowed in this context"),
        (b"a: 1\n\xff: 2", "f.yaml:2:1: not UTF-8 text"),
        ("a: 1".encode("utf-16"), "f.yaml:1:1: not UTF-8 text"),
        (b"a: \x00", "f.yaml:1:1: not YAML: control characters are not allowed"),
        (b"- a", "f.yaml:1:1: expected a mapping of keys, got a list"),
        (b"hello", "f.yaml:1:1: expected a mapping of keys, got 'hello'"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document; a file holds one"),
        (b"? [a]\n: 1", "f.yaml:1:3: a key must be plain text"),
        (b"#" * (document.MAX_BYTES + 1), f"f.yaml: larger than {document.MAX_BYTES} bytes"),
    ],
)
def test_what_cannot_be_read_to_its_end_is_one_problem(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "f.yaml")
    assert str(caught.value) == message


def test_what_can_be_read_over_is_reported_with_what_validation_finds() -> None:
    text = "on: no\non: true\ninner: &x {size: 1}\nmany: {a: *x, b: {<<: *x, size: '2'}}\nrequird: !!str s\n"
    anchors = "anchors and aliases are not supported; write the value out"
    assert problems(text) == [
        "f.yaml:1:1: required: required, and not there",
        "f.yaml:2:1: on: duplicate key; it is already on line 1",
        f"f.yaml:3:8: inner: {anchors}",
        f"f.yaml:4:11: many.a: {anchors}",
        "f.yaml:4:19: many.b.<<: merge keys are not supported; write the keys out",
        f"f.yaml:4:23: many.b.<<: {anchors}",
        "f.yaml:4:27: many.b.size: expected a whole number, got '2'",
        "f.yaml:5:10: requird: tags are not supported; quote the value if it is text",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on: no", "on: expected true or false, got 'no'"),
        ("on: 1", "on: expected true or false, got 1"),
        ("inner: 3", "inner: expected a mapping, got 3"),
        ("inner: {size: true}", "inner.size: expected a whole number, got true"),
        ("inner: {size: 1.5}", "inner.size: expected a whole number, got 1.5"),
        ("inner: {names: abc}", "inner.names: expected a list, got 'abc'"),
        ("inner: {names: [a, 5]}", "inner.names[1]: expected text, got 5"),
        ("inner: {names: [a, ]}\nmany: []", "many: expected a mapping, got a list"),
        ("inner: {nmaes: [a]}", 'inner.nmaes: unknown key; did you mean "names"?'),
        ("many: {x: {sizes: 1}}", 'many.x.sizes: unknown key; did you mean "size"?'),
        ("zzz: 1", "zzz: unknown key; allowed: inner, many, on, required"),
        ("inner: {names: ['" + "x" * 500 + "', null]}", "inner.names[1]: expected text, got nothing"),
    ],
)
def test_what_does_not_fit_says_the_path_and_what_is_allowed(text: str, message: str) -> None:
    [found] = problems(f"{text}\nrequired: x\n")
    assert found.split(": ", 1)[1] == message


def test_a_valid_document_is_the_model() -> None:
    outer = validate(Outer, read(b"required: x\nmany: {a: {size: 2}}", "f"))
    assert outer == Outer(required="x", many={"a": Inner(size=2)})


def test_dotted_paths() -> None:
    assert dotted(("policy", 0, "lists", 1)) == "policy[0].lists[1]"
    assert dotted(()) == ""


def test_suggestions_are_near_or_all() -> None:
    assert suggest("servrs", ["servers", "timeout"]) == 'did you mean "servers"?'
    assert suggest("x", ["b", "a"]) == "allowed: a, b"
    assert suggest("x", []) == "there is none"
    assert suggest("a" * 1_000_000, ["b"]) == "allowed: b"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 20_000,
        b"{a: " * 20_000,
        b"- " * 20_000,
        b"? " * 20_000,
        b"a: &a [" + b"*a," * 20_000 + b"]",
        b"&a " * 20_000,
        b"a: [" + b"x," * 500_000 + b"]",
        b"a:\n" * 300_000,
        b"a: '" + b"'" * 1_000_000,
        b"a: [" + b"{}," * 300_000,
        b"a" * 1_000_000 + b": 1",
        b"".join(b"k%d: 1\n" % n for n in range(90_000)),
        b"many:\n" + b"".join(b" k%d: {x: 1}\n" % n for n in range(40_000)),
    ],
)
def test_hostile_text_is_answered_at_once(text: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        validate(Outer, read(text, "f"))
    assert time.process_time() - started < 2
    assert len(caught.value.problems) <= document.MAX_PROBLEMS + 1
    assert len(str(caught.value)) < 100_000


@given(st.binary(max_size=200) | st.text("abc:-[]{}?&*!|>'\"#%@` \n\t,<0.", max_size=200).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_are_a_document_or_a_config_error(text: bytes) -> None:
    with suppress(ConfigError):
        assert isinstance(read(text, "f").data, dict)


def test_mutations_of_a_document_are_documents_or_config_errors() -> None:
    seed = random.Random(5)
    whole = b"on: true\ninner: {size: 1, names: [a, \"b\", 'c']}\nmany:\n  x:\n    size: 3\nrequired: |\n  text\n"
    for _ in range(3000):
        text = bytearray(whole)
        for _ in range(seed.randint(1, 4)):
            at = seed.randrange(len(text))
            text[at : at + seed.randint(0, 3)] = seed.choice([b"", b":", b"\n", b"[", b"}", b"&", b"*", b"\xff", b"\t"])
        with suppress(ConfigError):
            assert isinstance(validate(Outer, read(bytes(text), "f")), Outer)
