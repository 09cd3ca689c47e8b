"""No feed may keep the next one from coming: the names that updates and forwarding need are never blocked by a list."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.compiler import build, plan
from sinkhole.config import Server
from sinkhole.names import key, unkey
from sinkhole.policy.policy import Policy
from sinkhole.policy.verdict import Action
from tests.bundles import CATALOGUE, configured, made

CONFIG = """
lists: {ads: {sources: [{url: "https://lists.feed.example/ads.txt"}, ./feed.txt]}}
policy: [{groups: [all], lists: [ads]}]
"""
MIRRORED = next(source for source in CATALOGUE.sources.values() if source.mirrors)
#: What a feed says, and why it is quarantined; None: it may.
CASES = [
    ("0.0.0.0 lists.feed.example", "a never-block name"),
    ("||lists.feed.example^", "a never-block name"),
    ("||feed.example^", "covers a never-block name"),
    ("/^lists\\.feed/", "matches a never-block name"),
    ("|feed.example^", None),
    ("||ads.lists.feed.example^", None),
    ("@@||lists.feed.example^", None),
    ("||pool.ntp.org^", "a never-block name"),
    ("0.0.0.0 ocsp.digicert.com", "a never-block name"),
    ("||digicert.com^", "covers a never-block name"),
    (f"||{MIRRORED.mirrors[0].split('/')[2]}^", "a never-block name"),
]


def quarantined(built: build.Built) -> dict[str, str]:
    (compiled,) = (made for made in built.lists if made.plan.id == "ads")
    return {str(found.rule): found.why for report in compiled.reports for found in report.quarantined}


@pytest.mark.parametrize(("line", "why"), CASES, ids=[line for line, _ in CASES])
def test_item_52_a_feed_that_blocks_what_updates_need_is_reported_and_not_heard(
    tmp_path: Path, line: str, why: str | None
) -> None:
    config = CONFIG.replace("./feed.txt", f"./feed.txt, {MIRRORED.id}")
    built = made(tmp_path, config, {"feed.txt": f"||ads.test^\n{line}\n"})
    assert list(quarantined(built).values()) == ([why] if why else [])


@pytest.mark.parametrize(
    "line", ["0.0.0.0 localhost", "127.0.0.1 localhost", "||localhost^", "localhost", "::1 ip6-localhost"]
)
def test_item_52_a_feed_cannot_block_localhost(tmp_path: Path, line: str) -> None:
    built = made(tmp_path, CONFIG, {"feed.txt": f"0.0.0.0 ads.test\n{line}\n"})
    assert [found for found, _ in bundle.load(built.path).items() if b"localhost" in unkey(found)] == []


def test_item_52_an_upstream_that_is_given_by_name_is_among_them(tmp_path: Path) -> None:
    config = configured(tmp_path, CONFIG)
    named = config.upstream.model_copy(
        update={"servers": (Server("tls", "dns.upstream.example", 853), Server("udp", "2001:db8::1", 53))}
    )
    fence = plan.make(config.model_copy(update={"upstream": named}), CATALOGUE).fence
    assert key(b"dns.upstream.example") in fence.names
    assert key(b"upstream.example") in fence.above
    assert key(b"dns.upstream.example") not in plan.make(config, CATALOGUE).fence.names
    assert plan.only(config, CATALOGUE, "ads").fence == plan.make(config, CATALOGUE).fence


def test_item_52_what_the_operator_a_service_or_a_directive_says_holds(tmp_path: Path) -> None:
    text = """
block: [lists.feed.example]
lists:
  ads: {sources: [{url: "https://lists.feed.example/a.txt"}, {url: "https://chat.deepseek.com/b.txt"}, ./feed.txt]}
policy: [{groups: [all], lists: [ads], directives: [kr-mofa-2025-02-05]}]
"""
    built = made(tmp_path, text, {"feed.txt": "||chat.deepseek.com^\n||lists.feed.example^\n"})
    assert set(quarantined(built)) == {"block tree chat.deepseek.com", "block tree lists.feed.example"}
    policy = Policy(bundle.load(built.path), datetime(2025, 3, 1, tzinfo=UTC))
    for name in (b"lists.feed.example", b"chat.deepseek.com"):
        assert policy.decide(policy.profile("192.0.2.1"), key(name), 1).action is Action.BLOCK
