"""What decides while the lists are not ready, and the mode of ``startup`` wants no earlier ones."""

from __future__ import annotations

from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.answer import NOT_READY
from sinkhole.service.startup import CLOSED, OPEN, TEXTS

_WAIT = Verdict(Action.BLOCK, ede=NOT_READY, text=TEXTS[CLOSED], mode="servfail")


class Waiting:
    """The policy of the states ``closed`` and ``open``: one verdict for all."""

    by_address = None

    def __init__(self, state: str) -> None:
        self._verdict = FORWARD if state == OPEN else _WAIT

    def profile(self, client: str, token: str = "") -> int:
        return 0

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return self._verdict

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return profile
