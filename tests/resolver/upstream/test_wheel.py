from __future__ import annotations

import asyncio
from collections.abc import Callable

from sinkhole.resolver.upstream.wheel import TICK, Wheel


class Who:
    """Writes down when it was late, and does something then."""

    def __init__(self, then: Callable[[Who], object] = lambda who: None) -> None:
        self.times: list[float] = []
        self.then = then

    def late(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.then(self)


def run(work: Callable[[Wheel, float], object], seconds: float = 0.3) -> list[object]:
    """What the loop complains of while what was put on a wheel ``now`` comes late."""
    complaints: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context.get("exception")))
        work(Wheel(), loop.time())
        await asyncio.sleep(seconds)

    asyncio.run(main())
    return complaints


def test_each_is_called_once_and_never_too_early_in_whatever_order_they_come() -> None:
    delays = [0.12, 0.0, 0.05, 0.051, 0.2, 0.05, 0.01]
    started: list[float] = []
    all_of_them = [Who() for _ in delays]

    def work(wheel: Wheel, now: float) -> None:
        started.append(now)
        for who, delay in zip(all_of_them, delays, strict=True):
            wheel.put(who, now + delay)

    assert not run(work, 0.2 + 5 * TICK)
    for who, delay in zip(all_of_them, delays, strict=True):
        (time,) = who.times
        assert time - started[0] >= delay


def test_who_leaves_its_slot_is_not_called_and_who_comes_again_is() -> None:
    stays, leaves = Who(), Who()

    def work(wheel: Wheel, now: float) -> None:
        def again(who: Who) -> None:
            if len(who.times) < 3:
                wheel.put(who, who.times[-1] + 0.02)

        stays.then = again
        wheel.put(stays, now + 0.02)
        wheel.put(leaves, now + 0.02).discard(leaves)

    assert not run(work)
    assert len(stays.times) == 3
    assert not leaves.times


def test_one_that_fails_keeps_none_from_being_called() -> None:
    def fail(who: Who) -> None:
        raise ZeroDivisionError

    failing, others = [Who(fail) for _ in range(3)], [Who() for _ in range(20)]

    def work(wheel: Wheel, now: float) -> None:
        for who in (*failing, *others):
            wheel.put(who, now)
        wheel.put(others[0], now + 0.05)

    complaints = run(work)
    assert [type(complaint) for complaint in complaints] == [ZeroDivisionError] * 3
    assert [len(who.times) for who in (*failing, *others)] == [1] * 3 + [2] + [1] * 19


def test_nobody_is_called_after_it_was_closed_be_it_by_one_who_was() -> None:
    all_of_them = [Who() for _ in range(10)]

    def work(wheel: Wheel, now: float) -> None:
        for who in all_of_them:
            who.then = lambda who: wheel.close()
            wheel.put(who, now)
        wheel.put(later, now + 0.02)

    later = Who()
    assert not run(work, 0.1)
    assert sum(len(who.times) for who in all_of_them) == 1
    assert not later.times
