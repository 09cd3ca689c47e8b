from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import dns.message
import dns.rcode
import pytest

from tests.conftest import FORWARDED, Running, Site, alive, children, forwarded
from tests.dnsserver import Asked

BLOCKED, OTHER = ["0.0.0.0"], [FORWARDED[1]["A"]]


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


class Sample(NamedTuple):
    """One query under load: when it left, when its answer came (None: within two seconds none did), and the answer."""

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
            sock.settimeout(2)
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

    def between(self, start: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if start <= sample.sent < end]

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


def test_a_killed_worker_costs_what_was_in_flight_and_is_back_within_a_second(site: Site) -> None:
    clients = 12
    with site.running({"workers": 2}) as running:
        before = running.workers()
        with Load.on(running.port, clients, "chat.deepseek.com") as load:
            time.sleep(0.3)
            victim = min(before)
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            running.eventually(lambda: len(running.workers() - {victim}) == 2, within=1)
            running.eventually(lambda: time.monotonic() > killed + 1.3, within=2)
        after = running.workers()

        assert len(before) == len(after) == 2
        assert before - after == {victim}
        assert all(sample.sent < killed for sample in load.lost), "a query that came after the kill was lost"
        assert len(load.lost) <= clients
        waited = [sample.heard - killed for sample in load.samples if sample.heard and sample.sent >= killed]
        later = load.between(killed + 1, killed + 9)
        assert len(later) > 3 * clients
        assert all(sample.heard and sample.heard - sample.sent < 0.5 for sample in later)
        assert max(waited) < 1.9
        assert {dns.message.from_wire(s.answer).rcode() for s in load.samples if s.heard} == {dns.rcode.NOERROR}
        assert f"(process {victim}) ended: SIGKILL; starting another" in running.log


def test_a_new_bundle_is_served_soon_and_no_query_is_lost(site: Site) -> None:
    settings = {"workers": 2, "lists": {"own": {"sources": ["./own.txt"]}}}
    settings["policy"] = [{"groups": ["all"], "lists": ["own"]}]  # type: ignore[assignment]
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

    def slow(query: Asked) -> Iterator[bytes]:
        if b"slow" in query.packet:
            asked.set()
            time.sleep(0.6)
        yield from forwarded(query)

    answers: dict[bool, list[str]] = {}
    with site.running({"workers": 2}, slow) as running:

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
        assert 'blocking.mode: unknown mode \'nxdomian\'; did you mean "nxdomain"?' in running.log
        assert addresses(running.ask("bad.example.com")) == BLOCKED
        assert addresses(running.ask("other.example.com")) == OTHER

        running.configure({"workers": 1, "block": ["other.example.com"], "blocking": {"mode": ["192.0.2.80"]}})

        running.eventually(lambda: addresses(running.ask("other.example.com")) == ["192.0.2.80"])
        assert addresses(running.ask("bad.example.com")) == OTHER
        running.eventually(lambda: "reloaded\n" in running.log.rpartition("as it was")[2])


def test_a_reload_changes_the_upstreams(site: Site) -> None:
    with site.running({"workers": 1}) as running:
        assert addresses(running.ask("one.example.org")) == OTHER
        running.configure({"workers": 1, "upstream": {"servers": ["127.0.0.1:9"], "timeout": "100ms"}})
        names = (f"{number}.example.org" for number in itertools.count())
        running.eventually(lambda: running.ask(next(names)).rcode() == dns.rcode.SERVFAIL)
        assert running.ask("one.example.org").rcode() == dns.rcode.SERVFAIL  # what the former one said is forgotten

