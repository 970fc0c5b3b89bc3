"""Output of the commands: tables for terminals and pipes, and progress bars on standard error."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ksdk_rerank.evaluation.tables import aligned, clean

if TYPE_CHECKING:
    from ksdk_rerank.evaluation import Progress

__all__ = ["number", "progress", "show", "write", "write_json"]

_TEXT_WIDTH = 20  # minimum width of a text column, in characters, in a narrow terminal


def write(line: str = "") -> None:
    """Write one line to standard output."""
    sys.stdout.write(line + "\n")


def write_json(value: object) -> None:
    """Write `value` to standard output as JSON, for scripts."""
    write(json.dumps(value, indent=1))


def number(score: float | None) -> str:
    """Format a score for a table; an unscored document gets "-"."""
    return "-" if score is None else f"{score:.3f}"


def show(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: Container[str],
    dispensable: Sequence[str] = (),
) -> None:
    """Write a table to standard output.

    Columns headed by one of `texts` hold text, all others numbers. If the terminal is too narrow, the columns headed by
    `dispensable` are dropped, in that order, until the table fits. Pipes, and terminals without `rich`, get all columns
    as plain text.
    """
    rows = [[clean(cell) for cell in row] for row in rows]
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        for line in aligned(heading, rows, texts=texts):
            write(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = {head: cells for head, *cells in zip(heading, *rows, strict=True)}
    widths = {}
    for head, cells in columns.items():
        width = max(map(len, [head, *cells]))
        widths[head] = min(width, _TEXT_WIDTH) if head in texts else width
    for head in dispensable:
        if sum(width + 3 for width in widths.values()) > console.width:
            del widths[head]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for head, width in widths.items():
        if head in texts:
            table.add_column(Text(head), overflow="fold", min_width=width)
        else:
            table.add_column(Text(head), justify="right", no_wrap=True, min_width=width)
    for row in zip(*(columns[head] for head in widths), strict=True):
        table.add_row(*map(Text, row))  # Text keeps square brackets in a title literal
    console.print(table)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """Yield a callback that draws one progress bar per name on standard error.

    Yields None if standard error is not a terminal or `rich` is not installed.
    """
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
