"""Shortens text to one line."""

from __future__ import annotations

from ksdk_rerank._text.graphemes import is_inside_a_character

__all__ = ["shortened"]


def shortened(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, ending in `...` if it was cut.

    It is cut after a word or, if the second half of the line has no space, between two user-perceived characters.
    """
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    end = width - len(" ...")
    space = line.rfind(" ", end // 2, end + 1)
    if space > 0:
        return line[:space] + " ..."
    whole = next((at for at in range(end, end // 2, -1) if not is_inside_a_character(line, at)), end)
    return line[:whole] + "..."
