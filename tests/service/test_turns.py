"""Short turns on the processor: asked of the real kernel, and read back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sinkhole.service import turns

GET = 1  # sched_getattr(2) is the next call on every machine in the table
TOLD = f"""
import ctypes, os
from sinkhole.service import turns
def told(pid):
    found = bytearray(turns._ATTRIBUTES.size)
    memory = (ctypes.c_char * len(found)).from_buffer(found)
    number = turns._CALLS[os.uname().machine] + {GET}
    assert not ctypes.PyDLL(None).syscall(ctypes.c_long(number), pid, memory, len(found), 0)
    return turns._ATTRIBUTES.unpack(found)
"""


def _ran(code: str) -> list[str]:
    command = [sys.executable, "-c", TOLD + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()


@pytest.mark.skipif(os.uname().machine not in turns._CALLS, reason="the number of the call is not known here")
def test_a_process_asks_for_short_turns_and_keeps_its_niceness() -> None:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    heard, policy, nice, slice_ = _ran("""
os.nice(3)
print(turns.shorten(), *(told(0)[at] for at in (1, 3, 5)))
""")
    assert (heard, policy, nice) == ("True", str(os.SCHED_OTHER), str(os.getpriority(os.PRIO_PROCESS, 0) + 3))
    if release >= (6, 12):
        assert int(slice_) == turns.SHORTEST


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets real-time priority")
def test_who_has_real_time_priority_keeps_it() -> None:
    code = (
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\nprint(turns.shorten(), os.sched_getscheduler(0))"
    )
    assert _ran(code) == ["False", str(os.SCHED_FIFO)]


def test_on_a_machine_that_is_not_known_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_CALLS", {})
    assert not turns.shorten()
