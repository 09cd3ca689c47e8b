"""Tables for people: plain columns, as wide as they need to be when the output is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

#: What moves the cursor has no place in a table.
_MOVES = dict.fromkeys(map(ord, "\a\b\v\f\r"))


def show(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> None:
    """Print rows under a heading; ``right`` names the columns of numbers. Cells are shown as they are."""
    from rich.cells import cell_len  # which a build that says nothing needs not

    right = set(right)
    cells = [["" if cell is None else str(cell).translate(_MOVES) for cell in row] for row in rows]
    aligned = [column in right for column in columns]
    if sys.stdout.isatty():
        _fold(columns, cells, aligned)
        return
    lines = [list(columns), *cells] if any(columns) else cells
    widths = [max(map(cell_len, column), default=0) for column in zip(*lines, strict=True)]
    for line in lines:
        spaces = [" " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        parts = (
            space + cell if to_right else cell + space
            for cell, space, to_right in zip(line, spaces, aligned, strict=True)
        )
        print("  ".join(parts).rstrip())


def _fold(columns: Sequence[str], cells: Iterable[Sequence[str]], aligned: Iterable[bool]) -> None:
    """The same on a terminal, no wider than that."""
    from rich.console import Console  # which takes a while, and cron has no terminal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column, to_right in zip(columns, aligned, strict=True):
        table.add_column(column, justify="right" if to_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))
