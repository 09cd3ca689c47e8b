"""What an export could not say."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass
class Loss:
    """What a format could not say, in rules: ``narrowed`` to the name alone, ``dropped`` altogether, ``too_long`` for
    the format, ``unfit`` because it must not hold such a name, ``special`` with patterns, conditions or answers that it
    has no word for. ``hosts`` are the known host names that stand in for narrowed and dropped trees."""

    narrowed: int = 0
    dropped: int = 0
    too_long: int = 0
    unfit: int = 0
    special: int = 0
    hosts: int = 0

    def __bool__(self) -> bool:
        return bool(self.narrowed or self.dropped or self.too_long or self.unfit or self.special)

    def add(self, other: Loss, times: int = 1) -> None:
        """Count what ``other`` has, as often as it was met."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + times * getattr(other, field.name))

    def data(self) -> dict[str, int]:
        return asdict(self)

    def notes(self) -> list[str]:
        """Sentences for people, none when nothing was lost."""
        told = (
            (self.narrowed, "also cover", "all names below theirs, which this format cannot say"),
            (self.dropped, "have", "a scope that this format cannot say"),
            (self.too_long, "have", "a name that is too long for this format"),
            (self.unfit, "have", "a name that this format cannot hold"),
            (self.special, "have", "a pattern, a condition or an answer that this format cannot say"),
        )
        notes = [_sentence(count, verb, what) for count, verb, what in told if count]
        if self.hosts and (self.narrowed or self.dropped):
            notes.append(f"known host names that are listed in their place: {self.hosts}")
        return notes


def _sentence(count: int, verb: str, what: str) -> str:
    """``2 rules also cover …``, ``1 rule also covers …``."""
    if count == 1:
        verb = {"have": "has"}.get(verb) or verb.replace("cover", "covers")
        return f"1 rule {verb} {what.replace('theirs', 'its own')}"
    return f"{count} rules {verb} {what}"
