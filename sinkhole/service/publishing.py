"""Keeps the exports of groups up to date: they are made anew when the policy changed, and when an instant has come at
which it changes by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

log = logging.getLogger(__name__)

#: Seconds: the longest sleep, because the clock may be set; before another attempt after one that failed.
LOOK, AGAIN = 30.0, 60.0


class Published(NamedTuple):
    """How it went, and until when what there is holds."""

    ok: bool
    until: datetime | None


def _now() -> datetime:
    return datetime.now(UTC)


class Publishing:
    """``make`` brings the exports up to date, for the first time when :meth:`due` was called."""

    def __init__(
        self, make: Callable[[], Awaitable[Published]], now: Callable[[], datetime] = _now, look: float = LOOK
    ) -> None:
        self._make = make
        self._now = now
        self._look = look
        self._due = asyncio.Event()

    def due(self) -> None:
        """What the exports are made of may have changed."""
        self._due.set()

    async def run(self) -> None:
        at: datetime | None = None
        while True:
            await self._until(at)
            self._due.clear()
            ok, at = await self._make()
            now = self._now()
            if not ok:
                log.error("the exports of groups stay as they were; trying again in %.0f seconds", AGAIN)
                at = now + timedelta(seconds=AGAIN)
            elif at:
                at = max(at, now + timedelta(seconds=1))

    async def _until(self, at: datetime | None) -> None:
        """Wait until something changed, the instant ``at`` has come, or the clock was set back."""
        since = now = self._now()
        while not self._due.is_set() and now >= since and (at is None or now < at):
            wait = min(self._look, (at - now).total_seconds()) if at else self._look
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), wait)
            now = self._now()
