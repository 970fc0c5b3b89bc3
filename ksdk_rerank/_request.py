"""`RankRequest`: checks the arguments of a `rank` call, and maps its ranking back to the caller's documents."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ksdk_rerank._arguments import check_query, integer, integer_or_none, number, ordered
from ksdk_rerank._text.words import encodable
from ksdk_rerank.errors import BadReply
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["RankRequest", "checked_min_keep", "checked_min_score", "checked_top_n"]

_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclass(frozen=True, slots=True)
class RankRequest:
    """The checked arguments of one call of `Reranker.rank`.

    Attributes:
        query: the query, made encodable.
        documents: all documents, unchanged.
        positions: the indices of those that are not blank.
        top_n: see `Reranker.rank`.
        min_score: see `Reranker.rank`.
        min_keep: see `Reranker.rank`.
    """

    query: str
    documents: Sequence[str]
    positions: Sequence[int]
    top_n: int | None
    min_score: float | None
    min_keep: int

    @classmethod
    def checked(
        cls, query: str, documents: Sequence[str], top_n: int | None, min_score: float | None, min_keep: int
    ) -> Self:
        """Check the arguments of `Reranker.rank`; it documents what is raised."""
        check_query(query)
        if isinstance(documents, (str, bytes)):
            raise TypeError("documents must be a sequence of strings, got one string; wrap it in a list")
        documents = ordered("documents", documents)
        for index, document in enumerate(documents):
            if not isinstance(document, str):
                raise TypeError(f"documents[{index}] must be a string, got {type(document).__name__}; pass its text")
        top_n, min_score, min_keep = checked_top_n(top_n), checked_min_score(min_score), checked_min_keep(min_keep)
        positions = [index for index, document in enumerate(documents) if document.strip()]
        return cls(encodable(query), documents, positions, top_n, min_score, min_keep)

    @property
    def texts(self) -> list[str]:
        """What the model reads: the documents that are not blank, made encodable."""
        return [encodable(self.documents[position]) for position in self.positions]

    def finish(self, ranking: Ranking) -> Ranking:
        """Map a `ranking` of `texts` to the caller's `documents`, then apply `min_score` and `top_n`."""
        if sorted([*ranking.indices, *ranking.duplicates]) != list(range(len(self.positions))):
            raise BadReply(
                f"{ranking.reranked_by} must return each of {len(self.positions)} documents once, but returned indices"
                f" {sorted(ranking.indices)!r:.80}",
                service=ranking.reranked_by,
            )
        positions = [self.positions[ranked.index] for ranked in ranking]
        results = [
            replace(
                ranked,
                index=position,
                document=self.documents[position],
                spans=_in_original(ranked.spans, self.documents[position]),
            )
            for ranked, position in zip(ranking, positions, strict=True)
        ]
        has_scores = any(ranked.score is not None for ranked in results)
        not_blank = set(self.positions)
        results += [Ranked(index, document) for index, document in enumerate(self.documents) if index not in not_blank]
        if self.min_score is not None and has_scores:
            reach_it = sum(r.score is not None and r.score >= self.min_score for r in results)  # they come first
            results = results[: max(reach_it, self.min_keep)]
        duplicates = {self.positions[copy]: self.positions[kept] for copy, kept in ranking.duplicates.items()}
        return replace(ranking, results=tuple(results[: self.top_n]), duplicates=duplicates)


def _in_original(spans: tuple[tuple[int, int], ...], document: str) -> tuple[tuple[int, int], ...]:
    """Convert spans of the encodable text to `document`, in which a character may be a pair of surrogates."""
    if not spans:
        return ()
    pairs = [pair.start() - earlier for earlier, pair in enumerate(_SURROGATES.finditer(document))]
    return tuple((start + bisect_left(pairs, start), end + bisect_left(pairs, end)) for start, end in spans)


def checked_top_n(top_n: object) -> int | None:
    """Check `top_n` of `Reranker.rank`. Raises `ValueError` unless it is None or an integer of at least 1."""
    return integer_or_none("top_n", top_n, advice="use None to get every document back")


def checked_min_score(min_score: object) -> float | None:
    """Check `min_score` of `Reranker.rank`. Raises `ValueError` unless it is None or a number in [0, 1]."""
    if min_score is None:
        return None
    value = number("min_score", min_score)
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"min_score must be between 0 and 1, got {min_score!r}; it applies to Ranked.score, not to raw_score"
        )
    return value


def checked_min_keep(min_keep: object) -> int:
    """Check `min_keep` of `Reranker.rank`. Raises `ValueError` unless it is an integer of at least 0."""
    return integer("min_keep", min_keep, at_least=0, advice="it is the number of documents to keep below min_score")
