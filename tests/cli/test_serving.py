from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from sinkhole import __version__
from tests.cli.conftest import Web
from tests.conftest import FORWARDED, IPV6, Running, Site, alive, children

NXDOMAIN, NOERROR, REFUSED = dns.rcode.NXDOMAIN, dns.rcode.NOERROR, dns.rcode.REFUSED

SETTINGS = {
    "workers": 2,
    "groups": {"lab": {"clients": ["127.0.0.2"]}},
    "lists": {
        "games": {"block": ["games.example.com"]},
        "warned": {"block": ["warned.example.com"]},
        "watched": {"block": ["watched.example.com"]},
        "ads": {"block": ["ads.example.com"], "allow": ["=good.ads.example.com"]},
        "trusted": {"type": "allow", "allow": ["needed.ads.example.com", "status.deepseek.com"]},
    },
    "policy": [
        {"groups": ["all"], "directives": ["kr-mofa-2025-02-05"], "lists": ["deepseek", "ads", "trusted"]},
        {"groups": ["lab"], "lists": ["games"]},
        {"groups": ["all"], "lists": ["warned"], "action": "warn"},
        {"groups": ["all"], "lists": ["watched"], "action": "observe"},
    ],
    "block": ["bad.example.com"],
    "allow": ["good.bad.example.com", "static.deepseek.com"],
}
NULL = ["0.0.0.0"]


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Site(tmp_path_factory.mktemp("site")).running(SETTINGS) as running:
        yield running


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


def errors(answer: dns.message.Message) -> list[tuple[int, str | None]]:
    """(code, text) of the Extended DNS Errors."""
    return [(option.code, option.text) for option in answer.options if isinstance(option, dns.edns.EDEOption)]


def soa(answer: dns.message.Message) -> bool:
    return [rrset.rdtype for rrset in answer.authority] == [dns.rdatatype.SOA]


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("endpoint", [0, pytest.param(1, marks=pytest.mark.skipif(not IPV6, reason="no IPv6"))])
def test_a_name_of_a_directive_is_answered_with_the_directive(resolver: Running, endpoint: int, tcp: bool) -> None:
    answer = resolver.ask("Chat.DeepSeek.com", at=endpoint, tcp=tcp)

    assert answer.rcode() == NOERROR
    assert addresses(answer) == NULL
    assert answer.answer[0].ttl == 60
    assert errors(answer) == [(15, "kr-mofa-2025-02-05: Access is restricted.")]
    assert answer.flags & dns.flags.RA
    assert not answer.flags & dns.flags.AA
    assert answer.question[0].name.to_text() == "Chat.DeepSeek.com."  # octet for octet as asked


def test_a_blocked_name_has_an_answer_for_every_type(resolver: Running) -> None:
    assert addresses(resolver.ask("deepseek.com", "AAAA")) == ["::"]
    for rtype in ("HTTPS", "TXT", "MX", "SVCB"):
        answer = resolver.ask("deepseek.com", rtype)
        assert (answer.rcode(), addresses(answer), soa(answer)) == (NOERROR, [], True), rtype
        assert errors(answer) == [(15, "kr-mofa-2025-02-05: Access is restricted.")]


def test_dig_shows_the_directive(resolver: Running, peer: Callable[[str], str]) -> None:
    for more in ([], ["+tcp"]):
        command = [peer("dig"), "@127.0.0.1", "-p", str(resolver.port), "chat.deepseek.com", *more]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        assert "status: NOERROR" in shown
        assert "chat.deepseek.com.\t60\tIN\tA\t0.0.0.0" in shown
        assert "; EDE: 15 (Blocked): (kr-mofa-2025-02-05: Access is restricted.)" in shown


@pytest.mark.parametrize("tcp", [False, True])
def test_an_unlisted_name_is_forwarded(resolver: Running, tcp: bool) -> None:
    name = f"unlisted-{tcp}.example.org".lower()
    answer = resolver.ask(name, tcp=tcp)

    assert (answer.rcode(), addresses(answer), errors(answer)) == (NOERROR, FORWARDED, [])
    assert sum(name.split(".")[0] in asked.name for asked in resolver.upstream.asked) == 1


def test_what_is_blocked_reaches_no_upstream(resolver: Running) -> None:
    resolver.ask("api.deepseek.com")
    resolver.ask("use-application-dns.net")

    assert not any("deepseek" in asked.name or "application" in asked.name for asked in resolver.upstream.asked)


