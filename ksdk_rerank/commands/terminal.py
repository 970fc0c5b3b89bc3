"""Output of the commands: lines, JSON and tables on standard output, and progress bars on standard error."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ksdk_rerank._text.columns import harmless, one_line, table

if TYPE_CHECKING:
    from ksdk_rerank.evaluation import Progress

__all__ = ["progress", "score_cell", "show", "terminal_width", "write", "write_highlighted", "write_json"]


def write(line: str = "") -> None:
    """Write a line, or several, to standard output. What it quotes cannot control the terminal."""
    sys.stdout.write(harmless(line) + "\n")


def write_highlighted(text: str, part: str) -> None:
    """Write `text`, with `part` in bold if standard output is a terminal and `rich` is installed."""
    if not (sys.stdout.isatty() and importlib.util.find_spec("rich")):
        write(text)
        return
    from rich.console import Console
    from rich.text import Text

    shown, start = Text(harmless(text)), text.index(part)
    shown.stylize("bold", start, start + len(part))
    Console().print(shown)


def write_json(value: object) -> None:
    """Write `value` to standard output as JSON, for scripts."""
    write(json.dumps(value, indent=1))


def score_cell(score: float | None) -> str:
    """Format a score for a table; an unscored document gets "-"."""
    return "-" if score is None else f"{score:.3f}"


def show(heading: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Container[str]) -> None:
    """Write a table to standard output, no wider than the terminal if it is one. See `ksdk_rerank._text.columns`."""
    for line in table(heading, rows, texts=texts, width=terminal_width()):
        write(line)


def terminal_width() -> int | None:
    """The width of the terminal, or None if standard output is something else."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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

        def update(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(escape(one_line(name)), total=of)
            bars.update(tasks[name], completed=done)

        yield update
