"""What commands write: tables that read well in a terminal and stay plain in a pipe, and progress on standard error."""

from __future__ import annotations

import importlib.util
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ksdk_rerank.evaluation.measuring import Progress
from ksdk_rerank.evaluation.tables import aligned

__all__ = ["clean", "number", "progress", "show", "write", "write_json"]

_TEXT_WIDTH = 20  # characters that a column of texts keeps in a narrow terminal


def write(line: str = "") -> None:
    """Write one line to standard output."""
    sys.stdout.write(line + "\n")


def write_json(value: object) -> None:
    """Write `value` for scripts."""
    write(json.dumps(value, indent=1))


def clean(text: str) -> str:
    """`text` on one line, without control characters: a document must not be able to steer the terminal."""
    kept = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    return " ".join(kept.split())


def number(score: float | None) -> str:
    """A score for a table."""
    return "-" if score is None else f"{score:.3f}"


def show(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[int] = (0,),
    dispensable: Sequence[int] = (),
) -> None:
    """Write a table.

    The columns at the places in `left` hold texts, all others numbers. A terminal that is too narrow goes without the
    columns at the places in `dispensable`, the first one first; a pipe gets all.
    """
    rows = [[clean(cell) for cell in row] for row in rows]
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        for line in aligned(heading, rows, left=left):
            write(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    least = [min(width, _TEXT_WIDTH) if place in left else width for place, width in enumerate(widths)]
    shown = list(range(len(heading)))
    for place in dispensable:
        if sum(least[kept] + 3 for kept in shown) > console.width:
            shown.remove(place)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for place in shown:
        if place in left:
            table.add_column(Text(heading[place]), overflow="fold", min_width=least[place])
        else:
            table.add_column(Text(heading[place]), justify="right", no_wrap=True, min_width=least[place])
    for row in rows:
        table.add_row(*(Text(row[place]) for place in shown))  # as Text: square brackets in a title are no markup
    console.print(table)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """Bars on standard error where that is a terminal, one for each thing that is told; None elsewhere."""
    if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def told(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(escape(clean(name)), total=of)
            bars.update(tasks[name], completed=done)

        yield told
