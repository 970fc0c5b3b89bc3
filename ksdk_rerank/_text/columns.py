"""Tables of text for a fixed-width font, in a terminal or a file."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Container, Sequence
from itertools import zip_longest

__all__ = ["harmless", "one_line", "table"]

_GAP = "  "
_NARROWEST = 20  # minimum width to which a text column shrinks
_FILLER = "\0"  # follows a character that takes two columns, so that `len` is the width on screen


def table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: Container[str],
    width: int | None = None,
    dispensable: Sequence[str] = (),
) -> list[str]:
    """The lines of a table, with a rule below the heading.

    Columns headed by one of `texts` hold text and are left-aligned; all others hold numbers. If the table is wider than
    `width`, the columns headed by `dispensable` are dropped, in that order, until it fits with narrow text columns.
    Texts that are still too long continue on further lines.
    """
    columns = {head: [_measurable(cell) for cell in cells] for head, *cells in zip(heading, *rows, strict=True)}
    whole = {head: max(map(len, (head, *cells))) for head, cells in columns.items()}
    widths = whole
    if width is not None:
        widths = {head: min(most, _NARROWEST) if head in texts else most for head, most in whole.items()}
        for head in dispensable:
            if _total(widths) > width:
                del widths[head]
        while _total(widths) < width and (cut := [head for head in widths if widths[head] < whole[head]]):
            widths[min(cut, key=widths.__getitem__)] += 1
    lines = [list(widths), ["-" * characters for characters in widths.values()]]
    for row in zip(*(columns[head] for head in widths), strict=True):
        folded = (
            textwrap.wrap(cell, most, break_on_hyphens=False) or [""]
            for cell, most in zip(row, widths.values(), strict=True)
        )
        lines += map(list, zip_longest(*folded, fillvalue=""))
    are_texts = [head in texts for head in widths]
    aligned = (_GAP.join(map(_aligned, line, widths.values(), are_texts)) for line in lines)
    return [line.rstrip().replace(_FILLER, "") for line in aligned]


def _aligned(cell: str, width: int, is_text: bool) -> str:
    return cell.ljust(width) if is_text else cell.rjust(width)


def one_line(text: str) -> str:
    """`text` on one line, without control characters, so that outside text cannot control the terminal."""
    return " ".join(harmless(text).split())


def harmless(text: str) -> str:
    """`text` with its lines and tabs, and a space for every other control character."""
    return "".join(each if each in "\n\t" or unicodedata.category(each)[0] != "C" else " " for each in text)


def _measurable(text: str) -> str:
    wide = unicodedata.east_asian_width
    return "".join(each + _FILLER if wide(each) in "WF" else each for each in one_line(text))


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)
