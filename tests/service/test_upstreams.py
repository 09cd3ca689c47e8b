"""Upstreams as the whole program sets them up: encrypted ones, conditional routes, and their change by a reload."""

from __future__ import annotations

from pathlib import Path

import dns.rcode
import pytest

from tests.authority import Authority
from tests.conftest import Site, forwarded
from tests.dnsserver import DnsServer, reply
from tests.dohserver import DohServer, Said


def test_upstreams_of_every_kind_and_their_change(site: Site, tmp_path: Path) -> None:
    """By host name over TLS, by address over HTTPS, a route of its own, and then all of it otherwise."""
    authority = Authority(tmp_path)
    issued = authority.issue("dns.example.net", "127.0.0.1")

    with (
        DnsServer(lambda asked: [reply(asked.packet, A="127.0.0.1")]) as plain,
        DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.2")], tls=issued.context()) as secure,
        DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.3")]) as corp,
        DohServer(lambda asked: Said(reply(asked.packet, A="192.0.2.4")), issued) as web,
    ):
        before = {
            "servers": [f"tls://dns.example.net:{secure.port}"],
            "conditional": {"corp.example": [f"127.0.0.1:{corp.port}"]},
            "bootstrap": [f"127.0.0.1:{plain.port}"],
            "ca": str(authority.file),
        }
        after = {"servers": [f"https://127.0.0.1:{web.port}/dns-query"], "ca": str(authority.file)}
        with site.running({"workers": 1, "upstream": before}) as running:

            def addresses(name: str) -> list[str]:
                return [str(record) for rrset in running.ask(name).answer for record in rrset]

            assert addresses("www.example.org") == ["192.0.2.2"]
            assert addresses("www.corp.example") == ["192.0.2.3"]
            running.configure({"workers": 1, "upstream": after})
            running.eventually(lambda: addresses("www.corp.example") == ["192.0.2.4"])
            assert addresses("www.example.org") == ["192.0.2.4"]  # what the former ones said is forgotten


@pytest.mark.parametrize("upstream", [{"ca": "none.pem"}, {"servers": ["127.0.0.1:5399"]}])
def test_a_reload_with_upstreams_that_cannot_be_keeps_the_running_ones(site: Site, upstream: dict[str, object]) -> None:
    with site.running({"workers": 1}, forwarded) as running:
        running.configure({"workers": 1, "listen": {"dns": ["127.0.0.1:5399"]}, "upstream": upstream})
        running.eventually(lambda: "not reloaded, everything stays as it was" in running.log)
        assert running.ask("www.example.org").rcode() == dns.rcode.NOERROR
