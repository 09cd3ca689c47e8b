"""AdGuard's rules, line by line: the examples of its documentation, and what its engine does where that is silent."""

from __future__ import annotations

from typing import Any

import pytest

from sinkhole.formats.adblock import FORMAT, read_line, special
from sinkhole.formats.reading import Disabled
from sinkhole.rules import Special

REWRITE = "a $dnsrewrite that is not understood"
NONE = "a pattern with a character that no name has"

# (line, the rule or the reason)
LINES = [
    ("||a.test|", "block tree a.test"),
    ("||a.test/*", "block tree a.test"),
    ("|a.test|", "block exact a.test"),
    ("://a.test^", "block exact a.test"),
    ("http://a.test^", "block exact a.test"),
    ("||a.test", r"block pattern ^(?:[a-z0-9_.-]+\.)?a\.test"),
    ("||ads.*^", r"block pattern ^(?:[a-z0-9_.-]+\.)?ads\..*$"),
    ("://a.test", r"block pattern ^a\.test"),
    ("|ads.", r"block pattern ^ads\."),
    ("/ads.", r"block pattern ^ads\."),
    ("a.test^", r"block pattern a\.test$"),
    ("a.test$important", r"block pattern a\.test important"),
    ("ads.example.", r"block pattern ads\.example\."),
    ("-ads.", r"block pattern -ads\."),
    ("*.a.test", r"block pattern .*\.a\.test"),
    ("@@*.a.test", r"allow pattern .*\.a\.test"),
    ("/ads[0-9]+/", "block pattern ads[0-9]+"),
    ("/^ads$/", "block pattern ^ads$"),
    ("/Ads$/$important", "block pattern (?i)Ads$ important"),
    ("@@/example.*/$important", "allow pattern example.* important"),
    ("*$denyallow=com|net", "block pattern .* except-names=com|net"),
    ("@@*$denyallow=com|net", "allow pattern .* except-names=com|net"),
    ("||a.test^$denyallow=sub.a.test", "block tree a.test except-names=sub.a.test"),
    ("||a.test^$dnstype=AAAA", "block tree a.test types=AAAA"),
    ("||a.test^$dnstype=~a|~CNAME", "block tree a.test types=~A|~CNAME"),
    ("||*^$dnstype=HTTPS,dnsrewrite=REFUSED", "block pattern ^(?:[a-z0-9_.-]+\\.)?.*$ types=HTTPS answer='REFUSED'"),
    ("||a.test^$important,client=192.0.2.1", "block tree a.test clients=192.0.2.1 important"),
    ("@@||*^$client=127.0.0.1", r"allow pattern ^(?:[a-z0-9_.-]+\.)?.*$ clients=127.0.0.1"),
    (r"||a.test^$client='Frank\'s laptop'", "block tree a.test clients=Frank's laptop"),
    ('||a.test^$client=~"Frank\'s phone"', "block tree a.test clients=~Frank's phone"),
    (r"||a.test^$client=~'Mary\'s\, John\'s\, and Boris\'s'", "block tree a.test clients=~Mary's, John's, and Boris's"),
    (r"||a.test^$client='a\|b'", "block tree a.test clients=a|b"),
    (r"||a.test^$client='\$-client'", "block tree a.test clients=$-client"),
    ("||a.test^$client=~Mom|~Dad|Kids", "block tree a.test clients=Kids|~Dad|~Mom"),
    ("||a.test^$client=192.0.2.7/24", "block tree a.test clients=192.0.2.0/24"),
    ("||a.test^$client=0:0000::0", "block tree a.test clients=::"),
    ("||a.test^$ctag=device_phone|device_pc", "block tree a.test tags=device_pc|device_phone"),
    ("||a.test^$ctag=~device_phone", "block tree a.test tags=~device_phone"),
    ("||a.test^$dnsrewrite=192.0.2.1", "block tree a.test answer='A 192.0.2.1'"),
    ("||a.test^$dnsrewrite=2001:DB8::0:1", "block tree a.test answer='AAAA 2001:db8::1'"),
    ("||a.test^$dnsrewrite=Other.test", "block tree a.test answer='CNAME other.test'"),
    ("||a.test^$dnsrewrite=NXDOMAIN", "block tree a.test answer='NXDOMAIN'"),
    ("||a.test^$dnsrewrite=REFUSED;;", "block tree a.test answer='REFUSED'"),
    ("||a.test^$dnsrewrite=NOERROR", "block tree a.test answer='NODATA'"),
    ("||a.test^$dnsrewrite=NOERROR;;", "block tree a.test answer='NODATA'"),
    ("||a.test^$dnsrewrite=noerror;a;192.0.2.1", "block tree a.test answer='A 192.0.2.1'"),
    ("||a.test^$dnsrewrite=NOERROR;CNAME;b.test", "block tree a.test answer='CNAME b.test'"),
    ("||a.test^$dnsrewrite=NOERROR;MX;32 mail.test", "block tree a.test answer='MX 32 mail.test'"),
    ("||a.test^$dnsrewrite=NOERROR;SRV;30 60 8080 s.test", "block tree a.test answer='SRV 30 60 8080 s.test'"),
    ("||a.test^$dnsrewrite=NOERROR;TXT;hello world", "block tree a.test answer='TXT \"hello world\"'"),
    ("||a.test^$dnsrewrite=NOERROR;HTTPS;32 x.test alpn=h3", "block tree a.test answer='HTTPS 32 x.test alpn=h3'"),
    ("|a.test^$dnsrewrite=NOERROR;SVCB;1 . dohpath=/q{?dns}", "block exact a.test answer='SVCB 1 . dohpath=/q{?dns}'"),
    ("||4.3.2.1.in-addr.arpa^$dnsrewrite=NOERROR;PTR;a.test.", "block tree 4.3.2.1.in-addr.arpa answer='PTR a.test'"),
    (
        "$dnstype=AAAA,denyallow=a.test,dnsrewrite=NOERROR;;",
        "block pattern .* types=AAAA except-names=a.test answer='NODATA'",
    ),
    ("@@||a.test^$dnsrewrite", "allow tree a.test answer='ANY'"),
    ("@@||a.test^$dnsrewrite=", "allow tree a.test answer='ANY'"),
    ("@@||a.test^$dnsrewrite=1.2.3.4", "allow tree a.test answer='A 1.2.3.4'"),
    ("||a.test^$badfilter", "not block tree a.test"),
    ("@@||a.test^$badfilter", "not allow tree a.test"),
    ("||a.test^$ctag=pc,badfilter", "not block tree a.test tags=pc"),
    ("||a.test$badfilter", r"not block pattern ^(?:[a-z0-9_.-]+\.)?a\.test"),
    ("a.test # why", "block exact a.test"),
    ("||*^", "a pattern that finds every name"),
    ("/.*/", "a pattern that finds every name"),
    ("/./", "a pattern that finds every name"),
    ("a.", "a pattern that finds every name"),
    ("*$important", "a pattern that finds every name"),
    ("||*^$dnsrewrite=192.0.2.1", "a pattern that finds every name"),
    (r"/(a)\1/", "a pattern with a back-reference or look-around"),
    ("https://a.test^", NONE),
    ("/ads/x", NONE),
    ("||a.test/path", NONE),
    ("192.168.", "an address, not a name"),
    ("||192.0.2.*^", "an address, not a name"),
    ("||1.1.1.1^$dnstype=A", "an address, not a name"),
    ("||com^$dnstype=A", "a single label"),
    ("||a.test^$third-party", "the modifier $third-party"),
    ("||a.test^$document", "the modifier $document"),
    ("||a.test^$all", "the modifier $all"),
    ("||a.test^$popup", "the modifier $popup"),
    ("||a.test^$~script", "the modifier $~script"),
    ("||a.test^$important,domain=b.test", "the modifier $domain"),
    ("||a.test^$dnstype=WRONG", "a $dnstype that is not understood"),
    ("||a.test^$dnstype=", "an empty $dnstype"),
    ("||a.test^$client=", "an empty $client"),
    ("||a.test^$client=''", "a $client that is not understood"),
    ("||a.test^$client=~", "a $client that is not understood"),
    ("||a.test^$ctag=bad.", "a $ctag that is not understood"),
    ("||a.test^$denyallow=~b.test", "a $denyallow with an exclusion"),
    ("||a.test^$dnsrewrite=SERVFAIL", REWRITE),
    ("||a.test^$dnsrewrite=NOERROR;NAPTR;1", REWRITE),
    ("||a.test^$dnsrewrite=A:NOERROR:127.0.0.1", "a $dnsrewrite to what is no host name"),
    ("||a.test^$dnsrewrite=NOERROR;A;::1", "a record of the type A that is not understood"),
    ("||a.test^$dnsrewrite=NOERROR;MX;mail.test", "a record of the type MX that is not understood"),
    ("||a.test^$dnsrewrite=NOERROR;SVCB;1 . a=b=c", "a record of the type SVCB that is not understood"),
]


