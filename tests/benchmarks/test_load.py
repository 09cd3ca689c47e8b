"""The client of the benchmarks sees what is lost and what is wrong."""

from __future__ import annotations

import time

import pytest

from benchmarks import load
from benchmarks.running import query
from tests.dnsserver import Asked, DnsServer, reply


def ask(answers: dict[bytes, list[str]], seconds: float = 0.5) -> load.Heard:
    """Of three names of which each is answered with its addresses; all must be 192.0.2.1."""

    def script(asked: Asked) -> list[bytes]:
        (name,) = (name for name in answers if name in asked.packet)
        return [reply(asked.packet, A=address) for address in answers[name]]

    asked = [load.Asked(query(f"{name.decode()}.example")[2:], frozenset({load.FORWARDED})) for name in answers]
    with DnsServer(script) as server:
        return load.run(server.port, asked, 60, lambda now: now < seconds)


def test_right_answers() -> None:
    heard = ask({b"one": ["192.0.2.1"], b"two": ["192.0.2.1"]})
    assert (heard.lost, heard.wrong) == (0, [])
    assert 10 <= heard.sent == len(heard.delays) <= 31
    figures = heard.data()
    assert 0 < figures["p50-ms"] <= figures["p99-ms"] <= figures["worst-ms"] < 1000


def test_what_is_lost_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE", 0.3)
    started = time.monotonic()
    heard = ask({b"one": ["192.0.2.1"], b"two": [], b"three": ["192.0.2.2"]})
    assert time.monotonic() - started < 2
    assert heard.lost == pytest.approx(heard.sent / 3, abs=1)
    assert len(heard.wrong) == pytest.approx(heard.sent / 3, abs=1)
    assert all(b"three" in packet for packet, _ in heard.wrong)


def test_the_question_counts_too() -> None:
    other = load.Asked(query("one.example")[2:], frozenset({load.FORWARDED}))
    with DnsServer(lambda asked: [asked.packet[:2] + reply(query("two.example"), A="192.0.2.1")[2:]]) as server:
        heard = load.run(server.port, [other], 50, lambda now: now < 0.2)
    assert len(heard.wrong) == len(heard.delays) > 5
