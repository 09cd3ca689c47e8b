"""What one command leaves to the next one in the state directory, so that it need not work it out again.

A file of two lines: the sha256 of the rest, and a value as JSON. It is the owner's alone, for who can write it says
what is in force. Any may be missing, damaged or somebody else's: then it is worked out again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sinkhole.errors import SinkholeError
from sinkhole.files import write_atomic
from sinkhole.places import state_directory

#: Octets of a file: more than the largest configuration comes to.
MAX_SIZE = 128 << 20
#: Where the configuration says that its state directory is, when it says so in the plainest way.
_STATE_DIR = re.compile(rb"^[ ]?[\"']?state-dir[\"']?:[ ]*[\"']?(/[\w./-]+)[\"']?,?[ ]*$", re.M)


def directory(text: bytes) -> Path:
    """The state directory of the configuration ``text``. Only a hint on where something may be kept: that has to tell
    which configuration it follows from."""
    named = _STATE_DIR.search(text)
    return Path(os.fsdecode(named[1])) if named else state_directory()


def write(path: Path, value: object, plain: Callable[[object], object] | None = None) -> None:
    """Keep ``value``; ``plain`` gives what JSON has no word for. A full disk costs time later, and nothing else."""
    text = json.dumps(value, default=plain, ensure_ascii=False).encode()
    with suppress(SinkholeError):
        write_atomic(path, b"%s\n%s" % (hashlib.sha256(text).hexdigest().encode(), text), 0o600, flush=False)


def read(path: Path) -> Any:
    """What was kept. Raises OSError when there is nothing, and ValueError when it is not what we wrote."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ValueError(f"{path}: not a private file of this user")
        head, _, text = file.read(MAX_SIZE).partition(b"\n")
    if head != hashlib.sha256(text).hexdigest().encode():
        raise ValueError(f"{path}: damaged")
    return json.loads(text)
