"""The bundles of a directory in the order in which they came into use, and the way back to an earlier one.

To go back is remembered in ``rolled-back.json`` beside the bundles, so a build of the same inputs does not undo it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from sinkhole import bundle
from sinkhole.errors import BundleError, SinkholeError
from sinkhole.files import swap_link, write_atomic

_RECORD = "rolled-back.json"


class RolledBack(NamedTuple):
    """A way back that holds: from which bundle to which one, and the ``inputs`` of the first."""

    left: str
    to: str
    inputs: str


def bundles(directory: Path) -> list[Path]:
    """Whole bundles, the one that came into use last first."""
    found = [path for path in directory.glob("[!.]*") if path.is_dir() and not path.is_symlink()]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def use(directory: Path, path: Path) -> None:
    """Make ``path`` the bundle in use. What was rolled back is forgotten."""
    if bundle.current(directory) != path.resolve():
        os.utime(path)
    swap_link(directory / bundle.CURRENT, path.name)
    (directory / _RECORD).unlink(missing_ok=True)


def rolled_back(directory: Path) -> RolledBack | None:
    """The way back that holds now, if any."""
    try:
        record = RolledBack(**json.loads((directory / _RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    path = bundle.current(directory)
    return record if path and path.name == record.to else None


def roll_back(directory: Path, name: str | None) -> RolledBack:
    """Go back to the bundle ``name``, else to the one in use before this one."""
    current = bundle.current(directory)
    order = bundles(directory)
    if current is None or current not in order:
        raise SinkholeError(f"no bundle is in use in {directory}")
    earlier = order[order.index(current) + 1 :]
    wanted = [path for path in order if path.name == name] if name else earlier[:1]
    if not wanted:
        known = ", ".join(path.name for path in order if path != current) or "none"
        what = f"no bundle {name!r}" if name else f"no bundle before {current.name}"
        raise SinkholeError(f"{what} in {directory}; others there: {known}")
    if wanted[0] == current:
        raise SinkholeError(f"{current.name} is in use already")
    bundle.load(wanted[0])
    try:
        inputs = str(bundle.load(current).manifest["inputs"])
    except BundleError:
        inputs = ""
    before = rolled_back(directory)
    record = RolledBack(current.name, wanted[0].name, before.inputs if before else inputs)
    write_atomic(directory / _RECORD, json.dumps(record._asdict(), indent=1).encode() + b"\n")
    swap_link(directory / bundle.CURRENT, wanted[0].name)
    return record
