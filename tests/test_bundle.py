"""Bundles: whole or absent, named by their content, and read back as they were written."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole import bundle
from sinkhole.errors import BundleError
from sinkhole.files import swap_link
from sinkhole.names import key

LISTS = ["one", "two"]


def entries(codes: dict[int, list[bytes]]) -> bundle.Entries:
    return pairs((key, code) for code, keys in codes.items() for key in keys)


def pairs(found: Iterable[tuple[bytes, int]]) -> bundle.Entries:
    arranged = sorted(found)
    return bundle.Entries(b"".join(key + b"\n" for key, _ in arranged), [code for _, code in arranged])


def write(parent: Path, codes: list[dict[int, list[bytes]]], **more: object) -> Path:
    lists = [[entries(found)] for found in codes]
    manifest = {"lists": [{"id": name} for name in LISTS], **more}
    return bundle.write(parent, lists, manifest=manifest, policy={}, own=[], texts=[])


ENTRIES = st.dictionaries(
    st.sampled_from([key(name) for name in (b"a.test", b"b.a.test", b"c.test", b"x.b.a.test")]), st.integers(0, 3)
)


@settings(max_examples=50)
@given(lists=st.lists(ENTRIES, min_size=2, max_size=2))
def test_every_entry_is_read_back(tmp_path_factory: pytest.TempPathFactory, lists: list[dict[bytes, int]]) -> None:
    codes: list[dict[int, list[bytes]]] = [{}, {}]
    for number, entries in enumerate(lists):
        for name, code in entries.items():
            codes[number].setdefault(code, []).append(name)
    opened = bundle.load(write(tmp_path_factory.mktemp("bundles"), codes))
    wanted = {(number, name, code) for number, entries in enumerate(lists) for name, code in entries.items()}
    assert {(number, name, code) for name, attribute in opened.items() for number, code in attribute} == wanted
    found = opened.matches(key(b"x.b.a.test"))
    assert [name for name, _ in found] == sorted(
        {name for _, name, _ in wanted if key(b"x.b.a.test").startswith(name)}, key=len
    )
    assert len(opened) == len({name for _, name, _ in wanted})


def test_ranges_that_one_list_has_alone_stand_beside_those_that_lists_share(tmp_path: Path) -> None:
    alone, shared, other = ({3: [b"a.", b"b."], 1: [b"aa."]}, {3: [b"tset."]}, {1: [b"tset.", b"tset.x."]})
    ranges = [[entries(alone), entries(shared), entries({})], [entries({}), entries(other), entries({2: [b"x."]})]]
    manifest = {"lists": [{"id": name} for name in LISTS]}
    opened = bundle.load(bundle.write(tmp_path, ranges, manifest=manifest, policy={}, own=[], texts=[]))
    assert list(opened.items()) == [
        (b"a.", ((0, 3),)), (b"aa.", ((0, 1),)), (b"b.", ((0, 3),)),
        (b"tset.", ((0, 3), (1, 1))), (b"tset.x.", ((1, 1),)), (b"x.", ((1, 2),)),
    ]  # fmt: skip


def test_keys_are_found_between_any_two_and_one_by_one(tmp_path: Path) -> None:
    keys = sorted(key(b"%s%d.test" % (word, at)) for word in (b"", b"x.", b"y-", b"z.x.") for at in range(40))
    opened = bundle.load(write(tmp_path, [{3: keys[::2]}, {1: keys[1::3]}]))
    items = list(opened.items())
    assert [found for found, _ in items] == sorted({*keys[::2], *keys[1::3]})
    for start, end in product([b"", b"\xff", *keys[::7]], repeat=2):
        expected = [(found, attribute) for found, attribute in items if start <= found < end]
        assert list(zip(*opened.between(start, end), strict=True)) == expected
    for asked in keys:
        assert opened.entry(asked) == dict(items).get(asked, ())
        assert opened.matches(asked + b"a.") == [item for item in items if asked.startswith(item[0])]
    assert opened.matches(key(b"\n".join(name[-2::-1] for name in keys[:2]))) == []


def test_names_are_alike_when_they_and_their_ancestors_are_listed_alike(tmp_path: Path) -> None:
    """Random trees in and below each other, over several pages, with listed top labels and without, cut into ranges
    between any two keys."""
    draw = random.Random(20250205)
    labels = [b"a", b"b", b"ab", b"a-b", b"b0"]
    for tops in ([b"test", b"example"], [b"test"]):
        drawn = ([*draw.choices(labels, k=draw.randrange(5)), draw.choice(tops)] for _ in range(600))
        names = sorted(set(map(b".".join, drawn)))
        codes = [{key(name): draw.randrange(1, 4) for name in names if draw.random() < share} for share in (0.5, 0.3)]
        cuts = sorted(draw.choices([*codes[0]], k=40))
        bounds = list(zip([b"", *cuts], [*cuts, b"\xff"], strict=True))
        ranges = [[pairs((k, v) for k, v in found.items() if a <= k < b) for a, b in bounds] for found in codes]
        manifest = {"lists": [{"id": name} for name in LISTS]}
        opened = bundle.load(bundle.write(tmp_path, ranges, manifest=manifest, policy={}, own=[], texts=[]))
        assert len(opened._firsts) > 3
        told: dict[int, tuple[bool, list[bundle.Attribute]]] = {}
        for asked in [*map(key, names), *(key(b"x." + name) for name in names), key(b"x.y.com"), key(b"com"), b""]:
            found = opened.matches(asked)
            alike = found[-1:] != [] and found[-1][0] == asked, [attribute for _, attribute in found]
            number = opened.find(asked)
            assert told.setdefault(number, alike) == alike
            assert number == 0 if not found else (number > 0) is alike[0]
        assert len(told) == len({repr(alike) for alike in told.values()}) > 40


def test_there_may_be_more_records_than_an_octet_can_tell(tmp_path: Path) -> None:
    """Each key below the one before is listed like no other."""
    keys = [b"tset." + b"a." * depth for depth in range(120)] + [key(b"%d.example" % at) for at in range(400)]
    codes = [{k: 1 + at % 3 for at, k in enumerate(keys)}, {k: at for at, k in enumerate(keys[120:])}]
    lists = [[pairs(found.items())] for found in codes]
    opened = bundle.load(
        bundle.write(tmp_path, lists, manifest={"lists": [{"id": name} for name in LISTS]}, policy={}, own=[], texts=[])
    )
    assert len({opened.find(k) for k in keys}) == len(keys) == len(opened) == 520
    for k in keys:
        expected = tuple((number, found[k]) for number, found in enumerate(codes) if k in found)
        assert (opened.entry(k), opened.find(k + b"x.")) == (expected, -opened.find(k))
    assert dict(opened.items()) == {k: opened.entry(k) for k in keys}


@pytest.mark.parametrize("octets", [b"\x80", b"\xff\x80\x80\x80\x80", b"\0", b"\x80\n", b"\n"])
def test_octets_that_no_name_has_find_nothing(tmp_path: Path, octets: bytes) -> None:
    """A query may have any octets in its labels, those of tags among them."""
    opened = bundle.load(write(tmp_path, [{3: [b"tset.a.", b"tset.b."]}, {}]))
    for asked in (b"tset.a" + octets + b".", b"tset." + octets + b".", octets + b".", b"tset.a" + octets + b"tset.b."):
        assert opened.find(asked) == 0
        assert opened.entry(asked) == ()
    assert opened.find(b"tset.a." + octets + b".") == -opened.find(b"tset.a.") < 0


def test_what_is_remembered_of_names_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_REMEMBERED", 10)
    keys = sorted(key(b"x.%d.test" % at) for at in range(40))
    opened = bundle.load(write(tmp_path, [{3: keys[::2]}, {}]))
    for _ in range(2):
        for found in keys:
            assert bool(opened.find(found + b"y.")) is (found in keys[::2])
            assert len(opened._earlier) <= 10


def test_the_same_content_has_the_same_name_and_another_has_not(tmp_path: Path) -> None:
    codes: list[dict[int, list[bytes]]] = [{3: [b"tset.a.", b"tset.b."]}, {1: [b"tset.b."]}]
    first, again = write(tmp_path / "1", codes), write(tmp_path / "2", codes)
    assert first.name == again.name
    assert [path.name for path in sorted(first.iterdir())] == [path.name for path in sorted(again.iterdir())]
    for path in first.iterdir():
        if path.is_file():
            assert path.read_bytes() == (again / path.name).read_bytes()
    assert write(tmp_path / "1", codes) == first
    assert write(tmp_path / "1", [*codes[:1], {}]).name != first.name


@pytest.mark.parametrize(
    "name",
    [
        "index.keys",
        "index.first",
        "attributes.json",
        "policy.json",
        "own.json",
        "manifest.json",
    ],
)
def test_item_83_a_damaged_or_missing_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, [{3: [b"tset.a."]}, {}])
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    with pytest.raises(BundleError, match="manifest" if name == "manifest.json" else name):
        bundle.load(path)
    (path / name).unlink()
    with pytest.raises(BundleError, match=name):
        bundle.load(path)


def test_a_bundle_of_another_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [{}, {}])
    manifest = json.loads((path / "manifest.json").read_text())
    text = json.dumps({**manifest, "version": 99})
    other = tmp_path / hashlib.sha256(text.encode()).hexdigest()[:16]
    path.rename(other)
    (other / "manifest.json").write_text(text)
    with pytest.raises(
        BundleError, match="bundle version 99, this program reads version 3: `sinkhole build` makes one"
    ):
        bundle.load(other)


def test_old_bundles_go_and_the_one_in_use_stays(tmp_path: Path) -> None:
    paths = []
    for at in range(4):
        paths.append(write(tmp_path, [{3: [b"tset.%d." % at]}, {}]))
        os.utime(paths[-1], (at, at))
    swap_link(tmp_path / bundle.CURRENT, paths[0].name)
    (tmp_path / ".new-left-behind").mkdir()
    bundle.prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [bundle.CURRENT, paths[0].name, paths[2].name, paths[3].name]
    )
    assert bundle.current(tmp_path) == paths[0]


def test_there_is_no_current_bundle_before_the_first(tmp_path: Path) -> None:
    assert bundle.current(tmp_path) is None


def test_attributes_are_shared_by_names_that_say_the_same() -> None:
    index = bundle.Index()
    one, two = entries({3: [b"a.", b"b.", b"c."]}), entries({1: [b"b.", b"d."]})
    said = {name: index.attributes[number] for name, number in zip(*index.merge([one, two]), strict=True)}
    assert said == {b"a.": ((0, 3),), b"b.": ((0, 3), (1, 1)), b"c.": ((0, 3),), b"d.": ((1, 1),)}
    assert len(index.attributes) == 3
