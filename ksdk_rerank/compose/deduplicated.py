"""`Deduplicated`: each text once.

Near-duplicates follow Broder, "On the resemblance and containment of documents" (1997,
https://doi.org/10.1109/SEQUEN.1997.666900): two texts are as alike as the share of word sequences ("shingles") that
they have in common. But: shingles are counted as they are, not sampled.

Worked example, shingles of three words, threshold 0.8:

    "a b c d e f" has the shingles abc, bcd, cde, def; "a b c d e g" has abc, bcd, cde, deg
    3 in common of 5 altogether: 0.6, so both stay

A word here is also a mark that carries meaning, see `parts_of`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

from ksdk_rerank._arguments import number
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._parts import parts_of, spelled
from ksdk_rerank.compose._wrapper import Wrapper, resolved
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranking
from ksdk_rerank.worker import Worker

__all__ = ["Deduplicated"]

_SHINGLE = 3

_worker = Worker("ksdk-rerank-deduplicated")


class Deduplicated(Wrapper):
    """Shows `reranker` each text once, and leaves the others out of the ranking.

    Args:
        reranker: what orders the rest, or its name.
        by: `"text"` leaves out texts that are equal but for case, white space and how Unicode encodes them. `"near"`
            also leaves out those that share most of their sequences of three words. A mark that carries meaning counts
            as a word: C++ differs from C#, -5 from 5, 10% from 10‰ and a < b from a > b. Quotation marks, punctuation
            after a word and dashes between words do not count. Scripts without spaces, such as Chinese and Thai, and
            Korean are compared by character.
        threshold: for `"near"`, the share of sequences in common (Jaccard's index, above 0 and up to 1) from which a
            text is a duplicate. At 0.8 two texts of thirty words may differ in one of them, and two of a hundred in
            three. Mind that the word may be the one that counts, such as a version: raise it, or use `"text"`.

    The first of several alike stays, in input order. `Ranking.duplicates` says of each one left out which index it
    repeats; indices are positions in the documents that were given, as everywhere. Each text is compared with those
    that stay. Texts that share no rare sequence are never compared, so thousands of documents take seconds at most;
    asynchronous calls compare on a thread of their own.

    Everything else on the ranking is the inner one's. Safe to share between threads and event loops where the inner
    one is.
    """

    def __init__(
        self, reranker: str | Reranker, *, by: Literal["text", "near"] = "text", threshold: float = 0.8
    ) -> None:
        if by not in ("text", "near"):
            raise ValueError(f"by must be 'text' or 'near', got {by!r}")
        threshold = number("threshold", threshold)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {threshold!r}")
        self.reranker = load_reranker(reranker)
        self.by = by
        self.threshold = threshold

    @property
    def name(self) -> str:
        return f"deduplicated({self.reranker.name})"

    @property
    def _members(self) -> Sequence[Reranker]:
        return (self.reranker,)

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        copies = self._copies(documents)
        kept = [index for index in range(len(documents)) if index not in copies]
        return _joined(kept, copies, self.reranker.rank(query, [documents[index] for index in kept]))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        copies = await _worker.arun(lambda: self._copies(documents))
        kept = [index for index in range(len(documents)) if index not in copies]
        return _joined(kept, copies, await self.reranker.arank(query, [documents[index] for index in kept]))

    def _copies(self, documents: Sequence[str]) -> dict[int, int]:
        """Which documents are left out, and what each repeats."""
        return _equal(documents) if self.by == "text" else _alike(documents, self.threshold)


def _joined(kept: Sequence[int], copies: dict[int, int], inner: Ranking) -> Ranking:
    inner_copies = {kept[copy]: kept[original] for copy, original in inner.duplicates.items()}
    return replace(
        inner,
        results=tuple(replace(ranked, index=kept[ranked.index]) for ranked in inner),
        reranked_by=f"deduplicated({inner.reranked_by})",
        duplicates=resolved({**copies, **inner_copies}),
    )


def _equal(documents: Sequence[str]) -> dict[int, int]:
    first: dict[str, int] = {}
    copies = {}
    for index, document in enumerate(documents):
        original = first.setdefault(_normalised(document), index)
        if original != index:
            copies[index] = original
    return copies


def _alike(documents: Sequence[str], threshold: float) -> dict[int, int]:
    """Exact, by the prefix filter of Chaudhuri, Ganti and Kaushik (2006, https://doi.org/10.1109/ICDE.2006.9).

    With the shingles of each text sorted rarest first, two texts that are alike enough have one in common among the
    first n - ceil(threshold * n) + 1 of each; only texts that do are compared.
    """
    shingles = [_shingles(document) for document in documents]
    frequency = Counter(shingle for one in shingles for shingle in one)
    number = {shingle: place for place, (shingle, _) in enumerate(sorted(frequency.items(), key=lambda i: i[1]))}
    holders: dict[int, list[int]] = {}
    copies = {}
    for index, one in enumerate(shingles):
        rarest = sorted(number[shingle] for shingle in one)
        prefix = rarest[: len(one) - math.ceil(threshold * len(one) - 1e-9) + 1]
        candidates = sorted({other for shingle in prefix for other in holders.get(shingle, ())})
        original = next((other for other in candidates if _jaccard(one, shingles[other]) >= threshold), index)
        if original != index:
            copies[index] = original
            continue
        for shingle in prefix:
            holders.setdefault(shingle, []).append(index)
    return copies


def _shingles(document: str) -> frozenset[Hashable]:
    parts = parts_of(document)
    if len(parts) < _SHINGLE:
        return frozenset([tuple(parts) or _normalised(document)])
    return frozenset(tuple(parts[start : start + _SHINGLE]) for start in range(len(parts) - _SHINGLE + 1))


def _jaccard(one: frozenset[Hashable], other: frozenset[Hashable]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def _normalised(document: str) -> str:
    return " ".join(spelled(document).split())
