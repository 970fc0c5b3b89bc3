"""`LongDocuments`: ranks documents longer than the model's window by reading them in windows.

Follows Dai and Callan, "Deeper Text Understanding for IR with Contextual Neural Language Modeling" (SIGIR 2019,
https://doi.org/10.1145/3331184.3331303): a document's score is that of its best window (MaxP), and each window begins
half a window after the last. But: windows begin and end with sentences, and only documents that do not fit are split.
The mean of the best three follows Yilmaz et al., "Cross-Domain Modeling of Sentence-Level Evidence for Document
Retrieval" (EMNLP 2019, https://doi.org/10.18653/v1/D19-1352), without weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ksdk_rerank._arguments import integer, integer_or_none
from ksdk_rerank._text.words import estimated_tokens
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._windows import CountsTokens, Window, counting_leaf, windows
from ksdk_rerank.compose._wrapper import Wrapper
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import RerankError
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["CountsTokens", "LongDocuments"]

_WINDOW = 128
"""Default window in tokens, if the model's tokens can be counted. Documents too long for the model had an MRR@10 of
.965 in windows of 128, .962 of 256 and .907 of 512, each with half of it as the stride; without overlap .956, .905
and .875. Cut off at the end of the model's window, it was .655
(`benchmarks/long_documents.py --second embedded --queries 60`, 2026-11-28)."""

_ESTIMATED = 384
"""Default window in tokens, if tokens are estimated: three quarters of 512, to leave room for a query and a poor
estimate. Hosted models may count, and bill, by the text, so these windows are long."""

_SHORTEST = 16
"""Smallest window in tokens, even if a query leaves less room. The model then reports the overflow, or refuses it."""

_MOST = 128
"""Default maximum of windows per document. At the default window and stride these cover 8,192 tokens and half a window,
as much as rerankers with a long window read, such as BAAI/bge-reranker-v2-m3
(https://huggingface.co/BAAI/bge-reranker-v2-m3, read 2026-11-26)."""


class LongDocuments(Wrapper):
    """Splits documents that are too long for the model into overlapping windows, and scores these.

    Args:
        reranker: the reranker that reads the windows, or its name. The windows of all documents go to it in one call.
        window: maximum tokens per window, at least 1, and never more than what the model can read besides the query.
            None means 128 if the model can report how much that is; then only longer documents are split. If it cannot,
            None means 384.
        stride: tokens from the beginning of one window to the beginning of the next, at most `window`. A smaller stride
            means more overlap. None is half the window, as in the paper.
        pool: `"max"` takes the score of the best window; `"mean"` takes the mean `score` of the best `k`.
        k: how many windows the mean covers; all, if a document has fewer.
        max_windows: maximum number of windows read per document, from its beginning, so that one huge document cannot
            take minutes or use up a hosted model's budget. None reads all. Documents with more windows are counted in
            `truncated`.

    Tokens are the model's own if a leaf in `reranker` offers `CountsTokens`, as a local cross-encoder does. In a
    `Fallback`, only the first reranker is asked, so that the others are not loaded before they are needed. Otherwise,
    or if its model cannot be loaded, tokens are estimated: one per four ASCII characters, one per two characters of
    scripts such as Cyrillic, one per character of scripts such as Chinese, Korean and Thai. Windows begin and end with
    sentences: at `.`, `!`, `?` before a space, at their equivalents in other scripts, and at line ends. A sentence
    longer than a window is cut between words.

    `Ranked.spans` locates the windows that count, best first: the best one, or those in the mean. A document that fits
    is passed on unchanged and has none; if all fit, the call is passed on unchanged. With `"max"` both scores are the
    best window's. With `"mean"` both are the mean, in [0, 1], whatever the scale of the model's raw scores. Windows
    without a score count only if the document has no others. A window left out as a duplicate counts as the window it
    repeats. A document is left out if all its windows are.

    `truncated` counts documents with more than `max_windows` windows, plus windows that the model still cut, up to the
    number of documents. Everything else is the inner ranking's. Asynchronous calls split and count on a separate
    thread.
    """

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        window: int | None = None,
        stride: int | None = None,
        pool: Literal["max", "mean"] = "max",
        k: int = 3,
        max_windows: int | None = _MOST,
    ) -> None:
        self.reranker = load_reranker(reranker)
        self.window = integer_or_none("window", window, unit="token", advice="use None for the default")
        self.stride = integer_or_none("stride", stride, advice="use None for half of window")
        self.pool = pool
        self.k = integer("k", k, advice="it is the number of windows in the mean")
        self.max_windows = integer_or_none("max_windows", max_windows, advice="use None to read all windows")
        if self.stride is not None and self.stride > (self.window or self.stride):
            raise ValueError(f"stride must be at most window ({self.window} tokens), got {stride}")
        if pool not in ("max", "mean"):
            raise ValueError(f"pool must be 'max' or 'mean', got {pool!r}")
        self._worker = Worker("ksdk-rerank-long-documents")

    @property
    def name(self) -> str:
        return f"long-documents({self.reranker.name})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        split, cut = self._split(query, documents)
        return self._pooled(documents, split, cut, self.reranker.rank(query, [window.text for window in split]))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        split, cut = await self._worker.arun(lambda: self._split(query, documents))
        return self._pooled(documents, split, cut, await self.reranker.arank(query, [window.text for window in split]))

    def _split(self, query: str, documents: Sequence[str]) -> tuple[list[Window], int]:
        """The windows to read, and the number of documents that have more."""
        leaf = counting_leaf(self.reranker)
        try:
            return self._windows(query, documents, leaf)
        except RerankError:  # the model cannot be loaded; whether the ranking fails with it is for a `Fallback` to say
            if isinstance(self.reranker, CountsTokens):
                raise
        return self._windows(query, documents, None)

    def _windows(self, query: str, documents: Sequence[str], leaf: CountsTokens | None) -> tuple[list[Window], int]:
        fits = self.window or _ESTIMATED
        if leaf is not None:
            room = leaf.document_room(query)
            fits = max(_SHORTEST, min(self.window or room, room))
        limit = min(_WINDOW, fits) if leaf is not None and self.window is None else fits
        stride = min(self.stride or max(1, limit // 2), limit)
        count = leaf.count_tokens if leaf else _estimates
        return windows(documents, limit, stride, count, fits=fits, most=self.max_windows)

    def _pooled(self, documents: Sequence[str], split: Sequence[Window], cut: int, inner: Ranking) -> Ranking:
        read = {ranked.index: (place, ranked) for place, ranked in enumerate(inner)}
        for copy, kept in inner.duplicates.items():
            read[copy] = read[kept]
        own: dict[int, list[int]] = {}
        for number, window in enumerate(split):
            own.setdefault(window.document, []).append(number)
        results, duplicates = [], {}
        for index, numbers in own.items():
            if all(number in inner.duplicates for number in numbers):
                duplicates[index] = split[inner.duplicates[numbers[0]]].document
                continue
            best = min(numbers, key=lambda number: (read[number][0], number))
            place, ranked = read[best]
            score, raw_score, earned = ranked.score, ranked.raw_score, [best]
            if self.pool == "mean" and score is not None:
                scored = [number for number in numbers if read[number][1].score is not None]
                earned = sorted(scored, key=lambda number: (read[number][0], number))[: self.k]
                score = raw_score = math.fsum(read[number][1].score or 0.0 for number in earned) / len(earned)
            spans = [
                span
                for number in earned
                for span in split[number].within(() if number in inner.duplicates else read[number][1].spans)
            ]
            results.append((place, Ranked(index, documents[index], score, raw_score, tuple(dict.fromkeys(spans)))))
        return Ranking(
            tuple(ranked for _, ranked in sorted(results, key=_order)),
            reranked_by=f"long-documents({inner.reranked_by})",
            usage=inner.usage,
            truncated=min(inner.truncated + cut, len(documents)),
            failures=inner.failures,
            duplicates=duplicates,
            query_truncated=inner.query_truncated,
        )

    def _release(self) -> None:
        self._worker.close()


def _estimates(texts: Sequence[str]) -> list[int]:
    return [estimated_tokens(text) for text in texts]


def _order(found: tuple[int, Ranked]) -> tuple[bool, float, int]:
    """Sort key: by raw score, ties in input order; then documents without one, in the order of their best windows."""
    place, ranked = found
    return (True, place, ranked.index) if ranked.raw_score is None else (False, -ranked.raw_score, ranked.index)
