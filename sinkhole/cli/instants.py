"""Instants as people give them on the command line."""

from __future__ import annotations

from datetime import datetime

import typer


def parse(text: str, option: str) -> datetime:
    """An instant with a UTC offset; raises typer.BadParameter for ``option``."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2025-02-15T18:00+09:00", param_hint=option) from None
    if instant.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no UTC offset; write {text}+09:00, or {text}Z", param_hint=option)
    return instant
