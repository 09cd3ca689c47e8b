"""The page that says what lies in a directory of exports, for people who browse it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from sinkhole.compiler.planned import ListPlan
from sinkhole.exports.loss import Loss
from sinkhole.formats.format import Format

#: How the page begins; one that begins otherwise is somebody's own.
MARK = b"<!-- Written by `sinkhole build`: what is changed here is lost. -->\n"
_HEAD = """
# Lists to import

Each list in every format that can state it. No file blocks more than its list says: what a format cannot state is left
out and counted, here, at the head of the file, and in [index.json](index.json), which has sizes and hashes too.
"""


def page(plans: Iterable[ListPlan], files: Mapping[str, Iterable[tuple[Format, str, int, Loss]]]) -> bytes:
    """The page of ``plans`` with (format, path, entries, loss) of the files of each, by its id."""
    sections = (line for plan in plans if plan.id in files for line in _section(plan, files[plan.id]))
    return MARK + (_HEAD + "".join(f"{line}\n" for line in sections)).encode()


def _section(plan: ListPlan, files: Iterable[tuple[Format, str, int, Loss]]) -> Iterator[str]:
    yield f"\n## {_plain(plan.title or plan.id)}\n"
    facts = (plan.description, plan.license and f"Licence: {plan.license}.", plan.updated and f"As of {plan.updated}.")
    yield " ".join(_plain(fact) for fact in facts if fact) + "\n"
    yield "| file | syntax | where it goes | entries | left out |\n|---|---|---|---:|---|"
    for format, path, entries, loss in files:
        told = _plain(format.title), _plain(format.use), str(entries), "; ".join(loss.notes())
        yield f"| [{path}]({path}) | {' | '.join(told)} |"


def _plain(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would take for more."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
