"""How long a process has a processor at a time, which Python's library cannot say: sched_setattr(2).

Who asks for short turns gets them sooner: a worker that wakes for a query goes before programs on its processor that
have turns of the usual length, as long as it had no more than its share (EEVDF, Linux 6.6; before one that runs, 6.12).
It needs no privilege. Where there is no such thing, nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import struct

#: Nanoseconds: the shortest that the kernel grants.
SHORTEST = 100_000
#: The number of the call by machine, as the C library has no name for it before glibc 2.41.
_CALLS = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355, "s390x": 345}
#: struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def shorten(nanoseconds: int = SHORTEST) -> bool:
    """Ask for such turns for this process, which keeps its niceness; whether that was heard. Who has real-time priority
    has no turns."""
    number = _CALLS.get(os.uname().machine)
    if number is None or os.uname().sysname != "Linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    try:
        return not ctypes.PyDLL(None).syscall(ctypes.c_long(number), 0, wanted, 0)
    except (OSError, AttributeError):  # no library that is linked at run time
        return False
