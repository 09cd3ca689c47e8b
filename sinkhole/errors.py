"""Every error the package raises on purpose.

::

    SinkholeError                 anything a person can act on; the CLI prints it without a traceback, exit 1
    ├── ConfigError               configuration or catalogue: every problem at once, each with file:line:column and path
    ├── FeedError                 a feed could not be fetched or is not a list; the last good copy stays
    ├── FormatError               an unknown list format, or text that is none
    ├── GuardError                a guard refused the result; the previous bundle stays, exit 4
    ├── BundleError               a bundle that is missing, torn or of another version
    ├── JournalError              a journal that is not what was written
    └── ListenError               an address that cannot be bound

Anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One fault in a file: where (``line`` and ``column`` from 1, 0: unknown), at which path, and what is allowed."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SinkholeError(Exception):
    """Base of the errors above; ``str()`` is the message for people."""


class ConfigError(SinkholeError):
    """One or more :class:`Problem`, in order of file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        super().__init__("\n".join(map(str, self.problems)))


class FeedError(SinkholeError):
    """A feed that cannot be used now: transport failure, too large, or not a list.

    ``wait`` are the seconds after which its server wants to be asked again, if it said so.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class FormatError(SinkholeError):
    """An unknown format name, or a text of no known format."""


class GuardError(SinkholeError):
    """A result that a guard refused."""


class BundleError(SinkholeError):
    """A bundle that cannot be opened."""


class JournalError(SinkholeError):
    """A journal with a line that is not what was written."""


class ListenError(SinkholeError):
    """An address that cannot be listened on, with what to do about it."""
