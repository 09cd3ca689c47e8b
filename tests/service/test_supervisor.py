from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import dns.message
import dns.rcode
import pytest

from sinkhole.files import Lock
from tests.conftest import FORWARDED, PATIENCE, Site, alive, children, forwarded
from tests.dnsserver import Asked, reply

BLOCKED, OTHER = ["0.0.0.0"], FORWARDED


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


class Sample(NamedTuple):
    """One query under load: when it left, when its answer came (None: it is lost), and the answer."""

    sent: float
    heard: float | None
    answer: bytes


class Load:
    """Clients that ask for one name, each from a port of its own, one query after the other."""

    def __init__(self, port: int, clients: int, name: str) -> None:
        self.samples: list[Sample] = []
        self._query = dns.message.make_query(name, "A").to_wire()[2:]
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, number: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self._port))
            sock.settimeout(PATIENCE / 3)
            while not self._stop.wait(0.005):
                number += 16
                query = (number % 65536).to_bytes(2) + self._query
                sent = time.monotonic()
                sock.send(query)
                try:
                    answer = sock.recv(4096)
                    while answer[:2] != query[:2]:
                        answer = sock.recv(4096)
                    self.samples.append(Sample(sent, time.monotonic(), answer))
                except TimeoutError:
                    self.samples.append(Sample(sent, None, b""))

    @property
    def lost(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.heard is None]

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @classmethod
    @contextmanager
    def on(cls, port: int, clients: int, name: str) -> Iterator[Load]:
        load = cls(port, clients, name)
        for thread in load._threads:
            thread.start()
        try:
            yield load
        finally:
            load.stop()


def slow(query: Asked) -> Iterator[bytes]:
    """An upstream that takes its time, and whose answers are not to be kept."""
    time.sleep(0.05)
    yield reply(query.packet, ttl=0, A=OTHER[0])


@pytest.mark.parametrize("name", ["chat.deepseek.com", "unlisted.example.org"])
def test_a_killed_worker_costs_what_was_in_flight_and_is_back_soon(site: Site, name: str) -> None:
    """One of two, then both at once, as often as it may be."""
    clients, kills = 12, list[float]()
    with site.running({"workers": 2}, slow) as running, Load.on(running.port, clients, name) as load:
        for number in (1, 2, 1, 2):
            time.sleep(0.1)
            before = running.workers()
            victims = sorted(before)[:number]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            killed = time.monotonic() + 0.01
            while len(after := running.workers()) < len(before) or after & set(victims):
                assert time.monotonic() < killed + PATIENCE
                time.sleep(0.02)
            enough = len(load.samples) + 2 * clients
            while len(load.samples) < enough:
                assert time.monotonic() < killed + PATIENCE
                time.sleep(0.02)
            assert before - after == set(victims)
            assert all(f"(process {victim}) ended: SIGKILL; starting another" in running.log for victim in victims)
            kills.append(killed)
        load.stop()

        assert len(load.samples) > 5 * clients
        assert {tuple(addresses(dns.message.from_wire(s.answer))) for s in load.samples if s.heard} == {
            tuple(BLOCKED if "deepseek" in name else OTHER)
        }
        # what comes while nobody is there waits in the socket
        assert all(any(s.sent < killed < s.sent + 0.2 for killed in kills) for s in load.lost), (
            "not in flight, yet lost"
        )


def test_a_new_bundle_is_served_soon_and_no_query_is_lost(site: Site) -> None:
    policy = [{"groups": ["all"], "lists": ["own"]}]
    settings = {"workers": 2, "lists": {"own": {"sources": ["./own.txt"]}}, "policy": policy}
    site.write("own.txt", "0.0.0.0 first.example.com\n")
    with site.running(settings) as running:
        workers = running.workers()
        assert addresses(running.ask("first.example.com")) == BLOCKED
        assert addresses(running.ask("second.example.com")) == OTHER
        with Load.on(running.port, 6, "first.example.com") as load:
            site.write("own.txt", "0.0.0.0 first.example.com\n0.0.0.0 second.example.com\n")
            built = site.run("build", "-c", "sinkhole.yaml", "--no-exports", "--json").data
            swapped = time.monotonic()
            running.eventually(lambda: addresses(running.ask("second.example.com")) == BLOCKED, within=1.5)
            running.eventually(lambda: time.monotonic() > swapped + 0.8)
        for _ in range(8):  # whichever worker answers
            assert addresses(running.ask("second.example.com")) == BLOCKED

        assert built["changed"]
        assert f"bundle {built['bundle']}" in running.log
        assert load.lost == []
        assert len(load.samples) > 100
        assert {tuple(addresses(dns.message.from_wire(sample.answer))) for sample in load.samples} == {tuple(BLOCKED)}
        assert running.workers() == workers


