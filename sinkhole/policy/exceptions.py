"""Exceptions: who may reach what in spite of the policy, from when until when, and by whose approval.

The journal (:mod:`sinkhole.journal`) is the register: each record holds an exception as it became, and the last one
counts. Functions here are the only ways in which an exception changes; they write nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sinkhole.errors import SinkholeError

if TYPE_CHECKING:
    from sinkhole.journal import Record

REQUESTED, APPROVED, DENIED, REVOKED = "requested", "approved", "denied", "revoked"
#: How many names, clients and groups one exception has, and characters each text of it.
MAX_PARTS, MAX_TEXT = 256, 500
_YEAR = timedelta(days=366)


class Permission(NamedTuple):
    """One exception. Instants are ISO 8601 with an offset.

    ``names`` are as in the configuration: ``example.com`` is the tree, ``=example.com`` that name. It holds for
    ``clients`` (addresses, networks) and ``groups``. ``lasts`` are seconds from its approval on; ``since`` and
    ``until`` are when it holds, and ``until`` is the instant of revocation when that came earlier.
    """

    id: str
    state: str
    names: tuple[str, ...]
    service: str | None
    clients: tuple[str, ...]
    groups: tuple[str, ...]
    why: str
    requester: str
    decider: str | None
    requested: str
    since: str | None
    until: str | None
    lasts: float | None
    ticket: str | None

    @property
    def plain(self) -> dict[str, Any]:
        """As the journal and the control channel hold it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}

    def held(self, at: datetime) -> bool:
        """Whether it is in force at an instant, which may be past."""
        if self.since is None or self.until is None:
            return False
        return datetime.fromisoformat(self.since) <= at < datetime.fromisoformat(self.until)

    def state_at(self, at: datetime) -> str:
        """Its state in a word, with ``expired`` for what was approved and is over."""
        return "expired" if self.state == APPROVED and not self.held(at) else self.state

    def meets(self, terms: Mapping[str, Any] | None) -> bool:
        """Whether a directive with these ``terms`` lets it through: None are those of one without exceptions."""
        if terms is None or self.since is None or self.until is None:
            return False
        if terms["two-person"] and self.requester == self.decider:
            return False
        lasts = datetime.fromisoformat(self.until) - datetime.fromisoformat(self.since)
        return terms["at-most"] is None or lasts.total_seconds() <= terms["at-most"]


def permission(plain: Mapping[str, Any]) -> Permission:
    """The inverse of :attr:`Permission.plain`. Raises :class:`TypeError` for other keys."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    return Permission(**fields)


def register(records: Iterable[Record]) -> dict[str, Permission]:
    """Every exception by id, as its last record has it."""
    found: dict[str, Permission] = {}
    for record in records:
        if record.after is not None:
            found[record.entry] = permission(record.after)
    return found


def pending(records: Iterable[Record], at: datetime) -> tuple[Permission, ...]:
    """The exceptions that hold at an instant, or will."""
    found = register(records).values()
    return tuple(held for held in found if held.since and held.until and datetime.fromisoformat(held.until) > at)


def request(
    number: int,
    at: datetime,
    requester: str,
    why: str,
    names: Iterable[str],
    *,
    service: str | None = None,
    clients: Iterable[str] = (),
    groups: Iterable[str] = (),
    until: datetime | None = None,
    lasts: float | None = None,
    ticket: str | None = None,
) -> Permission:
    """A new exception that nobody has decided on. Raises SinkholeError with what is missing or too much."""
    asked = Permission(
        f"x{number}", REQUESTED, tuple(names), service, tuple(clients),
        tuple(groups), why.strip(), requester.strip(), None, at.isoformat(), None,
        until.isoformat() if until else None, lasts, ticket,
    )  # fmt: skip
    if not asked.names or len(asked.names) > MAX_PARTS:
        raise SinkholeError(f"an exception is for 1 to {MAX_PARTS} names, not {len(asked.names)}")
    if not asked.clients and not asked.groups:
        raise SinkholeError("an exception is for somebody: name a client or a group")
    if len(asked.clients) + len(asked.groups) > MAX_PARTS:
        raise SinkholeError(f"an exception is for at most {MAX_PARTS} clients and groups")
    for what, text in (("a reason", asked.why), ("a requester", asked.requester), ("a ticket", ticket or "-")):
        if not text or len(text) > MAX_TEXT or not text.isprintable():
            raise SinkholeError(f"an exception needs {what} of 1 to {MAX_TEXT} printable characters")
    if (until is None) == (lasts is None):
        raise SinkholeError("an exception has an end: say until when, or for how long from its approval on")
    if (until and not at < until <= at + _YEAR) or (lasts is not None and not 0 < lasts <= _YEAR.total_seconds()):
        raise SinkholeError("an exception ends in the future, after a year at most")
    return asked


def approve(asked: Permission, at: datetime, decider: str) -> Permission:
    """The exception in force from ``at`` on. Raises SinkholeError when it was decided already, or is too late."""
    _undecided(asked)
    until = datetime.fromisoformat(asked.until) if asked.until else at + timedelta(seconds=asked.lasts or 0)
    if until <= at:
        raise SinkholeError(f"{asked.id} was asked for until {asked.until}, which is over; it needs a new request")
    return asked._replace(state=APPROVED, decider=decider, since=at.isoformat(), until=until.isoformat())


def deny(asked: Permission, decider: str) -> Permission:
    """The exception refused. Raises SinkholeError when it was decided already."""
    _undecided(asked)
    return asked._replace(state=DENIED, decider=decider)


def revoke(held: Permission, at: datetime) -> Permission:
    """The exception at its end. Raises SinkholeError when it is not in force."""
    if held.state != APPROVED or not held.held(at):
        raise SinkholeError(f"{held.id} is {held.state_at(at)}, so there is nothing to revoke")
    return held._replace(state=REVOKED, until=at.isoformat())


def _undecided(asked: Permission) -> None:
    if asked.state != REQUESTED:
        raise SinkholeError(f"{asked.id} is {asked.state} already, by {asked.decider}")
