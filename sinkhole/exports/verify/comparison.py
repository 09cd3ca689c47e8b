"""Compare what software makes of an export with what its list says.

A verdict is *wider* when something is blocked that the list lets through: never right. It is *narrower* when something
passes that the list blocks: right only as far as the export says that it leaves something out. How far that is follows
from the counts of its loss: names may pass below no more rules than those.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.compiler.compile import Compiled
from sinkhole.exports.loss import Loss
from sinkhole.exports.verify import running
from sinkhole.exports.verify.asking import AAAA, ALIAS, DROP, HTTPS, NULL, PASSED, TCP_ONLY, A, Question
from sinkhole.exports.verify.engines import ENGINES, Engine, Setting
from sinkhole.exports.verify.meaning import Meaning, Said
from sinkhole.exports.verify.questions import questions
from sinkhole.exports.verify.running import EngineError
from sinkhole.exports.verify.standins import STANDINS, StandIn
from sinkhole.formats import FORMATS
from sinkhole.rules import Special

#: What a plain block is answered with, in the formats that say so.
_OWN = {"rpz": "nxdomain", "knot": "nxdomain", "rpz-nodata": "nodata", "rpz-drop": DROP}
_OWN |= {"rpz-tcp-only": TCP_ONLY}
#: How many questions there are when silence is the answer, for which somebody has to wait.
_SILENT = 1500
_TYPES = {A: "A", AAAA: "AAAA", HTTPS: "HTTPS"}
_WORDS = {"NODATA": "nodata", "DROP": DROP, "TCP-ONLY": TCP_ONLY}
#: Answers that are stated as a block, with the answer that the software has for one.
_PLAIN = frozenset(("", "NULL", "NXDOMAIN", "REFUSED"))


class Row(NamedTuple):
    """One export in one program. ``wider``, ``undeclared`` and ``other`` are the questions that went wrong, as text:
    blocked without cause, let through without a word in the export's loss, and answered otherwise than stated;
    ``narrower`` is how many pass as the loss says. ``error`` is why the program did not take the file."""

    path: str
    consumer: str
    version: str
    standin: bool
    asked: int = 0
    wider: Sequence[str] = ()
    narrower: int = 0
    undeclared: Sequence[str] = ()
    other: Sequence[str] = ()
    error: str = ""

    @property
    def right(self) -> bool:
        return not (self.wider or self.undeclared or self.other or self.error)

    def data(self) -> dict[str, Any]:
        return {**self._asdict(), "right": self.right}


class Asked:
    """A list, what is asked about it, and what it says to each question."""

    def __init__(self, compiled: Compiled, names: int) -> None:
        meaning = Meaning(compiled)
        self.questions = questions(compiled, names)
        self.said = {asked: meaning.said(asked.name, asked.type, asked.addresses()) for asked in self.questions}
        self.cuts = any(rule.kind.allow for rule in compiled.special)


def in_engine(engine: Engine, version: str, path: str, format: str, text: bytes, loss: Loss, asked: Asked) -> Row:
    """What ``engine`` makes of an export, whose bytes are ``text``."""
    put = [question for question in asked.questions if engine.asked(format, question)]
    if format == "rpz-drop":
        put = put[:_SILENT]
    row = Row(path, engine.name, version, False, len(put))
    with tempfile.TemporaryDirectory(prefix="sinkhole-") as name:
        directory = Path(name)
        file = directory / "list"
        file.write_bytes(text)
        try:
            words = engine.judges[format](Setting(directory, file, format, running.free_port()), put)
        except EngineError as error:
            return row._replace(error=str(error))
    words = [
        DROP if word == engine.dropping and asked.said[at].answer == "DROP" else word
        for at, word in zip(put, words, strict=True)
    ]
    return _judged(row, dict(zip(put, words, strict=True)), _OWN.get(format, ""), loss, asked)


def in_standin(standin: StandIn, path: str, format: str, text: bytes, loss: Loss, asked: Asked) -> Row:
    """What the reader that stands in for software makes of it."""
    hosts = FORMATS[format].many
    put = [question for question in asked.questions if not question.name.startswith("ip-")]
    put = [question for question in put if not hosts or question.type == A]
    row = Row(path, standin.name, standin.manual, True, len(put))
    try:
        blocked = standin.loads[format](text.decode())
    except (ValueError, KeyError, IndexError) as error:
        return row._replace(error=str(error))
    return _judged(row, {question: "refused" if blocked(question) else PASSED for question in put}, "", loss, asked)


def _judged(row: Row, words: dict[Question, str], own: str, loss: Loss, asked: Asked) -> Row:
    """The row with what went wrong. ``own`` is the word for what a plain block is answered with, where answers are
    compared too, and not only what is blocked."""
    wider, narrower, other = [], [], []
    for question, word in words.items():
        said = asked.said[question]
        if word == "servfail" or word.startswith("rcode"):
            other.append(f"{_text(question)}: {word}")
        elif word != PASSED and not said.blocked:
            wider.append(f"{_text(question)}: {word}")
        elif word == PASSED and said.blocked:
            narrower.append(question)
        elif own and said.blocked and not loss.special and word != (wanted := _word(said, question, own)):
            other.append(f"{_text(question)}: {word}, not {wanted}")
    stated = _declared({asked.said[question].rule for question in narrower}, loss, asked.cuts)
    undeclared = [_text(question) for question in narrower if asked.said[question].rule not in stated]
    return row._replace(wider=wider, narrower=len(narrower) - len(undeclared), undeclared=undeclared, other=other)


def _declared(rules: set[bytes | Special], loss: Loss, cuts: bool) -> set[bytes | Special]:
    """Those of ``rules`` that an export may fall short of: none of a kind, if they are more than its loss counts.

    ``cuts``: exceptions that the format has no word for may have taken away more than themselves.
    """
    special = {rule for rule in rules if isinstance(rule, Special)}
    plain = rules - special
    named = loss.narrowed + loss.dropped + loss.too_long + loss.unfit
    found: set[bytes | Special] = set()
    if len(plain) <= named or (cuts and loss.special):
        found |= plain
    if len(special) <= loss.special or (cuts and loss.special):
        found |= special
    return found


def _word(said: Said, question: Question, own: str) -> str:
    """The word of the answer that a block has for a question."""
    if said.answer in _PLAIN:
        return own
    if said.answer in _WORDS:
        return _WORDS[said.answer]
    records = said.answer.split("\n")
    if records[0].startswith("CNAME "):
        return ALIAS
    kind = _TYPES[question.type]
    data = [record.split(" ", 1)[1] for record in records if record.startswith(f"{kind} ")]
    if not data or question.type == HTTPS:
        return "https" if data else "nodata"
    found = [str(ip_address(address)) for address in data]
    return NULL if set(found) <= {"0.0.0.0", "::"} else "\n".join(sorted(f"{kind} {address}" for address in found))


def _text(question: Question) -> str:
    return question.name if question.type == A else f"{question.name} {_TYPES[question.type]}"


def consumers(format: str, only: Sequence[str] = ()) -> Iterator[Engine | StandIn]:
    """Everything here that takes a format, or those of it that are named in ``only``."""
    for engine in ENGINES.values():
        if format in engine.judges and (not only or engine.name in only):
            yield engine
    for standin in STANDINS.values():
        if format in standin.loads and (not only or standin.name in only):
            yield standin
