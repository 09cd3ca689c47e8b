from __future__ import annotations

import dns.rdata
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.formats.records import quoted, record
from sinkhole.resolver.rdata import encode

RECORDS = [
    "A 192.0.2.7",
    "AAAA 2001:db8::7",
    "CAA 0 issue ca.example",
    "CNAME printer.example",
    "DNAME example.net",
    "MX 10 mail.example.com",
    "NS ns.example.com",
    "PTR printer.example",
    "SRV 0 5 389 dc.example.com",
    'TXT "two words" "and \\"more\\" \\\\"',
    'TXT ""',
    "TXT plain",
    "HTTPS 0 other.example",
    "HTTPS 1 .",
    "HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1",
    "HTTPS 1 . port=443 alpn=h2 mandatory=port,alpn no-default-alpn",
    "SVCB 2 dot.example alpn=dot ech=AAT+DQAA key667=hello",
    "SSHFP 1 1 123456789abcdef67890123456789abcdef67890",
    "NAPTR 100 10 s SIP+D2U - _sip._udp.example.com",
]


def independent(stated: str) -> tuple[int, bytes]:
    """What dnspython makes of a record."""
    kind, _, data = stated.partition(" ")
    found = dns.rdata.from_text("IN", kind, data, origin=dns.name.root, relativize=False)
    return int(found.rdtype), found.to_wire() or b""


@pytest.mark.parametrize("stated", RECORDS)
def test_a_record_has_the_octets_that_dnspython_gives_it(stated: str) -> None:
    assert encode(stated) == independent(stated)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=600))
def test_every_text_of_txt_comes_through(text: str) -> None:
    stated = record("TXT", quoted(text))
    assert encode(stated) == independent(stated)


@pytest.mark.parametrize(
    "stated",
    [
        "A 192.0.2",
        "AAAA 192.0.2.1",
        "MX mail.example",
        "MX 65536 mail.example",
        "MX -1 mail.example",
        "SRV 1 2 dc.example",
        "TXT",
        f'TXT "{"a" * 256}"',
        f"CNAME {'a' * 64}.example",
        f"CNAME {'.'.join(['a' * 60] * 5)}",
        "CNAME a..example",
        "HTTPS 1",
        "HTTPS one .",
        "HTTPS 1 . port=http",
        "HTTPS 1 . port=1 port=2",
        "HTTPS 1 . key65536=x",
        "HTTPS 1 . unheard=of",
        "HTTPS 1 . ipv4hint=2001:db8::1",
        "CAA 256 issue ca.example",
        "LOC nowhere",
        "UNHEARD of",
        "",
    ],
)
def test_what_is_no_record_is_one_kind_of_error(stated: str) -> None:
    with pytest.raises(ValueError, match="not a record"):
        encode(stated)
