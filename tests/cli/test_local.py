"""Local names of a running resolver: from the configuration file to what a client gets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import pytest

from sinkhole import bundle
from tests.conftest import FORWARDED, Running, Site
from tests.dnsserver import Asked, DnsServer, reply

SETTINGS = {
    "workers": 2,
    "records": {
        "printer.corp.example": ["192.0.2.10"],
        "alias.corp.example": ["CNAME www.example.com"],
        "games.example.com": ["192.0.2.11"],
    },
    "local": {"zones": ["corp.example"], "hosts": ["hosts"], "forward": ["10.in-addr.arpa"], "server-id": "r-1"},
    "lists": {"games": {"block": ["games.example.com"]}, "watched": {"block": ["watched.example.com"]}},
    "policy": [{"groups": ["all"], "lists": ["games"]}, {"groups": ["all"], "lists": ["watched"], "action": "observe"}],
    "block": ["games.example.com"],
}


def elsewhere(asked: Asked) -> Iterator[bytes]:
    yield reply(asked.packet, PTR="pc.corp.example.")


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.write("hosts", "192.0.2.20 nas.corp.example nas\nnonsense here\n")
    with site.running(SETTINGS) as running:
        yield running


def answer(resolver: Running, name: str, rtype: str = "A") -> tuple[str, list[str]]:
    message = resolver.ask(name, rtype)
    return dns.rcode.to_text(message.rcode()), [str(rdata) for rrset in message.answer for rdata in rrset]


@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "records"),
    [
        ("printer.corp.example", "A", "NOERROR", ["192.0.2.10"]),
        ("printer.corp.example", "AAAA", "NOERROR", []),
        ("alias.corp.example", "A", "NOERROR", ["www.example.com.", *FORWARDED]),
        ("other.corp.example", "A", "NXDOMAIN", []),
        ("nas.corp.example", "A", "NOERROR", ["192.0.2.20"]),
        ("20.2.0.192.in-addr.arpa", "PTR", "NOERROR", ["nas.corp.example."]),
        ("games.example.com", "A", "NOERROR", ["192.0.2.11"]),
        ("x.games.example.com", "A", "NOERROR", ["0.0.0.0"]),
        ("localhost", "A", "NOERROR", ["127.0.0.1"]),
        ("router.home.arpa", "A", "NXDOMAIN", []),
        ("1.168.192.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("mask.icloud.com", "A", "NXDOMAIN", []),
        ("_dns.resolver.arpa", "SVCB", "NOERROR", []),
    ],
)
def test_local_names(resolver: Running, name: str, rtype: str, rcode: str, records: list[str]) -> None:
    assert answer(resolver, name, rtype) == (rcode, records)


def test_only_what_is_forwarded_reaches_the_upstream(resolver: Running) -> None:
    before = len(resolver.upstream.asked)
    for name in ("x.corp.example", "x.local", "x.onion", "1.0.0.127.in-addr.arpa", "nas", "x.test"):
        resolver.ask(name, "PTR")
    assert len(resolver.upstream.asked) == before
    resolver.ask("7.0.0.10.in-addr.arpa", "PTR")
    assert len(resolver.upstream.asked) == before + 1


def test_a_line_that_is_left_out_and_a_watched_name_are_in_the_log(resolver: Running) -> None:
    assert "hosts:2:1: 'nonsense' is not an address" in resolver.log
    assert answer(resolver, "x.watched.example.com") == ("NOERROR", FORWARDED)
    resolver.eventually(
        lambda: "observe: 127.0.0.1 asked for x.watched.example.com type 1 (list watched)" in resolver.log
    )


def test_the_bundle_is_told_in_either_class(resolver: Running) -> None:
    current = bundle.current(resolver.site.state / "bundles")
    assert current
    assert answer(resolver, "bundle.sinkhole", "TXT") == ("NOERROR", [f'"{current.name}"'])
    host, port = resolver.endpoints[0]
    for name, text in (("bundle.sinkhole", current.name), ("id.server", "r-1")):
        query = dns.message.make_query(name, "TXT", "CH")
        message = dns.query.udp(query, host, port=port, timeout=5)
        assert str(message.answer[0][0]) == f'"{text}"'


def test_two_resolvers_with_one_configuration_tell_the_same_bundle_until_one_differs(site: Site) -> None:
    told = []
    for place in ("one", "two"):
        (site.directory / place).mkdir()
        with Site(site.directory / place).running({"workers": 1, "block": ["a.example.com"]}) as running:
            told.append(answer(running, "bundle.sinkhole", "TXT"))
            if place == "two":
                assert told[0] == told[1]
                running.configure({"workers": 1, "block": ["b.example.com"]})
                running.eventually(lambda: answer(running, "bundle.sinkhole", "TXT") != told[0])


def test_a_reload_reads_records_and_hosts_files_again_and_keeps_the_old_on_any_error(site: Site) -> None:
    site.write("hosts", "192.0.2.20 nas.corp.example\n")
    with site.running({**SETTINGS, "workers": 1}) as running:
        site.write("hosts", "192.0.2.21 nas.corp.example\n")
        running.configure({**SETTINGS, "workers": 1, "records": {"printer.corp.example": ["192.0.2.99"]}})
        running.eventually(lambda: answer(running, "printer.corp.example")[1] == ["192.0.2.99"])
        assert answer(running, "nas.corp.example")[1] == ["192.0.2.21"]
        assert answer(running, "alias.corp.example")[0] == "NXDOMAIN"
        os.remove(site.directory / "hosts")
        running.configure({**SETTINGS, "workers": 1})
        running.eventually(lambda: "local.hosts: cannot be read" in running.log)
        assert answer(running, "printer.corp.example")[1] == ["192.0.2.99"]
        assert answer(running, "nas.corp.example")[1] == ["192.0.2.21"]


def test_twenty_thousand_hosts_reach_the_workers(site: Site) -> None:
    site.write(
        "hosts", "".join(f"10.1.{number // 250}.{number % 250} n{number}.corp.example\n" for number in range(20_000))
    )
    with site.running({"workers": 1, "local": {"hosts": ["hosts"]}}) as running:
        assert answer(running, "n19999.corp.example") == ("NOERROR", ["10.1.79.249"])
        assert answer(running, "249.79.1.10.in-addr.arpa", "PTR") == ("NOERROR", ["n19999.corp.example."])


def test_a_reverse_zone_with_servers_of_its_own_is_asked_there(site: Site) -> None:
    with DnsServer(elsewhere) as office:
        upstream = {"servers": ["127.0.0.1:9"], "conditional": {"10.in-addr.arpa": [f"127.0.0.1:{office.port}"]}}
        with site.running({"workers": 1, "upstream": upstream}) as running:
            assert answer(running, "7.0.0.10.in-addr.arpa", "PTR") == ("NOERROR", ["pc.corp.example."])
            assert answer(running, "7.1.168.192.in-addr.arpa", "PTR") == ("NXDOMAIN", [])


def test_check_names_the_lines_that_are_left_out_and_the_file_that_is_not_there(site: Site) -> None:
    site.configure(SETTINGS)
    site.write("hosts", "nonsense here\n")
    assert "hosts:1:1: 'nonsense' is not an address" in site.run("check", "-c", "sinkhole.yaml").err
    os.remove(site.directory / "hosts")
    assert "local.hosts: cannot be read" in site.run("check", "-c", "sinkhole.yaml", code=1).err


@pytest.mark.parametrize(
    ("name", "answer", "source"),
    [
        ("games.example.com", ["games.example.com. 300 A 192.0.2.11"], "sinkhole.yaml"),
        ("alias.corp.example", ["alias.corp.example. 300 CNAME www.example.com."], "sinkhole.yaml"),
        ("x.corp.example", [], "special-use names and `local.zones`"),
        ("localhost", ["localhost. 10800 A 127.0.0.1"], "special-use names and `local.zones`"),
    ],
)
def test_explain_says_that_an_answer_is_local(site: Site, name: str, answer: list[str], source: str) -> None:
    site.configure(SETTINGS)
    site.write("hosts", "192.0.2.20 nas.corp.example\n")
    (found,) = site.run("explain", "-c", "sinkhole.yaml", "--json", name).lines
    assert (found["action"], found["answer"]["records"], found["source"]) == ("local", answer, source)
    assert [link["won"] for link in found["chain"]] == [True] + [False] * (len(found["chain"]) - 1)
    assert found["chain"][0]["action"] == "local"
    assert (len(found["chain"]) > 1) == (name == "games.example.com")
    assert "local" in site.run("explain", "-c", "sinkhole.yaml", name).out
