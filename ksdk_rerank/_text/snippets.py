"""Shortens text to one line."""

from __future__ import annotations

import unicodedata

__all__ = ["shortened"]

_JOINER = "\u200d"
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two make a flag


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
    whole = next((at for at in range(end, end // 2, -1) if not _is_inside_a_character(line, at)), end)
    return line[:whole] + "..."


def _is_inside_a_character(line: str, at: int) -> bool:
    """Whether a cut at `at` would split a letter from its marks, or an emoji. Covers part of UAX #29's rules."""
    before, after = line[at - 1], line[at]
    if before == _JOINER or after == _JOINER or unicodedata.category(after).startswith("M"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, flags of regions
        return True
    if "\u1160" <= after <= "\u11ff" or after in "\u0e33\u0eb3":  # later parts of a Hangul syllable, Thai and Lao am
        return True
    letters_before = at - len(line[:at].rstrip(_FLAG_LETTERS))
    return after in _FLAG_LETTERS and letters_before % 2 == 1
