"""The verdict: what happens to a name for a client, and what decided it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

#: Lists that the compiler makes of the operator's own names and of the protected names.
OPERATOR_ALLOW, OPERATOR_BLOCK = "=allow", "=block"
PROTECTED = {"=nxdomain": "nxdomain", "=nodata": "nodata"}
INTERNAL = (OPERATOR_ALLOW, OPERATOR_BLOCK, *PROTECTED)


class Action(StrEnum):
    """What the resolver does. ``WARN`` and ``OBSERVE`` resolve; ``FORWARD`` means that nothing applied."""

    BLOCK = "block"
    ALLOW = "allow"
    WARN = "warn"
    OBSERVE = "observe"
    FORWARD = "forward"


class Verdict(NamedTuple):
    """An action and what decided it.

    ``ede`` is the RFC 8914 info-code of a block and ``text`` its EXTRA-TEXT, or that of a warning (UTF-8, at most 200
    octets); ``structured`` are the texts for those who ask for structured DNS errors, the most telling first. All are
    empty otherwise. ``mode`` is the answer that a query must get whatever ``blocking.mode`` says: a mode, ``drop``,
    ``tcp-only``, or records, ``TYPE DATA`` a line. ``exception`` is the id of the exception that lets the name through.
    """

    action: Action
    directive: str | None = None
    list: str | None = None
    ede: int | None = None
    text: str = ""
    mode: str | None = None
    structured: tuple[str, ...] = ()
    exception: str | None = None


FORWARD = Verdict(Action.FORWARD)
