"""Long texts to overlapping windows that begin and end with sentences.

Worked example, at most 10 tokens a window, a new one every 5; sentences A, B, C and D of 4 tokens each:

    the first window is A B (8 tokens; C would make it 12)
    the next begins with the last sentence that is at most 5 tokens in, which is B: B C
    then C D, which reaches the end
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from ksdk_rerank.base import Reranker

__all__ = ["CountsTokens", "Window", "counting_leaf", "estimated_tokens", "windows"]

# Possessive, and from the first of several marks only, so that a long row of them takes no quadratic time.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s+|[。！？｡।॥؟۔።។။]++[」』”’）]*+\s*+|\n\s*+"  # noqa: RUF001 - they are meant
)
_SPACE = re.compile(r"\s+")
_AT_FIRST = 4_096
"""Characters of a document to read at least before looking whether that is enough; then as many again, and so on."""

Span = tuple[int, int]


@runtime_checkable
class CountsTokens(Protocol):
    """What a reranker may offer so that windows are counted in its model's own tokens.

    Both may load the tokenizer at the first call, and are called from any thread.
    """

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each text has, without special ones."""

    def document_room(self, query: str) -> int:
        """How many tokens of a document the model reads beside `query`; 0 or less where the query takes all."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document, or all of it.

    Attributes:
        document: the document's index.
        text: what is read.
        span: where it is in the document, as (start, end) in characters; None where it is all of it.
    """

    document: int
    text: str
    span: Span | None

    def within(self, span: Span | None) -> Span | None:
        """Where a span of this window is in the document."""
        if self.span is None or span is None:
            return span or self.span
        return (self.span[0] + span[0], self.span[0] + span[1])


def counting_leaf(reranker: Reranker) -> CountsTokens | None:
    """The first reranker in `reranker`, itself included, that counts tokens."""
    if isinstance(reranker, CountsTokens):
        return reranker
    for value in reranker.parameters().values():
        for member in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(member, Reranker) and (leaf := counting_leaf(member)):
                return leaf
    return None


def estimated_tokens(texts: Sequence[str]) -> list[int]:
    """About how many tokens texts have, by the size of their characters in UTF-8.

    Tokenizers learn long pieces of the scripts that they see most, and those have small characters. Four ASCII
    characters are one token. So are two characters of two bytes (Cyrillic, Greek, Arabic, accented Latin), and each
    character of three (Chinese, Japanese, Hangul, Thai, Khmer, Devanagari). This is rather too high, so windows fit.
    """
    estimates = []
    for text in texts:
        ascii_only = len(text.encode("ascii", "ignore"))
        # A character of n bytes is (n - 1) / 2 tokens, so ASCII adds nothing here.
        wider = len(text.encode(errors="replace")) - len(text)
        estimates.append(math.ceil(ascii_only / 4 + wider / 2))
    return estimates


def windows(
    documents: Sequence[str],
    limit: int,
    stride: int,
    count: Callable[[Sequence[str]], Sequence[int]],
    *,
    fits: int | None = None,
    most: int | None = None,
) -> tuple[list[Window], int]:
    """The windows of all documents, in order, and how many documents have more than the first `most`.

    A document of at most `fits` tokens (`limit` if None) is its own only window. A document is read only as far as its
    windows need: what is beyond the last one is neither split nor counted.
    """
    fits = limit if fits is None else fits
    most = sys.maxsize if most is None else most
    # A token is at least one byte, so that many need not be counted.
    long = {
        index: _Long(text, limit, stride, fits, most)
        for index, text in enumerate(documents)
        if len(text) > fits or len(text.encode()) > fits
    }
    unfinished = list(long.values())
    characters = max(_AT_FIRST, 8 * max(fits, limit))
    while unfinished:
        _read(unfinished, characters, limit, count)
        unfinished = [document for document in unfinished if not document.finished()]
        characters *= 2
    found: list[Window] = []
    cut = 0
    for index, text in enumerate(documents):
        spans = long[index].spans() if index in long else []
        found += [Window(index, text[start:end], (start, end)) for start, end in spans[:most]]
        found += [] if spans else [Window(index, text, None)]
        cut += len(spans) > most
    return found, cut


