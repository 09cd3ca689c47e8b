from __future__ import annotations

from benchmarks import querylog


def test_what_the_log_costs_is_measured_with_every_line_taken() -> None:
    found = querylog.measure(queries=2000, rounds=3)
    assert 0 < found.without < 1.5 * found.recorded
    assert 100 < found.line < 400
    assert found.stored > 10_000
