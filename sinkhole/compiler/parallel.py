"""Parts of a build in processes of their own, one for each other processor.

A helper is a fork of this process, so that it has all that it needs, and it says what it found through a pipe. Nothing
depends on it: what it does not say, because there is none or it died, the build works out itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

#: More helpers than this are of no use: merging and writing wait for all of them.
_MOST = 3


def spare() -> int:
    """How many helpers there may be: as many as there are processors for them."""
    return min(len(os.sched_getaffinity(0)) - 1, _MOST)


class Helper:
    """A process that does ``work`` with a pipe, of which ``said`` is the other end."""

    def __init__(self, work: Callable[[BinaryIO], None]) -> None:
        there, here = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _work(work, here)
        os.close(here)
        self.said = open(there, "rb")  # noqa: SIM115

    def close(self) -> None:
        """Wait for the end of the process; one that is still at work ends with its next word."""
        if not self.said.closed:
            self.said.close()
            os.waitpid(self._pid, 0)


def _work(work: Callable[[BinaryIO], None], pipe: int) -> None:
    """The whole life of a helper. It keeps no file of its parent open, above all not the one that is locked."""
    try:
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd != pipe:
                with suppress(OSError):  # the listing itself is closed by now
                    os.close(fd)
        with open(pipe, "wb") as said:
            work(said)
    except BaseException:  # noqa: BLE001 - whatever it is, the parent meets it too, and can tell somebody
        os._exit(1)
    os._exit(0)
