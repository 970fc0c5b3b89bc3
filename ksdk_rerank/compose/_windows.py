"""Splits long texts into overlapping windows that begin and end with sentences.

Worked example: windows of at most 10 tokens, stride 5, sentences A, B, C and D of 4 tokens each:

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

from ksdk_rerank._text.graphemes import next_boundary
from ksdk_rerank.base import Reranker, members_of
from ksdk_rerank.compose.fallback import Fallback

__all__ = ["CountsTokens", "Window", "counting_leaf", "windows"]

# Possessive, and starting only at the first of several marks: a long row of them must not take quadratic time.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s+|[。！？｡।॥؟۔።។။]++[」』”’）]*+\s*+|\n\s*+"  # noqa: RUF001 - they are meant
)
_SPACE = re.compile(r"\s+")
_AT_FIRST = 4_096
"""Characters of a document to read in the first round, at least. Each further round reads twice as many."""

Span = tuple[int, int]


@runtime_checkable
class CountsTokens(Protocol):
    """Optional methods of a reranker, so that windows are measured in its model's own tokens.

    Both may load the tokenizer on the first call, and may be called from any thread.
    """

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens in each text, without special tokens."""

    def document_room(self, query: str) -> int:
        """How many tokens of a document the model reads beside `query`; 0 or less if the query takes all."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document, or all of it.

    Attributes:
        document: the document's index.
        text: the text to read.
        span: its place in the document, as (start, end) in characters; None if it is the whole document.
    """

    document: int
    text: str
    span: Span | None

    def within(self, spans: Sequence[Span]) -> list[Span]:
        """Convert spans of this window to spans of the document. No spans stand for the whole window."""
        if self.span is None:
            return list(spans)
        first = self.span[0]
        return [(first + start, first + end) for start, end in spans] or [self.span]


def counting_leaf(reranker: Reranker) -> CountsTokens | None:
    """The first reranker in `reranker`, itself included, that counts tokens; None if there is none.

    Of a `Fallback`, only the preferred reranker counts: to load another, before it is needed, would cost its memory.
    """
    if isinstance(reranker, CountsTokens):
        return reranker
    members = members_of(reranker)[: 1 if isinstance(reranker, Fallback) else None]
    return next(filter(None, map(counting_leaf, members)), None)


def windows(
    documents: Sequence[str],
    limit: int,
    stride: int,
    count: Callable[[Sequence[str]], Sequence[int]],
    *,
    fits: int | None = None,
    most: int | None = None,
) -> tuple[list[Window], int]:
    """Split `documents` into windows, in order, and count the documents with more than `most` windows.

    Only the first `most` windows of a document are returned. A document of at most `fits` tokens (`limit` if None) is a
    single window. A document is read only as far as its windows need: the text after the last one is neither split nor
    counted.
    """
    fits = limit if fits is None else fits
    most = sys.maxsize if most is None else most
    # A token is at least one byte, so a text of at most `fits` bytes fits without counting.
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
    """A document being split: the units read so far (sentences, or parts of them) and their token counts."""

    def __init__(self, text: str, limit: int, stride: int, fits: int, most: int) -> None:
        self.text = text
        self.units: list[Span] = []
        self.tokens: list[int] = []
        self._limit, self._stride, self._fits, self._most = limit, stride, fits, most
        self._read = 0

    def next_sentences(self, characters: int) -> list[Span]:
        """The sentences in about the next `characters`, each with the white space after it.

        A sentence that continues beyond them is left for the next round. If it is the only one, its first part is
        returned.
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
        """Whether reading on would make no difference."""
        return self._read == len(self.text) or len(self.spans()) > self._most

    def spans(self) -> list[Span]:
        """The spans of the windows in the text read so far; none if all of it fits into one."""
        if sum(self.tokens) <= self._fits:
            return []
        spans = (_trimmed(self.text, *span) for span in _spans(self.units, self.tokens, self._limit, self._stride))
        return [(start, end) for start, end in spans if start < end]


def _read(
    documents: Sequence[_Long], characters: int, limit: int, count: Callable[[Sequence[str]], Sequence[int]]
) -> None:
    """Add the next units to each document, at most `limit` tokens each. All documents' units are counted together."""
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
    """The last position before `stop` between two words, or `stop` if there is none."""
    part = text[start:stop]
    last = "" if part[-1].isspace() else part.rsplit(maxsplit=1)[-1]
    return next_boundary(text, stop if len(last) == len(part) else stop - len(last))


def _pieces(text: str, unit: Span, tokens: int, limit: int) -> list[Span]:
    """Cut a unit longer than a window into roughly equal quarter windows, at white space. Keep a shorter one whole."""
    start, end = unit
    parts = min(math.ceil(4 * tokens / limit), end - start) if tokens > limit else 1
    size = (end - start) / parts
    cuts = [start]
    for part in range(1, parts):
        at = round(start + part * size)
        space = _SPACE.search(text, at, min(end, at + int(size / 2)))
        at = next_boundary(text, space.end() if space else at)
        if cuts[-1] < at < end:
            cuts.append(at)
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _spans(units: Sequence[Span], tokens: Sequence[int], limit: int, stride: int) -> list[Span]:
    """The windows over one document's units, covering it without gaps."""
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
    """The span without leading and trailing white space."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
