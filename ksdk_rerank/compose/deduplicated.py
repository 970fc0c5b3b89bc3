"""`Deduplicated`: removes duplicate documents before ranking.

Near-duplicates follow Broder, "On the resemblance and containment of documents" (1997,
https://doi.org/10.1109/SEQUEN.1997.666900): the similarity of two texts is the share of word sequences ("shingles")
that they have in common. But: all shingles are compared, not a sample.

Worked example, shingles of three words, threshold 0.8:

    "a b c d e f" has the shingles abc, bcd, cde, def; "a b c d e g" has abc, bcd, cde, deg
    3 in common of 5 altogether: 0.6, so both stay

Marks that carry meaning count as words; see `words_and_marks`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

from ksdk_rerank._arguments import number
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._shingles import normal_text, shingles_of
from ksdk_rerank.compose._wrapper import Wrapper, resolved
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranking

__all__ = ["Deduplicated"]

_worker = Worker("ksdk-rerank-deduplicated")


class Deduplicated(Wrapper):
    """Ranks each distinct text once and leaves its duplicates out of the ranking.

    Args:
        reranker: the reranker for the remaining documents, or its name.
        by: `"text"` removes texts that are equal except for case, white space and Unicode encoding. `"near"` also
            removes texts that share most of their three-word sequences. Marks that carry meaning count as words: C++
            differs from C#, -5 from 5, 10% from 10‰ and a < b from a > b. Quotation marks, punctuation after a word and
            dashes between words are ignored. Korean, and scripts without spaces such as Chinese and Thai, are compared
            by character.
        threshold: for `"near"`, how similar a text must be to count as a duplicate: the share of sequences in common
            (Jaccard index, above 0 and at most 1). At 0.8, two texts of thirty words may differ in one word, and two of
            a hundred in three. That word may be the one that matters, such as a version number: then raise the
            threshold, or use `"text"`.

    Of several duplicates, the first in input order stays. `Ranking.duplicates` maps each index left out to the index it
    repeats; both are positions in the input documents. Each text is compared only with those that stay. Texts that
    share no rare sequence are never compared, so thousands of documents take seconds at most. Asynchronous calls
    compare on a separate thread. Everything else comes from the inner ranking.
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

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        copies = self._copies(documents)
        kept = [index for index in range(len(documents)) if index not in copies]
        return _joined(kept, copies, self.reranker.rank(query, [documents[index] for index in kept]))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        copies = await _worker.arun(lambda: self._copies(documents))
        kept = [index for index in range(len(documents)) if index not in copies]
        return _joined(kept, copies, await self.reranker.arank(query, [documents[index] for index in kept]))

    def _copies(self, documents: Sequence[str]) -> dict[int, int]:
        """The indices to leave out, each mapped to the index it repeats."""
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
        original = first.setdefault(normal_text(document), index)
        if original != index:
            copies[index] = original
    return copies


def _alike(documents: Sequence[str], threshold: float) -> dict[int, int]:
    """Map near-duplicates to the text each repeats. Exact, although few pairs are compared.

    Follows the prefix filter of Chaudhuri, Ganti and Kaushik (2006, https://doi.org/10.1109/ICDE.2006.9). Each text's
    `n` shingles are sorted rarest first. Two texts that are similar enough then share a shingle among the first
    `n - ceil(threshold * n) + 1` of each; only texts that do are compared.
    """
    shingles = [shingles_of(document) for document in documents]
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


def _jaccard(one: frozenset[Hashable], other: frozenset[Hashable]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
