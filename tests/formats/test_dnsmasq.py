"""dnsmasq configuration, in every flavour."""

from __future__ import annotations

import pytest

from sinkhole.formats import FORMATS
from tests.formats.lines import Line, check, everything

LINES: list[Line] = [
    ("local=/a.test/", ["block tree a.test"], []),
    ("server=/a.test/", ["block tree a.test"], []),
    ("address=/a.test/", ["block tree a.test"], []),
    ("address=/a.test/#", ["block tree a.test"], []),
    ("address=/a.test/0.0.0.0 # why", ["block tree a.test"], []),
    ("address=/a.test/::", ["block tree a.test"], []),
    ("address=/a.test/127.0.0.1", ["block tree a.test"], []),
    ("address=/.a.test/#", ["block tree a.test"], []),
    ("address = /a.test/b.test/#", ["block tree a.test", "block tree b.test"], []),
    ("server=/a.test/B.test/", ["block tree a.test", "block tree b.test"], []),
    ("local=/*.a.test/", ["block subdomains a.test"], []),
    ("server=/a.test/#", ["allow tree a.test"], []),
    ("server=/*.a.test/#", ["allow subdomains a.test"], []),
    ("host-record=a.test,0.0.0.0,::", ["block exact a.test"], []),
    ("host-record=a.test,b.test,0.0.0.0,60", ["block exact a.test", "block exact b.test"], []),
    ("host-record=a.test,192.0.2.1", [], ["not a sink address"]),
    ("host-record=a.test", [], ["not a sink address"]),
    ("server=/a.test/192.0.2.1", [], ["a server to ask"]),
    ("server=/a.test/192.0.2.1#5353@eth0", [], ["a server to ask"]),
    ("local=/a.test/192.0.2.1", [], ["a server to ask"]),
    ("address=/a.test/192.0.2.1", [], ["not a sink address"]),
    ("address=/#/0.0.0.0", [], ["every name"]),
    ("address=/*/0.0.0.0", [], ["every name"]),
    ("address=//0.0.0.0", [], ["names of one label"]),
    ("address=/*a.test/#", [], ["a pattern, not a name"]),
    ("address=/com/#", [], ["a single label"]),
    ("server=192.0.2.1", [], ["the option server"]),
    ("no-resolv", [], ["the option no-resolv"]),
    ("conf-file=/etc/passwd", [], ["the option conf-file"]),
    ("a.test", [], ["not an option"]),
    ("# address=/a.test/#", [], []),
]


@pytest.mark.parametrize("name", ["dnsmasq", "dnsmasq-address", "dnsmasq-server"])
@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(name: str, line: str, rules: list[str], reasons: list[str]) -> None:
    check(name, line, rules, reasons)


def test_what_is_more_specific_is_read_at_a_higher_rank() -> None:
    text = b"local=/a.test/\nserver=/ok.a.test/#\nlocal=/bad.ok.a.test/\nserver=/c.bad.ok.a.test/#\nserver=/z.test/#\n"
    assert everything(FORMATS["dnsmasq"].read(text)) == [
        "allow tree c.bad.ok.a.test important",
        "allow tree ok.a.test",
        "allow tree z.test",
        "block tree a.test",
        "block tree bad.ok.a.test important",
    ]
