"""Where things lie when nobody says where: the catalogue, and what programs keep."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parent


def catalogue_directory() -> Path:
    """``feeds/`` of the checkout that this package lies in, or else the copy inside the installed package."""
    checkout = _PACKAGE.parent
    return checkout / "feeds" if (checkout / "pyproject.toml").is_file() else _PACKAGE / "catalogue" / "data"


def state_directory() -> Path:
    """Where programs keep state: https://specifications.freedesktop.org/basedir-spec/latest/."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "sinkhole"
