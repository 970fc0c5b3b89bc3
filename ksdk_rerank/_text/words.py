"""How this library reads text: made encodable, and split into words.

Words follow Unicode Standard Annex #29 (https://www.unicode.org/reports/tr29/, read 2026-11-26): a combining mark
belongs to the letter before it. But: apostrophes, full stops, hyphens and underscores always end a word.

Scripts without spaces between words are split into characters and pairs of neighbours, as Lucene's CJKBigramFilter
does. UAX #29 leaves these scripts to dictionaries, which uniseg does not have. ICU has them, but it is a compiled
dependency, and it may split a word in a query differently from the same word in a document. Pairs are always split
alike. `benchmarks/quality.py lexical --collections xquad-zh` measures them. Hangul has spaces, but attaches particles
to the word: pairs find the bare noun.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import add

__all__ = [
    "Patterns",
    "Spelling",
    "encodable",
    "estimated_tokens",
    "normalised",
    "patterns_for",
    "terms_of",
    "words_of",
]

_APOSTROPHES = re.compile("[\u00b4\u02bc]")  # NFKC turns the first into a space and an accent; the second is a letter
# Soft hyphens, joiners, direction marks, variation selectors: they change how a word looks, not which word it is.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)
_UNSPACED = (  # UAX #14's class SA, and scripts like it: https://www.unicode.org/reports/tr14/#SA, read 2026-11-26
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Myanmar
    range(0x1780, 0x1800),  # Khmer
    range(0x1950, 0x19E0),  # Tai Le, New Tai Lue
    range(0x1A20, 0x1AB0),  # Tai Tham
    range(0x1B00, 0x1B80),  # Balinese
    range(0xA980, 0xAA00),  # Javanese, Myanmar
    range(0xAA60, 0xAAE0),  # Myanmar, Tai Viet
    range(0x11700, 0x11750),  # Ahom
)
_IDEOGRAPHS = range(0x3400, 0xA000)
_HANGUL = range(0xAC00, 0xD7A4)
_FURTHER_IDEOGRAPHS = "\U00020000-\U0003ffff"
# Ranges that hold marks and letters of scripts without spaces. Text outside them, such as English, needs no large
# character classes.
_MARKED = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u1cff\u1dc0-\u1dff\u20d0-\u20ff\u2cef-\ud7ff\uf900-\uffff"
    "\U00010000-\U0001efff\U00020000-\U0003ffff]"
)
_ASTRAL = re.compile("[\U00010000-\U0001efff\U00020000-\U0003ffff]")


def words_of(text: str) -> list[str]:
    """The words of `text` in order, case-folded. In scripts without spaces, each character is a word.

    Compatible Unicode spellings give the same words: composed and decomposed accents, full and half width, with and
    without soft hyphens or joiners. Accents and vowel signs stay in their word. Superscripts and fractions are separate
    words, so `10²` is not `102`.
    """
    normal = normalised(text)
    return patterns_for(normal).word.findall(normal)


def terms_of(text: str, *, inner: bool = True) -> list[str]:
    """The search terms of `text`: words or, in scripts without spaces, characters and pairs of neighbours.

    The terms of `退款` are `退`, `款` and `退款`. With `inner=False`, a character is a term only if it has no
    neighbour: for a query that should not find every text that shares a character with it.
    """
    normal = normalised(text)
    cut = patterns_for(normal)
    if not cut.character.search(normal):
        return cut.word.findall(normal)
    terms = []
    for run in cut.run.findall(normal):
        characters = cut.character.findall(run)
        pairs = list(map(add, characters, characters[1:]))
        if inner or not pairs:
            terms += characters or [run]
        terms += pairs
    return terms


def normalised(text: str, spelling: Spelling | None = None) -> str:
    """`text` in Unicode's form NFKC, case-folded, without invisible characters, and with superscripts set apart."""
    if text.isascii():
        return text.lower()
    text = _INVISIBLE.sub("", _APOSTROPHES.sub("'", text))
    if _MARKED.search(text):
        text = _patterns(astral=_ASTRAL.search(text) is not None).stacked.sub(r"\1", text)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text.translate(_SET_APART if spelling is None else spelling))
    return unicodedata.normalize("NFKC", text.casefold())


class Spelling(dict[int, str]):
    """A `str.translate` table that inserts text before characters that NFKC would merge with their neighbours.

    `before` maps the tag of a character's decomposition, such as `"<super>"`, to that text.
    """

    def __init__(self, before: Mapping[str, str]) -> None:
        super().__init__()
        self._before = before

    def __missing__(self, code: int) -> str:
        character = chr(code)
        tag = unicodedata.decomposition(character).partition(" ")[0]
        self[code] = self._before.get(tag, "") + character
        return self[code]


