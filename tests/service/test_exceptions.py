"""Exceptions in a running resolver: in force on every worker soon, over by themselves, and trusted only unedited."""

from __future__ import annotations

import dns.message

from tests.conftest import FORWARDED, Running, Site
from tests.service.test_supervisor import BLOCKED, Load, addresses

NAME = "listed.example.com"
SETTINGS = {
    "workers": 2,
    "lists": {"own": {"block": [NAME]}},
    "policy": [{"groups": ["all"], "lists": ["own"]}],
}


def told(site: Site, *arguments: str) -> str:
    return site.run("exception", *arguments, "-c", "sinkhole.yaml").out


def on_all_workers(running: Running, wanted: list[str]) -> bool:
    """Different ports, and so different workers."""
    return all(addresses(running.ask(NAME)) == wanted for _ in range(8))


def test_an_exception_starts_and_ends_within_a_second_and_no_query_is_lost(site: Site) -> None:
    """By approval, by revocation and by itself; the second half of a moment's grace is for a busy machine."""
    asked = ("request", NAME, "--client", "127.0.0.0/8", "--why", "a test", "--approve", "--for")
    with site.running(SETTINGS) as running, Load.on(running.port, 4, NAME) as load:
        assert on_all_workers(running, BLOCKED)
        told(site, *asked, "1h")
        running.eventually(lambda: on_all_workers(running, FORWARDED), within=2)
        told(site, "revoke", "x1")
        running.eventually(lambda: on_all_workers(running, BLOCKED), within=2)
        told(site, *asked, "3s")
        running.eventually(lambda: on_all_workers(running, FORWARDED), within=2)
        running.eventually(lambda: on_all_workers(running, BLOCKED), within=5)
        load.stop()
        answers = {tuple(addresses(dns.message.from_wire(sample.answer))) for sample in load.samples if sample.heard}
        assert answers == {tuple(BLOCKED), tuple(FORWARDED)}
        assert not load.lost


def test_an_edited_record_changes_nothing_and_is_told(site: Site) -> None:
    with site.running(SETTINGS) as running:
        told(site, "request", NAME, "--client", "127.0.0.1", "--why", "a test", "--approve", "--for", "1h")
        running.eventually(lambda: on_all_workers(running, FORWARDED))
        path = site.directory / "state" / "sinkhole" / "exceptions.jsonl"
        path.write_bytes(path.read_bytes().replace(b"a test", b"a rest"))
        running.eventually(lambda: "exceptions stay as they were" in running.log)
        assert "exceptions.jsonl:1: this line was changed" in running.log
        assert on_all_workers(running, FORWARDED)
    with site.running(SETTINGS) as running:  # who starts anew trusts nothing of it
        assert on_all_workers(running, BLOCKED)
        assert "exceptions stay as they were" in running.log
