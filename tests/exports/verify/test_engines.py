"""Exports in the software that they are for: it blocks what the list blocks, less what the export says of itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from sinkhole.compiler.compile import Compiled
from sinkhole.exports.publish import export
from sinkhole.exports.verify.comparison import Asked, in_engine, in_standin
from sinkhole.exports.verify.engines import ENGINES
from sinkhole.exports.verify.standins import STANDINS
from sinkhole.formats import FORMATS
from tests.exports.verify import everything
from tests.exports.verify.everything import compiled

LISTS = {
    "names": lambda: compiled(everything.rules(), hosts=["www.z1.example", "cdn.u3.example"]),
    "answers": lambda: compiled(everything.rules(1, 20), [*everything.answers(), *everything.networks()]),
    "conditions": lambda: compiled(everything.rules(2, 20), [*everything.answers()[:9], *everything.conditions()]),
}
PAIRS = [(name, format) for name, engine in ENGINES.items() for format in engine.judges]
STOOD_IN = [(name, format) for name, standin in STANDINS.items() for format in standin.loads]


@cache
def asked(name: str) -> tuple[Compiled, Asked]:
    made = LISTS[name]()
    return made, Asked(made, 12_000)


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize(("name", "format"), PAIRS)
def test_an_engine_blocks_what_the_list_blocks(which: str, name: str, format: str, peer: Callable[[str], str]) -> None:
    engine = ENGINES[name]
    peer(engine.program)
    made, questions = asked(which)
    fitted, pieces = export(made, FORMATS[format])
    row = in_engine(engine, engine.installed() or "", format, format, b"".join(pieces), fitted.loss, questions)
    assert row.error == ""
    assert (list(row.wider)[:9], list(row.undeclared)[:9], list(row.other)[:9]) == ([], [], [])


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize(("name", "format"), STOOD_IN)
def test_so_do_the_readers_that_stand_in(which: str, name: str, format: str) -> None:
    made, questions = asked(which)
    fitted, pieces = export(made, FORMATS[format])
    row = in_standin(STANDINS[name], format, format, b"".join(pieces), fitted.loss, questions)
    assert row.error == ""
    assert (list(row.wider)[:9], list(row.undeclared)[:9], list(row.other)[:9]) == ([], [], [])
