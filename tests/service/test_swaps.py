"""Reloads under load, small; the large one is ``python -m benchmarks.reload``."""

from __future__ import annotations

import threading
import time

from benchmarks import load
from benchmarks.running import query
from sinkhole import bundle
from sinkhole.files import swap_link
from sinkhole.service import control
from tests.conftest import FORWARDED, Site

FREE = b"\0\4" + bytes(map(int, FORWARDED[0].split(".")))
SWAPS = 8


def test_no_query_is_lost_and_no_answer_wrong_while_the_bundle_is_swapped(site: Site) -> None:
    """Each answer is right for the old list or the new one: what both say never changes, and what only one says is
    what it says or what the other does."""
    policy = [{"groups": ["all"], "lists": ["own"]}]
    settings = {"workers": 2, "lists": {"own": {"sources": ["./own.txt"]}}, "policy": policy}
    config = site.configure({**settings, "upstream": {"servers": ["192.0.2.1"]}})
    names = []
    for only in ("first", "second"):
        lines = [f"0.0.0.0 n{number}.example.com\n" for number in range(20_000)]
        site.write("own.txt", "".join([*lines, f"0.0.0.0 {only}.example.com\n"]))
        names.append(site.run("build", "-c", config, "--no-exports", "--json").data["bundle"])
    blocked, free = frozenset({load.BLOCKED}), frozenset({FREE})
    asked = [
        *(load.Asked(query(f"n{number}.example.com")[2:], blocked) for number in range(0, 20_000, 100)),
        *(load.Asked(query(f"{name}.example.com")[2:], blocked | free) for name in ("first", "second")),
        *(load.Asked(query(f"free{number}.example.com")[2:], free) for number in range(50)),
    ]
    done, taken = threading.Event(), list[float]()

    def swap() -> None:
        try:
            for number in range(SWAPS):
                name = names[number % 2]
                swap_link(site.state / "bundles" / bundle.CURRENT, name)
                end = time.monotonic() + 20
                while any(worker["bundle"] != name for worker in control.ask(site.state, "status", 20)["workers"]):
                    assert time.monotonic() < end
                    time.sleep(0.02)
                taken.append(time.monotonic())
        finally:
            done.set()

    with site.running(settings) as running:
        workers = running.workers()
        changing = threading.Thread(target=swap)
        changing.start()
        heard = load.run(running.port, asked, 800, lambda now: not done.is_set())
        changing.join()
        assert running.workers() == workers
    assert len(taken) == SWAPS
    assert heard.sent > 500
    assert (heard.lost, heard.wrong) == (0, [])