@pytest.mark.parametrize(
    ("name", "client", "expected"),
    [
        ("canary-deepseek.example.com", "127.0.0.1", NULL),
        ("not-deepseek.com", "127.0.0.1", FORWARDED),
        ("games.example.com", "127.0.0.1", FORWARDED),
        ("games.example.com", "127.0.0.2", NULL),
        ("chat.deepseek.com", "127.0.0.2", NULL),
        ("warned.example.com", "127.0.0.1", FORWARDED),
        ("watched.example.com", "127.0.0.1", FORWARDED),
        ("x.ads.example.com", "127.0.0.1", NULL),
        ("good.ads.example.com", "127.0.0.1", FORWARDED),
        ("x.good.ads.example.com", "127.0.0.1", NULL),
        ("x.needed.ads.example.com", "127.0.0.1", FORWARDED),
        ("status.deepseek.com", "127.0.0.1", NULL),  # no list weakens a directive,
        ("static.deepseek.com", "127.0.0.1", FORWARDED),  # but the operator does
        ("x.bad.example.com", "127.0.0.1", NULL),
        ("good.bad.example.com", "127.0.0.1", FORWARDED),
    ],
)
def test_policy(resolver: Running, name: str, client: str, expected: list[str]) -> None:
    answer = resolver.ask(name, source=client)

    assert (answer.rcode(), addresses(answer)) == (NOERROR, expected)


def test_without_any_configuration(site: Site) -> None:
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.bind(("127.0.0.1", 5353))
    except OSError:
        pytest.skip("port 5353 is in use here")
    with site.running(None) as running:
        ipv6 = ", [::1]:5353" if IPV6 else ""
        assert running.greeting == (
            f"sinkhole {__version__} answers on 127.0.0.1:5353{ipv6}; try: dig @127.0.0.1 -p 5353 chat.deepseek.com\n"
        )
        assert addresses(running.ask("chat.deepseek.com")) == NULL
        assert addresses(running.ask("canary-deepseek.example.com", tcp=True)) == NULL
    assert sorted(path.name for path in site.directory.iterdir()) == ["serve.log", "state"]


def test_a_reload_changes_how_blocked_names_are_answered(site: Site) -> None:
    """Every mode, and the protected names keep their one right answer in each."""
    expected = {
        "nxdomain": (NXDOMAIN, [], True),
        "nodata": (NOERROR, [], True),
        "refused": (REFUSED, [], False),
        "null-ip": (NOERROR, NULL, False),
    }
    order = (15, "kr-mofa-2025-02-05: Access is restricted.")

    def now(name: str, rtype: str = "A") -> tuple[int, list[str], bool]:
        answer = running.ask(name, rtype)
        assert answer.edns == 0
        assert errors(answer)[:1] == [order] or "deepseek" not in name
        return answer.rcode(), addresses(answer), soa(answer)

    def is_now(wanted: tuple[int, list[str], bool]) -> bool:
        return now("chat.deepseek.com") == wanted

    with site.running({"workers": 1}) as running:
        for mode, wanted in expected.items():
            running.configure({"workers": 1, "blocking": {"mode": mode, "ttl": 7}})
            running.eventually(partial(is_now, wanted))
            assert now("use-application-dns.net") == (NXDOMAIN, [], True)
            assert now("_dns.resolver.arpa", "SVCB") == (NOERROR, [], True)
        running.configure({"workers": 1, "blocking": {"mode": ["192.0.2.80", "192.0.2.81", "2001:db8::80"]}})
        running.eventually(partial(is_now, (NOERROR, ["192.0.2.80", "192.0.2.81"], False)))
        assert errors(running.ask("chat.deepseek.com")) == [order, (4, None)]  # RFC 8914 4.5: Forged Answer
        assert now("chat.deepseek.com", "AAAA") == (NOERROR, ["2001:db8::80"], False)
        assert now("chat.deepseek.com", "HTTPS") == (NOERROR, [], True)