def shown(found: object) -> str:
    if isinstance(found, Disabled):
        return f"not {shown(found.rule)}"
    kind = getattr(found, "kind", None)
    return str(found) + (" important" if kind and kind.rank else "")


@pytest.mark.parametrize(("line", "meaning"), LINES)
def test_a_line_means_what_it_means_to_the_engine(line: str, meaning: str) -> None:
    (found,) = read_line(line)
    assert shown(found) == meaning


@pytest.mark.parametrize("line", [line for line, _ in LINES])
def test_what_was_read_can_be_written_and_read_again(line: str) -> None:
    (found,) = read_line(line)
    if isinstance(found, Special):
        assert (text := special(found)) is not None
        assert list(read_line(text)) == [found]


def test_each_record_of_an_answer_is_a_line() -> None:
    (first,) = read_line("||a.test^$dnsrewrite=192.0.2.1")
    assert isinstance(first, Special)
    assert special(first._replace(answer="A 192.0.2.1\nAAAA ::1")) == (
        "||a.test^$dnsrewrite=NOERROR;A;192.0.2.1\n||a.test^$dnsrewrite=NOERROR;AAAA;::1"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "DROP"},
        {"answer": "TCP-ONLY"},
        {"answer": "NULL"},
        {"answer": "CNAME *.garden"},
        {"answer": 'TXT "$a" "$b"'},
        {"clients": ("a\nb",)},
        {"clients": ("$a $b",)},
    ],
)
def test_what_the_engine_would_read_otherwise_is_not_written(change: dict[str, Any]) -> None:
    (rule,) = read_line("||a.test^$dnstype=A")
    assert isinstance(rule, Special)
    assert special(rule._replace(**change)) is None


def test_a_rule_keeps_its_line_and_a_rule_that_is_taken_back_is_known() -> None:
    parsed = FORMAT.read(b"! list\n||a.test^$dnstype=A\n\n||a.test^$badfilter\n")
    assert [(rule.line, str(rule)) for rule in parsed.special] == [(2, "block tree a.test types=A")]
    assert list(map(str, parsed.disabled)) == ["block tree a.test"]
