from __future__ import annotations

from benchmarks import policy


def test_what_a_policy_costs_is_measured_on_both_sides() -> None:
    found = policy.measure(names=600, queries=500, rounds=1)
    assert len(found) == 2
    for cost in found.values():
        assert cost.plain > 0
        assert abs((1 + cost.more) * cost.plain - cost.policy) < 0.05 * cost.policy
