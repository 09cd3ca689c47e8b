"""Progress on a terminal: one bar for each thing under way, and nothing at all when standard error is not one."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from sinkhole.feeds.body import shown

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """``with Bars() as bars:`` shows what ``bars.update(what, done, total)`` reports; safe to call from any thread."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._active: Progress | None = None
        self._shown = sys.stderr.isatty()
        if not self._shown:
            return
        from rich.console import Console  # which takes a while, and cron looks at no bars
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        name, bar = TextColumn("{task.description}"), BarColumn()
        self._downloads = Progress(name, bar, DownloadColumn(), console=console, transient=True)
        self._steps = Progress(name, bar, MofNCompleteColumn(), console=console, transient=True)

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._active:
            self._active.stop()

    def update(self, what: str, done: int, total: int | None) -> None:
        """``what`` is a location that is downloaded (octets), or a step of the build (items)."""
        if not self._shown:
            return
        progress = self._downloads if "/" in what else self._steps
        if progress is not self._active:
            if self._active:
                self._active.stop()
            self._active = progress
            progress.start()
        if what not in self._tasks:
            self._tasks[what] = progress.add_task(shown(what)[-60:], total=total)
        progress.update(self._tasks[what], completed=done, total=total)
