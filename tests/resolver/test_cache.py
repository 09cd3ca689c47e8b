from __future__ import annotations

import random
import tracemalloc

import pytest

from sinkhole.resolver.cache import Cache
from sinkhole.resolver.message import Response


def response(ttl: int = 60, records: bytes = b"r") -> Response:
    return Response(0, records=records, ttls=(6,), ttl=ttl)


def test_an_entry_ages_and_ends() -> None:
    cache = Cache()
    cache.put(b"k", response(60), 1000.0)
    entry = cache.get(b"k", 1059.9)
    assert entry
    assert entry.response == response(60)
    assert (entry.stored, entry.hits, entry.retry) == (1000.0, 0, 1000.0)
    assert cache.get(b"k", 1060.0) is None
    assert len(cache) == cache.size == 0
    assert cache.get(b"k", 1000.0) is None


def test_a_ttl_of_zero_is_not_remembered_and_ends_what_was() -> None:
    cache = Cache()
    cache.put(b"k", response(60), 0.0)
    cache.put(b"k", response(0), 0.0)
    assert cache.get(b"k", 0.0) is None
    assert cache.size == 0


def test_the_least_recently_used_makes_room() -> None:
    cache = Cache()
    cache.put(b"a", response(), 0.0)
    cache.budget = 3 * cache.size
    for key in (b"b", b"c"):
        cache.put(key, response(), 0.0)
    cache.get(b"a", 1.0)
    cache.put(b"d", response(), 1.0)
    assert [bool(cache.get(key, 1.0)) for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert cache.size <= cache.budget


def test_replacing_does_not_add_up() -> None:
    cache = Cache()
    for size in (10, 1000, 100):
        cache.put(b"k", response(records=bytes(size)), 0.0)
    single = cache.size
    cache.put(b"k", response(records=bytes(100)), 0.0)
    assert cache.size == single


def test_what_is_larger_than_the_budget_is_not_remembered() -> None:
    cache = Cache(1000)
    cache.put(b"a", response(), 0.0)
    cache.put(b"b", response(records=bytes(1001)), 0.0)
    assert cache.get(b"a", 0.0)
    assert not cache.get(b"b", 0.0)


@pytest.mark.parametrize(
    ("octets", "names_held", "ttls"), [(16, 0, 1), (400, 0, 1), (100, 1, 2), (64, 0, 3), (2000, 0, 90)]
)
def test_item_17_random_names_stay_within_the_budget(octets: int, names_held: int, ttls: int) -> None:
    """The budget is about memory, so it is held against the allocator's count."""
    cache = Cache(4 << 20)
    tracemalloc.start()
    for number in range(20_000):
        names = (b"net.example.a%010d." % number,) * names_held
        places = tuple(range(6, 6 + 20 * ttls, 20))
        entry = Response(0, False, (ttls, 0, 0), bytes(octets), places, 60 + number, b"", names=names)
        cache.put(b"\x10random-%010d\7example\3com\0\0\1\0\1\0" % number, entry, float(number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.size <= cache.budget
    assert cache.budget * 0.65 < used < cache.budget * 1.05


def test_what_says_something_stays_for_a_while_after_its_time() -> None:
    cache = Cache(stale=100)
    for key, rcode in ((b"there", 0), (b"not there", 3), (b"failed", 2), (b"refused", 5)):
        cache.put(key, response(60)._replace(rcode=rcode), 0.0)
    assert [bool(cache.get(key, 60.0)) for key in (b"there", b"not there", b"failed", b"refused")] == [
        True,
        True,
        False,
        False,
    ]
    assert cache.get(b"there", 159.9)
    assert not cache.get(b"there", 160.0)
    assert len(cache) == 1


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_least_recently_used_go(seed: int) -> None:
    """Against a list of keys in the order of their use, with some that are replaced and some that end."""
    draw = random.Random(seed)
    single = Cache()
    single.put(b"%05d" % 0, response(1), 0.0)
    cache = Cache(200 * single.size)
    used: dict[bytes, float] = {}
    for step in range(20_000):
        now, key = step / 100, b"%05d" % int(draw.expovariate(1 / 150))
        alive = used.get(key, 0) > now
        if draw.random() < 0.5:
            assert bool(cache.get(key, now)) is alive
            if alive:
                used[key] = used.pop(key)
            else:
                used.pop(key, None)
        else:
            ttl = draw.choice((1, 50))
            cache.put(key, response(ttl), now)
            used.pop(key, None)
            used[key] = now + ttl
            if len(used) > 200:
                del used[next(iter(used))]
        assert len(cache) == len(used)
    assert cache.size == len(used) * single.size


@pytest.mark.parametrize(
    "kept",
    [
        Response(0, True, (2, 0, 0), b"records", (6, 22), 300),
        Response(0, False, (1, 0, 0), b"other", (6,), 1),
        Response(3, False, (0, 1, 0), b"soa", (40,), 900, b"option"),
        Response(2, ttl=5, options=b"error"),
        Response(0, False, (2, 0, 0), b"alias", (6, 40), 60, b"long", False, (b"short", b""), (b"moc.elpmaxe.",)),
    ],
)
def test_a_response_is_as_it_was(kept: Response) -> None:
    cache = Cache()
    cache.put(b"k", kept, 0.0)
    entry = cache.get(b"k", 0.5)
    assert entry
    assert entry.response == kept
    assert type(entry.response) is Response


def test_responses_of_a_few_addresses_share_all_but_these() -> None:
    """Octets of an entry, key and all: some 380, where one of its own form takes as much again."""
    shared, own = Cache(), Cache()
    for number in range(1000):
        key, octets = b"\x03www\x07example\3com\0\0\1\0\1%d" % number, bytes(16)
        shared.put(key, Response(0, False, (1, 0, 0), octets, (6,), 60), 0.0)
        own.put(key, Response(0, False, (1, 0, 0), octets, (7,), 60), 0.0)
    assert shared.size < 390_000 < 1.5 * shared.size < own.size
