from __future__ import annotations

import itertools

import pytest

from sinkhole.resolver.answer import NOT_READY
from sinkhole.service import startup
from sinkhole.service.startup import CLOSED, FAIL_CLOSED, FORWARD_ALL, INCOMPLETE, OPEN, READY, SERVE_LAST
from sinkhole.service.waiting import Waiting

#: (bundle, complete, begun) -> the state in each mode.
STATES = {
    (False, False, False): (CLOSED, CLOSED, OPEN),
    (False, False, True): (CLOSED, CLOSED, OPEN),
    (True, False, False): (INCOMPLETE, CLOSED, OPEN),
    (True, False, True): (INCOMPLETE, CLOSED, OPEN),
    (True, True, False): (READY, CLOSED, OPEN),
    (True, True, True): (READY, READY, READY),
}


@pytest.mark.parametrize(("facts", "expected"), STATES.items())
def test_states(facts: tuple[bool, bool, bool], expected: tuple[str, ...]) -> None:
    bundle, complete, begun = facts
    found = (
        startup.state(mode, bundle=bundle, complete=complete, begun=begun)
        for mode in (SERVE_LAST, FAIL_CLOSED, FORWARD_ALL)
    )
    assert tuple(found) == expected


def test_no_mode_lets_everything_through_in_silence() -> None:
    both = (False, True)
    modes = (SERVE_LAST, FAIL_CLOSED, FORWARD_ALL)
    for mode, bundle, complete, begun in itertools.product(modes, both, both, both):
        found = startup.state(mode, bundle=bundle, complete=complete, begun=begun)
        if not (bundle and complete):
            assert found == CLOSED or found in startup.NOTICES
        assert (found == OPEN) <= (mode == FORWARD_ALL)


def test_a_closed_policy_says_why_and_an_open_one_decides_nothing() -> None:
    closed = Waiting(CLOSED).decide(Waiting(CLOSED).profile("192.0.2.1"), b"moc.elpmaxe.", 1)
    assert (closed.mode, closed.ede, closed.text) == ("servfail", NOT_READY, startup.TEXTS[CLOSED])
    assert Waiting(OPEN).decide(0, b"moc.elpmaxe.", 1).action == "forward"