class _Long:
    """A document on its way to windows: its first units, which are sentences or parts of them, with their tokens."""

    def __init__(self, text: str, limit: int, stride: int, fits: int, most: int) -> None:
        self.text = text
        self.units: list[Span] = []
        self.tokens: list[int] = []
        self._limit, self._stride, self._fits, self._most = limit, stride, fits, most
        self._read = 0

    def next_sentences(self, characters: int) -> list[Span]:
        """The sentences in about the next `characters`, each with the white space after it.

        One that goes on beyond is left for the next time, unless there is no other: then it is a part of it.
        """
        start, stop = self._read, self._read + characters
        ends = [match.end() for match in _SENTENCE_END.finditer(self.text, start, stop)]
        if stop < len(self.text):
            ends = [end for end in ends if end < stop] or [_between_words(self.text, start, stop)]
        elif not ends or ends[-1] < len(self.text):
            ends.append(len(self.text))
        self._read = ends[-1]
        return list(zip([start, *ends], ends, strict=False))

    def finished(self) -> bool:
        """Whether the rest of the text makes no difference."""
        return self._read == len(self.text) or len(self.spans()) > self._most

    def spans(self) -> list[Span]:
        """Where its windows are, as far as it is read; none if all of it fits into one."""
        if sum(self.tokens) <= self._fits:
            return []
        spans = (_trimmed(self.text, *span) for span in _spans(self.units, self.tokens, self._limit, self._stride))
        return [(start, end) for start, end in spans if start < end]


def _read(
    documents: Sequence[_Long], characters: int, limit: int, count: Callable[[Sequence[str]], Sequence[int]]
) -> None:
    """Add the next units of each document, of at most `limit` tokens; those of all documents are counted together."""
    units = [(document, span) for document in documents for span in document.next_sentences(characters)]
    tokens: dict[tuple[_Long, Span], int] = {}
    while uncounted := [unit for unit in units if unit not in tokens]:
        counts = count([document.text[start:end] for document, (start, end) in uncounted])
        tokens.update(zip(uncounted, counts, strict=True))
        units = [
            (document, piece)
            for document, span in units
            for piece in _pieces(document.text, span, tokens[document, span], limit)
        ]
    for document, span in units:
        document.units.append(span)
        document.tokens.append(tokens[document, span])


def _between_words(text: str, start: int, stop: int) -> int:
    """The last place before `stop` that is between two words, or `stop` if there is none."""
    part = text[start:stop]
    last = "" if part[-1].isspace() else part.rsplit(maxsplit=1)[-1]
    return stop if len(last) == len(part) else stop - len(last)


def _pieces(text: str, unit: Span, tokens: int, limit: int) -> list[Span]:
    """`unit` itself, or about equal pieces of a quarter of a window where it is longer than one, cut at white space."""
    start, end = unit
    parts = min(math.ceil(4 * tokens / limit), end - start) if tokens > limit else 1
    size = (end - start) / parts
    cuts = [start]
    for part in range(1, parts):
        at = round(start + part * size)
        space = _SPACE.search(text, at, min(end, at + int(size / 2)))
        at = space.end() if space else at
        if cuts[-1] < at < end:
            cuts.append(at)
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _spans(units: Sequence[Span], tokens: Sequence[int], limit: int, stride: int) -> list[Span]:
    """Windows over the units of one document, which cover it without gaps."""
    reached = [0, *accumulate(tokens)]  # tokens before each unit
    spans: list[Span] = []
    first = 0
    while first < len(units):
        last = max(first + 1, bisect_right(reached, reached[first] + limit) - 1)
        spans.append((units[first][0], units[last - 1][1]))
        if last == len(units):
            break
        first = max(first + 1, bisect_right(reached, reached[first] + stride) - 1)
    return spans


def _trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
