"""Long texts to overlapping windows that begin and end with sentences.

Worked example, at most 10 tokens a window, a new one every 5; sentences A, B, C and D of 4 tokens each:

    the first window is A B (8 tokens; C would make it 12)
    the next begins with the last sentence that is at most 5 tokens in, which is B: B C
    then C D, which reaches the end
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from ksdk_rerank.base import Reranker

__all__ = ["CountsTokens", "Window", "counting_leaf", "estimated_tokens", "windows"]

_IDEOGRAPH = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
# Possessive, and from the first of several marks only, so that a long row of them takes no quadratic time.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s+|[。！？｡]+[」』”’）]*\s*|\n\s*"  # noqa: RUF001 - they are meant
)
_SPACE = re.compile(r"\s+")

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
    """About how many tokens texts have: one for each Chinese or Japanese character, one for every four others."""
    ideographs = [len(_IDEOGRAPH.findall(text)) for text in texts]
    return [some + math.ceil((len(text) - some) / 4) for text, some in zip(texts, ideographs, strict=True)]


def windows(
    documents: Sequence[str],
    limit: int,
    stride: int,
    count: Callable[[Sequence[str]], Sequence[int]],
    *,
    fits: int | None = None,
) -> list[Window]:
    """The windows of all documents, in order; a document of at most `fits` tokens is its own only one.

    `fits` is `limit` where it is None.
    """
    fits = limit if fits is None else fits
    # A token is at least one byte, so that many need not be counted.
    long = [index for index, text in enumerate(documents) if len(text.encode()) > fits]
    units = [(index, *span) for index in long for span in _sentences(documents[index])]
    tokens: dict[tuple[int, int, int], int] = {}
    while uncounted := [unit for unit in units if unit not in tokens]:
        tokens.update(zip(uncounted, count([documents[i][a:b] for i, a, b in uncounted]), strict=True))
        units = [piece for unit in units for piece in _pieces(documents[unit[0]], unit, tokens[unit], limit)]
    of: dict[int, list[tuple[int, int, int]]] = {index: [] for index in long}
    for unit in units:
        of[unit[0]].append(unit)
    found = []
    for index, text in enumerate(documents):
        own = of.get(index, [])
        counts = [tokens[unit] for unit in own]
        spans = _spans([(start, end) for _, start, end in own], counts, limit, stride) if sum(counts) > fits else []
        if len(spans) < 2:
            found.append(Window(index, text, None))
            continue
        trimmed = [_trimmed(text, *span) for span in spans]
        found += [Window(index, text[start:end], (start, end)) for start, end in trimmed if start < end]
    return found


def _sentences(text: str) -> list[Span]:
    """The sentences of `text`, each with the white space after it."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return list(zip([0, *ends], ends, strict=False))


def _pieces(text: str, unit: tuple[int, int, int], tokens: int, limit: int) -> list[tuple[int, int, int]]:
    """`unit` itself, or about equal pieces of a quarter of a window where it is longer than one, cut at white space."""
    index, start, end = unit
    parts = min(math.ceil(4 * tokens / limit), end - start) if tokens > limit else 1
    size = (end - start) / parts
    cuts = [start]
    for part in range(1, parts):
        at = round(start + part * size)
        space = _SPACE.search(text, at, min(end, at + int(size / 2)))
        at = space.end() if space else at
        if cuts[-1] < at < end:
            cuts.append(at)
    return [(index, a, b) for a, b in zip(cuts, [*cuts[1:], end], strict=True)]


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
