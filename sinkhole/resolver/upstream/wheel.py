"""Timers of questions: many, nearly all of them stopped long before their time, and none of them exact.

A timer of the event loop costs more than asking a question. These are put into a set with all others that end within
the same :data:`TICK`, of which one timer of the loop waits for the first.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

#: Seconds that a timer ends after its time, at most.
TICK = 0.01


class Late(Protocol):
    """What has a timer. It is hashed by identity."""

    def late(self) -> None:
        """Its time has come."""


#: Those whose time ends within the same tick. Who leaves it is not called.
Slot = set[Late]


class Wheel:
    """The slots of one event loop."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._timer: asyncio.TimerHandle | None = None

    def put(self, who: Late, due: float) -> Slot:
        """Call ``who`` soon after ``due``, in seconds of the loop, unless it leaves the slot before."""
        number = int(due / TICK) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            if self._timer is None or self._timer.when() > number * TICK:
                self._set(number)
        slot.add(who)
        return slot

    def _set(self, number: int) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(number * TICK, self._turn, number)

    def _turn(self, number: int) -> None:
        slot = self._slots[number]
        self._timer = None
        try:
            while slot:
                slot.pop().late()
        finally:
            if not slot:
                self._slots.pop(number, None)  # closed meanwhile
            if self._slots:
                self._set(min(self._slots))

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
