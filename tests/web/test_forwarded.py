"""Whom a reverse proxy asks for, and what a client can do about that: nothing."""

from __future__ import annotations

import pytest

from sinkhole.resolver.access import Access, Rules
from sinkhole.web.forwarded import Unclear, client

TRUSTS = Access(Rules(proxies=("192.0.2.0/28", "2001:db8::/64", "127.0.0.1"))).trusts
PROXY = "192.0.2.1"


@pytest.mark.parametrize(
    ("listed", "who"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["2001:DB8:1::7"], "2001:db8:1::7"),
        (["[2001:db8:1::7]"], "2001:db8:1::7"),
        (["[2001:db8:1::7]:4711"], "2001:db8:1::7"),
        (["10.0.0.1, 198.51.100.7"], "198.51.100.7"),  # the first is what the client wrote
        (["10.0.0.1", "198.51.100.7"], "198.51.100.7"),
        (["10.0.0.1, 198.51.100.7 ,192.0.2.2, 2001:db8::2"], "198.51.100.7"),  # through three proxies
        (["<script>, ', 198.51.100.7"], "198.51.100.7"),
        (["192.0.2.3"], "192.0.2.3"),  # a proxy's own question
        (["192.0.2.3, 192.0.2.2"], "192.0.2.3"),
    ],
)
def test_the_last_address_that_is_not_a_proxys_is_the_client(listed: list[str], who: str) -> None:
    assert client(PROXY, listed, [], TRUSTS) == who


@pytest.mark.parametrize(
    ("forwarded", "who"),
    [
        (["for=198.51.100.7"], "198.51.100.7"),
        (['For="[2001:db8:1::7]:4711";proto=https;by=203.0.113.43'], "2001:db8:1::7"),
        (["for=10.0.0.1, proto=https; for = 198.51.100.7"], "198.51.100.7"),
        (['for="10.0.0.1', "for=198.51.100.7"], "198.51.100.7"),  # a quote that the client left open
        (["host=x;for=198.51.100.7,for=192.0.2.9;by=192.0.2.1"], "198.51.100.7"),
    ],
)
def test_the_standard_header_says_the_same(forwarded: list[str], who: str) -> None:
    """RFC 7239 4."""
    assert client(PROXY, [], forwarded, TRUSTS) == who
    assert client(PROXY, [who], forwarded, TRUSTS) == who


@pytest.mark.parametrize(
    ("listed", "forwarded"),
    [
        ([], []),
        ([""], []),
        (["unknown"], []),
        (["198.51.100.7, unknown"], []),
        (["198.51.100.7, 192.0.2.2, _hidden"], []),
        (["198.51.100.300"], []),
        (["fe80::1%eth0"], []),
        (["198.51.100.7, "], []),
        (["1" * 10_000], []),
        ([], ["for=unknown"]),
        ([], ["for=_gazonk"]),
        ([], ["by=198.51.100.7"]),
        ([], ["forx=198.51.100.7"]),
        (["198.51.100.7"], ["for=198.51.100.8"]),  # one of them is the client's own
        (["198.51.100.7"], ["for=unknown"]),
    ],
)
def test_a_proxy_that_names_nobody_or_two_is_not_answered_for_anyone(listed: list[str], forwarded: list[str]) -> None:
    with pytest.raises(Unclear, match=r"^192\.0\.2\.1 is a proxy and has to name one client"):
        client(PROXY, listed, forwarded, TRUSTS)


def test_nobody_else_is_believed() -> None:
    for peer in ("198.51.100.7", "::1", "192.0.2.16"):
        assert client(peer, ["10.0.0.1"], ["for=10.0.0.2"], TRUSTS) == peer
