"""Tests of a policy that stand in its configuration: for this client and name, at this instant, this must happen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from dnslib import QTYPE

from sinkhole.bundle import Bundle
from sinkhole.names import key
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.expected import Expected
from sinkhole.policy.policy import Policy


def failures(
    bundle: Bundle, expected: Iterable[Expected], now: datetime, permissions: tuple[Permission, ...] = ()
) -> Iterator[str]:
    """What is not as expected, a line each."""
    policies: dict[datetime, Policy] = {}
    for wanted in expected:
        at = wanted.at or now
        policy = policies.setdefault(at, Policy(bundle, at, permissions))
        profile = policy.profile(wanted.client, wanted.token)
        verdict = policy.decide(profile, key(wanted.name.encode()), QTYPE.reverse[wanted.rtype])
        if verdict.action is not wanted.action:
            because = verdict.exception or verdict.directive or verdict.list or "no list or directive has it"
            by = wanted.token and f" by the token {wanted.token}"
            yield (
                f"{wanted.where}: {wanted.name} {wanted.rtype} for {wanted.client}{by} at {at.isoformat()}: "
                f"expected {wanted.action}, is {verdict.action} ({because})"
            )