def test_workers_do_not_outlive_a_killed_supervisor(site: Site) -> None:
    with site.running({"workers": 2}) as running:
        workers = running.workers()
        assert len(workers) == 2

        running.process.kill()

        running.eventually(lambda: not any(map(alive, workers)), within=1.5)
    with site.running({"workers": 1}) as running:  # nothing is left to clean up
        assert addresses(running.ask("chat.deepseek.com")) == BLOCKED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_queries_under_way_are_answered_before_the_end(site: Site, number: signal.Signals) -> None:
    asked = threading.Event()

    def hesitant(query: Asked) -> Iterator[bytes]:
        if "slow" in query.name:
            asked.set()
            time.sleep(0.6)
        yield from forwarded(query)

    answers: dict[bool, list[str]] = {}
    with site.running({"workers": 2}, hesitant) as running:

        def ask(tcp: bool) -> None:
            answers[tcp] = addresses(running.ask("slow.example.org", tcp=tcp))

        clients = [threading.Thread(target=ask, args=(tcp,)) for tcp in (False, True)]
        for client in clients:
            client.start()
        assert asked.wait(5)
        time.sleep(0.1)
        processes = children(running.process.pid)
        running.process.send_signal(number)
        for client in clients:
            client.join()

        assert answers == {False: OTHER, True: OTHER}
        assert running.process.wait(5) == 0
        assert not any(map(alive, processes))


def test_a_broken_configuration_changes_nothing(site: Site) -> None:
    with site.running({"workers": 1, "block": ["bad.example.com"]}) as running:
        running.configure({"workers": 1, "block": ["other.example.com"], "blocking": {"mode": "nxdomian"}})

        running.eventually(lambda: "not reloaded, everything stays as it was" in running.log)
        assert "blocking.mode: unknown mode 'nxdomian'; did you mean \"nxdomain\"?" in running.log
        assert addresses(running.ask("bad.example.com")) == BLOCKED
        assert addresses(running.ask("other.example.com")) == OTHER

        running.configure({"workers": 1, "block": ["other.example.com"], "blocking": {"mode": ["192.0.2.80"]}})

        running.eventually(lambda: addresses(running.ask("other.example.com")) == ["192.0.2.80"])
        assert addresses(running.ask("bad.example.com")) == OTHER
        running.eventually(lambda: "reloaded\n" in running.log.rpartition("as it was")[2])


def test_a_reload_waits_for_another_build(site: Site) -> None:
    with site.running({"workers": 1, "block": ["bad.example.com"]}) as running:
        with Lock(site.state / "build.lock"):
            running.configure({"workers": 1, "block": ["other.example.com"]})
            time.sleep(1.5)
            assert addresses(running.ask("bad.example.com")) == BLOCKED
            assert addresses(running.ask("other.example.com")) == OTHER
            assert "reloaded" not in running.log

        running.eventually(lambda: addresses(running.ask("other.example.com")) == BLOCKED)
        assert addresses(running.ask("bad.example.com")) == OTHER
        running.eventually(lambda: "sinkhole: reloaded\n" in running.log)


def test_hangups_while_a_reload_runs_come_to_one_more(site: Site) -> None:
    with site.running({"workers": 2, "block": ["bad.example.com"]}) as running:
        with Lock(site.state / "build.lock"):
            running.configure({"workers": 2, "block": ["other.example.com"]})
            time.sleep(0.3)
            for _ in range(100):
                running.process.send_signal(signal.SIGHUP)
                time.sleep(0.002)
        running.eventually(lambda: running.log.count("sinkhole: reloaded\n") == 2)
        time.sleep(1)
        assert running.log.count("reloaded") == 2
        assert addresses(running.ask("other.example.com")) == BLOCKED


def test_a_reload_changes_the_upstreams(site: Site) -> None:
    with site.running({"workers": 1}) as running:
        assert addresses(running.ask("one.example.org")) == OTHER
        running.configure({"workers": 1, "upstream": {"servers": ["127.0.0.1:9"], "timeout": "100ms"}})
        names = (f"{number}.example.org" for number in itertools.count())
        running.eventually(lambda: running.ask(next(names)).rcode() == dns.rcode.SERVFAIL)
        assert running.ask("one.example.org").rcode() == dns.rcode.SERVFAIL  # what the former one said is forgotten
