"""Splits texts into shingles: sequences of three words, and of the marks between them that carry meaning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from functools import cache

from ksdk_rerank._text.words import Spelling, normalised, patterns_for

__all__ = ["normal_text", "shingles_of", "words_and_marks"]

_LENGTH = 3

_QUOTES = "'\"`\u2018-\u201f\u2039\u203a\u00ab\u00bb\u300c-\u300f\u301d-\u301f\u00a1\u00bf"  # also inverted ! and ?
_DASHES = "\\-\u05be\u2010-\u2015\u2043\u2212\u2e3a\u2e3b\u301c"
_STOPS = ".,;:!?\u3001\u3002\u060c\u061b\u061f\u06d4\u0964\u0965"
_NUMBER = re.compile(r"(?<!\s)\s*+\d")  # matched from the end of a dash
_BLANK = re.compile(f"[\\s{_QUOTES}]")
# Characters that NFKC would merge with their neighbours: 10² would become 102, and log₂8 log28.
_SPELLING = Spelling({"<super>": "^", "<sub>": "_", "<fraction>": " ", "<circle>": " "})


def shingles_of(document: str) -> frozenset[Hashable]:
    """The sequences of three words that near-duplicates are compared by. A shorter text is a single one."""
    words = words_and_marks(document)
    if len(words) < _LENGTH:
        return frozenset([tuple(words) or normal_text(document)])
    return frozenset(tuple(words[start : start + _LENGTH]) for start in range(len(words) - _LENGTH + 1))


def normal_text(document: str) -> str:
    """The text with case, white space and Unicode encoding normalised."""
    return " ".join(_spelled(document).split())


def words_and_marks(document: str) -> list[str]:
    """The words of a text and the marks between them that carry meaning, in order.

    Every mark counts, except those that change how a text looks but not what it means:

    - Quotation marks, straight or curly.
    - The kind of a dash: all dashes count as hyphens. A dash between spaces or between two letters is ignored
      ("well-known", "a - b" and "a b" have none; "-5", "10-20", "10 - 20", "A-" and "--force" keep theirs).
    - Full stops, commas, colons, `!`, `?` and the like, unless what follows directly makes them part of it. "3.14",
      "10:30", "node.js", ".NET", "!=", "!ready" keep theirs; "Yes, it is!" has none.
    """
    text = _spelled(document)
    cut = patterns_for(text)
    words: list[str] = []
    for found in _pattern(cut.word.pattern).finditer(text):
        before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        if found.lastgroup == "dash":
            between_numbers = words and words[-1][-1].isdigit() and _NUMBER.match(text, found.end())
            if between_numbers or _dash_counts(before, after):
                words.append("-" * len(found[0]))
        elif found.lastgroup != "stop" or _stop_counts(found[0], before, after, cut.character):
            words.append(found[0])
    return words


def _spelled(document: str) -> str:
    """The text normalised for case and encoding; superscripts and the like are marked as such."""
    return normalised(document, _SPELLING)


@cache
def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(f"{word}|(?P<dash>[{_DASHES}]++)|(?P<stop>[{_STOPS}]++)|[^\\s{_QUOTES}]")


def _dash_counts(before: str, after: str) -> bool:
    if _is_blank(before) and _is_blank(after):
        return False
    return not (_is_letter(before) and _is_letter(after))


def _stop_counts(stop: str, before: str, after: str, unspaced: re.Pattern[str]) -> bool:
    if before.isdigit() and after.isdigit():
        return True
    if set(stop) <= {",", ";"} or unspaced.match(before) or unspaced.match(after):
        return False  # commas may lack a space, and everything does in scripts without spaces
    if before.isdigit() or _is_letter(before):
        return after.isdigit() or _is_letter(after) or unicodedata.category(after or " ") == "Sm"
    return not _is_blank(after) and unicodedata.category(after) not in ("Pe", "Po", "Pd")


def _is_blank(character: str) -> bool:
    return not character or _BLANK.match(character) is not None


def _is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LM"
