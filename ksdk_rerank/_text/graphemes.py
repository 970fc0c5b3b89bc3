"""Where text may be cut without splitting a user-perceived character."""

from __future__ import annotations

import unicodedata

__all__ = ["is_inside_a_character", "next_boundary"]

_JOINERS = "\u200c\u200d"
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two make a flag


def is_inside_a_character(text: str, at: int) -> bool:
    """Whether a cut before `text[at]` would split a letter from its marks, or an emoji. Covers part of UAX #29's rules.

    `at` is at least 1 and less than the length of `text`.
    """
    before, after = text[at - 1], text[at]
    if before == "\u200d" or after in _JOINERS or unicodedata.category(after).startswith("M"):
        return True
    if (before, after) == ("\r", "\n") or after in "\uff9e\uff9f":  # halfwidth sound marks
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, flags of regions
        return True
    if "\u1160" <= after <= "\u11ff" or after in "\u0e33\u0eb3":  # later parts of a Hangul syllable, Thai and Lao am
        return True
    letters_before = at - len(text[:at].rstrip(_FLAG_LETTERS)) if after in _FLAG_LETTERS else 0
    return letters_before % 2 == 1


def next_boundary(text: str, at: int) -> int:
    """The first position from `at` on that is not inside a user-perceived character."""
    while 0 < at < len(text) and is_inside_a_character(text, at):
        at += 1
    return at
