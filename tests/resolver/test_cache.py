from __future__ import annotations

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


@pytest.mark.parametrize(("octets", "names_held"), [(16, 0), (400, 0), (100, 1)])
def test_item_17_random_names_stay_within_the_budget(octets: int, names_held: int) -> None:
    """The budget is about memory, so it is held against the allocator's count."""
    cache = Cache(4 << 20)
    tracemalloc.start()
    for number in range(20_000):
        names = (b"net.example.a%010d." % number,) * names_held
        entry = Response(0, False, (1, 0, 0), bytes(octets), (6,), 60 + number, b"", names=names)
        cache.put(b"\x10random-%010d\7example\3com\0\0\1\0\1\0" % number, entry, float(number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.size <= cache.budget
    assert cache.budget * 0.5 < used < cache.budget * 1.05


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