def test_a_second_instance_is_refused(resolver: Running) -> None:
    """It changes nothing for the first one."""
    ran = resolver.site.run("serve", code=1)

    assert ran.out == ""
    assert ran.err == (
        f"sinkhole: {resolver.site.state}/serve.lock is locked: "
        f"another sinkhole (process {resolver.process.pid}) uses {resolver.site.state}\n"
    )
    assert addresses(resolver.ask("chat.deepseek.com")) == NULL


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_one_clear_line(site: Site, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        address = "{}:{}".format(*other.getsockname())
        config = site.configure({"listen": {"dns": [address]}, "upstream": {"servers": ["192.0.2.1"]}})
        ran = site.run("serve", "-c", config, code=1)

    assert ran.err == (
        f"sinkhole: {address}: the port is in use by another program; stop it, or set another port in listen.dns\n"
    )


def test_a_broken_configuration_is_refused_with_every_problem(site: Site) -> None:
    site.write("bad.yaml", "workers: two\nlisten: {dns: [localhost]}\nlitsen: {}\n")

    ran = site.run("serve", "-c", "bad.yaml", code=1)

    assert ran.out == ""
    assert [line.split(": ")[0] for line in ran.err.removeprefix("sinkhole: ").splitlines()] == [
        "bad.yaml:1:1",
        "bad.yaml:2:16",
        "bad.yaml:3:1",
    ]
    assert not site.state.exists()


def test_a_new_configuration_is_in_force_at_the_start(site: Site) -> None:
    """Without the network: the bundle of the last run is not used when the configuration says something else."""
    settings = {"workers": 1, "block": ["first.example.com"]}
    with site.running(settings) as running:
        assert addresses(running.ask("first.example.com")) == NULL
    started = time.monotonic()
    with site.running({"workers": 1, "block": ["second.example.com"]}) as running:
        assert time.monotonic() - started < 10
        assert addresses(running.ask("first.example.com")) == FORWARDED
        assert addresses(running.ask("second.example.com")) == NULL


def test_feeds_are_fetched_in_the_background(site: Site, web: Web) -> None:
    """It answers at once, with what there is, and takes the feed over when it comes."""
    release = threading.Event()
    web.before = release.wait
    settings = {
        "workers": 1,
        "block": ["bad.example.com"],
        "lists": {"ads": {"sources": [{"url": web.url, "local": True}]}},
        "policy": [{"groups": ["all"], "lists": ["ads"]}],
    }
    with site.running(settings) as running:
        assert addresses(running.ask("bad.example.com")) == NULL
        assert addresses(running.ask("ads-1.example.com")) == FORWARDED
        release.set()
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == NULL)
    assert not (site.directory / "exports").exists()


def test_it_can_be_stopped_while_a_feed_hangs(site: Site, web: Web) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        release.wait(10)

    web.before = hang
    lists = {"ads": {"sources": [{"url": web.url, "local": True}]}}
    with site.running({"workers": 1, "lists": lists, "policy": [{"groups": ["all"], "lists": ["ads"]}]}) as running:
        assert asked.wait(10)
        processes = children(running.process.pid)
        running.process.terminate()
        assert running.process.wait(3) == 0
        assert len(processes) == 2
        assert not any(map(alive, processes))
    release.set()


def test_a_reload_does_not_wait_for_a_feed_that_hangs(site: Site, web: Web) -> None:
    """What it was fetched for is given up, the new configuration is built, and feeds are fetched again."""
    asked, release = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        asked.release()
        release.wait(20)

    web.before = hang
    lists = {"ads": {"sources": [{"url": web.url, "local": True}]}}
    settings = {"workers": 1, "lists": lists, "policy": [{"groups": ["all"], "lists": ["ads"]}]}
    with site.running(settings) as running:
        assert asked.acquire(timeout=10)
        for name in ("first.example.com", "second.example.com"):  # the second one before the first one is built
            running.configure({**settings, "block": [name]})
        running.eventually(lambda: addresses(running.ask("second.example.com")) == NULL)
        assert asked.acquire(timeout=10)
        release.set()
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == NULL)
        assert addresses(running.ask("first.example.com")) == FORWARDED
        assert "locked" not in running.log


def test_a_reload_fetches_new_feeds(site: Site, web: Web) -> None:
    with site.running({"workers": 1}) as running:
        lists = {"ads": {"sources": [{"url": web.url, "local": True}]}}
        running.configure({"workers": 1, "lists": lists, "policy": [{"groups": ["all"], "lists": ["ads"]}]})
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == NULL)
