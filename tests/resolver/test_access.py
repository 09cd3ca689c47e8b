from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest

from sinkhole.resolver import access
from sinkhole.resolver.access import DENIED, IGNORED, PRIVATE, PROXY, WELCOME, Access, Networks, Rules, behind, packed


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0
        self.read = 0

    def __call__(self) -> float:
        self.read += 1
        return self.now


def take(target: Access, client: str, count: int = 1) -> int:
    """How many of so many queries of a client are within its limit."""
    _, bucket = target.meet(client)
    within = 0
    for _ in range(count):
        bucket[0] -= 1
        within += bucket[0] >= 0 or target.refill(bucket)
    return within


@pytest.mark.parametrize(
    "client",
    [
        *("127.0.0.1", "127.255.255.254", "10.0.0.0", "172.31.255.255", "192.168.1.7", "100.64.0.1", "169.254.9.9"),
        *("::1", "fe80::1%eth0", "fd00::1", "fc00::", "::ffff:10.1.2.3"),
    ],
)
def test_private_addresses_may_ask(client: str) -> None:
    assert Access(Rules(allow=PRIVATE)).meet(client)[0] == WELCOME


@pytest.mark.parametrize(
    "client",
    ["128.0.0.1", "172.32.0.0", "11.0.0.0", "192.169.0.0", "100.128.0.0", "192.0.2.1", "2001:db8::1", "::ffff:8.8.8.8"],
)
@pytest.mark.parametrize(("silent", "standing"), [(False, DENIED), (True, IGNORED)])
def test_other_addresses_may_not(client: str, silent: bool, standing: int) -> None:
    assert Access(Rules(allow=PRIVATE, silent=silent)).meet(client)[0] == standing
    assert Access(Rules()).meet(client)[0] == WELCOME


@pytest.mark.parametrize(
    "client", ["0.0.0.0", "0.1.2.3", "224.0.0.251", "239.1.1.1", "255.255.255.255", "::", "ff02::1"]
)
def test_an_address_that_no_client_has_is_ignored_whoever_may_ask(client: str) -> None:
    """A forged source: an answer would go to many."""
    for rules in (Rules(), Rules(allow=PRIVATE), Rules(allow=(*PRIVATE, "0.0.0.0/0", "::/0"))):
        assert Access(rules).meet(client)[0] == IGNORED


def test_a_set_of_networks_has_what_its_networks_have() -> None:
    draw = random.Random(7)
    texts = [str(ip_network((draw.getrandbits(32) >> 20 << 20, draw.randint(6, 32)), strict=False)) for _ in range(30)]
    texts += [
        str(ip_network((draw.getrandbits(128) >> 96 << 96, draw.randint(6, 128)), strict=False)) for _ in range(9)
    ]
    networks, found = [*map(ip_network, texts)], Networks(texts)
    near = [ip_address(int(network.network_address) + draw.randint(-1, 1)) for network in networks for _ in range(20)]
    for address in [*near, *(ip_address(draw.getrandbits(32)) for _ in range(500))]:
        assert (address.packed in found) == any(address in network for network in networks), address


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.1.1", "localhost", "::g", "1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(OSError, match="illegal"):
        packed(text)


def test_a_network_has_its_rate_and_no_more() -> None:
    clock = Clock()
    target = Access(Rules(rate=100), clock)
    assert take(target, "192.0.2.1", 150) == 100
    assert take(target, "192.0.2.254", 50) == 0  # of the same network
    assert take(target, "192.0.3.1", 150) == 100  # of another one
    clock.now += 0.25
    assert take(target, "192.0.2.1", 50) == 25
    clock.now += 3600
    assert take(target, "192.0.2.1", 500) == 100


def test_in_the_long_run_the_rate_is_exact() -> None:
    clock = Clock()
    target = Access(Rules(rate=50), clock)
    taken = 0
    for _ in range(10_000):
        clock.now += 0.003
        taken += take(target, "192.0.2.1", 3)
    assert taken == pytest.approx(50 * 30, abs=52)


def test_a_client_below_its_limit_loses_nothing_and_costs_no_look_at_the_clock() -> None:
    clock = Clock()
    target = Access(Rules(rate=100), clock)
    for _ in range(90):
        clock.now += 0.1
        assert take(target, "192.0.2.1") == 1
    assert clock.read == 1


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("2001:db8:0:ff::1", "2001:db8:0:1::9", True),
        ("2001:db8:0:ff::1", "2001:db8:0:100::1", False),
        ("0.0.2.1", "::2:1", False),
    ],
)
def test_limits_are_per_network(one: str, other: str, shared: bool) -> None:
    target = Access(Rules(rate=1))
    assert (target.meet(one)[1] is target.meet(other)[1]) is shared


def test_exempt_networks_and_proxies_have_no_limit() -> None:
    target = Access(Rules(rate=1, exempt=("127.0.0.0/8",), proxies=("192.0.2.53/32",)))
    assert take(target, "127.0.0.1", 1000) == take(target, "192.0.2.53", 1000) == 1000
    assert target.meet("192.0.2.53")[0] == PROXY
    assert take(Access(Rules()), "192.0.2.1", 1000) == 1000


def test_the_table_of_networks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged sources from everywhere; one that goes on asking keeps its bucket, empty as it is."""
    monkeypatch.setattr(access, "MAX_BUCKETS", 100)
    target = Access(Rules(rate=10), Clock())
    _, bucket = target.meet("192.0.2.1")
    bucket[0] = 0
    for number in range(1000):
        target.meet(f"10.{number // 250}.{number % 250}.1")
        assert len(target._buckets) <= 100
    assert not target.refill(bucket)


@pytest.mark.parametrize(
    ("subnet", "client"),
    [
        (b"\0\1\x20\0\xc0\0\2\7", "192.0.2.7"),
        (b"\0\1\x18\0\xc0\0\2", "192.0.2.0"),
        (b"\0\2\x38\0\x20\1\x0d\xb8\0\0\1", "2001:db8:0:100::"),
        (b"\0\1\0\0", None),  # RFC 7871 7.1.2: the client wants no address told
        (b"\0\1\x20\0\xc0\0\2\7\7", None),
        (b"\0\3\x20\0\xc0\0\2\7", None),
        (b"\1\1\x20\0\xc0\0\2\7", None),
        (b"\0\2\x80\0" + bytes(17), None),
        (b"\0", None),
        (b"", None),
    ],
)
def test_the_client_of_a_proxy(subnet: bytes, client: str | None) -> None:
    assert behind(subnet) == client