_SET_APART = Spelling({"<super>": " ", "<fraction>": " ", "<circle>": " "})


@dataclass(frozen=True, slots=True)
class Patterns:
    """Regular expressions for normalised text.

    Attributes:
        word: a word, or a character of a script without spaces, with its marks.
        run: a word, or neighbouring characters of scripts without spaces.
        character: one of those characters.
        stacked: more marks than any language puts on one letter; group 1 holds the first 30. Only those are kept,
            because normalising sorts marks in quadratic time. 30 is the limit of Unicode's stream-safe text format
            (https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format, read 2026-11-26).
    """

    word: re.Pattern[str]
    run: re.Pattern[str]
    character: re.Pattern[str]
    stacked: re.Pattern[str]


def patterns_for(normal: str) -> Patterns:
    """The patterns for splitting `normal`, which must be normalised."""
    if normal.isascii():
        return _ASCII
    if not _MARKED.search(normal):
        return _PLAIN
    return _patterns(astral=_ASTRAL.search(normal) is not None)


_NEVER = re.compile("(?!)")
_ASCII = Patterns(re.compile("[a-z0-9]+"), re.compile("[a-z0-9]+"), _NEVER, _NEVER)
_PLAIN = Patterns(re.compile(r"[^\W_]+"), re.compile(r"[^\W_]+"), _NEVER, _NEVER)


@cache
def _patterns(*, astral: bool) -> Patterns:
    """Patterns built from Python's Unicode data, on first use: that takes some time."""
    marks, unspaced = [], [*_IDEOGRAPHS, *_HANGUL]
    for code in chain(range(0x300, 0x3400), range(0xA000, 0xAC00), range(0xF900, 0x1F000 if astral else 0x10000)):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Mn", "Mc"):
            marks.append(code)
        elif category != "Nd" and character.isalnum() and _is_unspaced(character):
            unspaced.append(code)
    mark, bare = _class_of(marks), _class_of(unspaced)
    if astral:
        bare = _FURTHER_IDEOGRAPHS + bare
    # Each class excludes the next one, and the quantifiers are possessive: no text makes these backtrack.
    one = f"[{bare}][{mark}]*+"
    spaced = f"[^\\W_{bare}]++(?:[{mark}]++[^\\W_{bare}]*+)*+"
    sound_marks = "\uff9e\uff9f"  # letters that NFKC turns into marks
    stacked = f"([{mark}{sound_marks}]{{30}})[{mark}{sound_marks}]++"
    return Patterns(*map(re.compile, (f"{one}|{spaced}", f"(?:{one})++|{spaced}", one, stacked)))


def _is_unspaced(letter: str) -> bool:
    # After NFKC, the wide letters are the East Asian ones: https://www.unicode.org/reports/tr11/, read 2026-11-26
    return unicodedata.east_asian_width(letter) == "W" or any(ord(letter) in block for block in _UNSPACED)


def _class_of(codes: Iterable[int]) -> str:
    """The inside of a character class. Neighbours form ranges, because each range beyond U+FFFF costs a comparison."""
    starts_and_ends: list[list[int]] = []
    for code in sorted(codes):
        if starts_and_ends and starts_and_ends[-1][1] == code - 1:
            starts_and_ends[-1][1] = code
        else:
            starts_and_ends.append([code, code])
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in starts_and_ends)


def encodable(text: str) -> str:
    """`text` with halves of surrogate pairs joined or replaced: no tokenizer and no JSON body can carry them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def estimated_tokens(text: str) -> int:
    """About how many tokens `text` has, judged by its size in UTF-8.

    Tokenizers learn long pieces of the scripts that they see most, and UTF-8 encodes those scripts in few bytes. Four
    ASCII characters count as one token. So do two characters of two bytes (Cyrillic, Greek, Arabic, accented Latin),
    and each character of three (Chinese, Japanese, Hangul, Thai, Khmer, Devanagari). The estimate tends to be high.
    """
    if text.isascii():
        return math.ceil(len(text) / 4)
    ascii_only = len(text.encode("ascii", "ignore"))
    wider = len(text.encode(errors="replace")) - len(text)  # n bytes count as (n - 1) / 2 tokens: none for ASCII
    return math.ceil(ascii_only / 4 + wider / 2)
