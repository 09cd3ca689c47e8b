from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from sinkhole import config
from sinkhole.catalogue.loader import load
from sinkhole.compiler import build, plan
from sinkhole.resolver.lookup import Handling
from sinkhole.service.worker import Worker
from tests.dnsserver import DnsServer, reply
from tests.workers import Child, running, settings

NAME = "chat.deepseek.com"
ORDER = "kr-mofa-2025-02-05"


def bundle_with(directory: Path, **directive: Any) -> Path:
    """A bundle of the default policy, without its list, with its directive changed."""
    catalogue = load()
    made = plan.make(config.load(None, catalogue), catalogue)
    entry = {"schedule": None, "groups": ["all"], "directives": [ORDER], "lists": [], "action": None}
    order = {**made.policy["directives"][ORDER], **directive}
    policy = {**made.policy, "entries": [entry], "directives": {ORDER: order}}
    return build.build(made._replace(policy=policy), [], directory).path


@pytest.fixture
def child() -> Iterator[Child]:
    with running() as child:
        yield child


def test_a_worker_keeps_what_it_had_when_it_cannot_use_the_new(child: Child, tmp_path: Path) -> None:
    good = bundle_with(tmp_path)
    damaged = bundle_with(tmp_path, title="Another title")
    (damaged / "policy.json").write_text("{}")

    assert child.tell(settings(good)) == f"ready {good.name}\n"
    assert child.ask(NAME).answer[0].to_text().endswith(" A 0.0.0.0")
    said = child.tell(settings(damaged, "nxdomain"))
    assert said == f"failed {damaged}/policy.json: damaged (its sha256 is not the one in the manifest)\n"
    assert child.tell(settings(tmp_path / "gone", "nxdomain")).startswith(f"failed {tmp_path}/gone/manifest.json: ")
    assert child.ask(NAME).answer[0].to_text().endswith(" A 0.0.0.0")
    assert child.tell(settings(good, "nxdomain")) == f"ready {good.name}\n"
    assert child.ask(NAME).rcode() == dns.rcode.NXDOMAIN


def test_how_answers_are_handled_is_a_setting_and_a_change_of_it_empties_the_cache(
    child: Child, tmp_path: Path
) -> None:
    query = dns.message.make_query("internal.example.com", "A")

    def told() -> list[str]:
        answer = dns.query.udp(query, child.endpoint.host, port=child.endpoint.port, timeout=5)
        return [rrset.to_text().partition("example.com. ")[2] for rrset in answer.answer]

    with DnsServer(lambda asked: [reply(asked.packet, ttl=300, A="10.0.0.1")]) as upstream:
        servers = (("udp", "127.0.0.1", upstream.port),)
        first = settings(bundle_with(tmp_path))._replace(servers=servers, cache=1 << 20)
        child.tell(first)
        assert told() == told() == ["300 IN A 10.0.0.1"]
        child.tell(first._replace(mode="nxdomain"))
        assert told() == ["300 IN A 10.0.0.1"]
        assert len(upstream.asked) == 1
        child.tell(first._replace(handling=Handling(high=60)))
        assert told() == ["60 IN A 10.0.0.1"]
        child.tell(first._replace(handling=Handling(rebinding=("lan",))))
        assert told() == []
        child.tell(first._replace(handling=Handling(rebinding=("example.com",))))
        assert told() == ["300 IN A 10.0.0.1"]
    assert len(upstream.asked) == 4


def test_a_worker_ends_with_its_supervisor(child: Child, tmp_path: Path) -> None:
    assert child.tell(settings(bundle_with(tmp_path))).startswith("ready ")

    child.hang_up()

    assert child.process.wait(2) == 0


@contextmanager
def local_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.mark.parametrize(
    ("directive", "before", "after"),
    [
        (lambda at: {"effective-from": at}, False, True),
        (lambda at: {"effective-until": at}, True, False),
    ],
)
def test_a_directive_starts_and_ends_by_itself(tmp_path: Path, directive: Any, before: bool, after: bool) -> None:
    """At its instant, and answers that were prepared before it are forgotten."""
    boundary = datetime.now(UTC) + timedelta(seconds=1.5)
    path = bundle_with(tmp_path, **directive(boundary.isoformat()))

    async def blocked(port: int) -> bool:
        query = dns.message.make_query(NAME, "A")
        answer = await dns.asyncquery.udp(query, "127.0.0.1", port=port, timeout=5)
        return answer.rcode() == dns.rcode.NOERROR

    async def watch(sock: socket.socket) -> None:
        worker = Worker([sock], [])
        port = sock.getsockname()[1]
        await worker.apply(settings(path))
        assert await blocked(port) is before
        assert datetime.now(UTC) < boundary
        while await blocked(port) is before:
            assert datetime.now(UTC) < boundary + timedelta(seconds=0.5)
            await asyncio.sleep(0.01)
        assert datetime.now(UTC) >= boundary
        assert await blocked(port) is after
        await worker.stop()

    with local_socket() as sock:
        asyncio.run(watch(sock))
