"""What a configuration expects of its policy: plain data, because every build carries it along."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sinkhole.policy.verdict import Action


class Expected(NamedTuple):
    """One expectation, and where it is written; ``at`` is None for the instant of the test; ``token`` may be empty."""

    where: str
    client: str
    name: str
    rtype: str
    at: datetime | None
    action: Action
    token: str = ""
