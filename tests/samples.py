"""Random lists and adversarial names, the same ones for the same seed."""

from __future__ import annotations

import random

from sinkhole.rules import Kind, Rank, Rule, Scope
from tests.lists import NAMES

SCOPES = (Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE)


def sample(chance: random.Random, size: int) -> list[Rule]:
    """Rules for up to ``size`` of the names of :mod:`tests.lists`."""
    names = chance.sample(NAMES, size)
    return [Rule(name, Kind(chance.choice(SCOPES), chance.random() < 0.4, Rank(chance.randrange(2)))) for name in names]
