"""In which order the servers of a route are asked, and how many at once. Those that are not there always come last."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sinkhole.resolver.upstream.remote import Remote


class Strategy(NamedTuple):
    """``order`` arranges the servers for one question; the first ``width`` are asked at once, the others when
    needed."""

    width: int
    order: Callable[[Sequence[Remote]], Sequence[Remote]]


def _as_configured(remotes: Sequence[Remote]) -> Sequence[Remote]:
    return remotes


def _by_chance(remotes: Sequence[Remote]) -> Sequence[Remote]:
    return random.sample(remotes, len(remotes))


def _fastest_and_another(remotes: Sequence[Remote]) -> Sequence[Remote]:
    """The fastest, and beside it another one by chance, so that it is known how fast the others are now."""
    order = sorted(remotes, key=lambda remote: remote.latency or 0.0)  # an unknown one is tried first
    if len(order) > 2:
        order.insert(1, order.pop(random.randrange(1, len(order))))
    return order


STRATEGIES = {
    "parallel": Strategy(2, _fastest_and_another),
    "ordered": Strategy(1, _as_configured),
    "random": Strategy(1, _by_chance),
}


def arrange(strategy: Strategy, remotes: Sequence[Remote]) -> tuple[Sequence[Remote], int]:
    """The servers in the order in which to ask them, and how many of them are there."""
    if len(remotes) == 1:
        return remotes, remotes[0].up
    up = [remote for remote in remotes if remote.up]
    if len(up) == len(remotes):
        return strategy.order(remotes), len(up)
    return [*strategy.order(up), *strategy.order([remote for remote in remotes if not remote.up])], len(up)
