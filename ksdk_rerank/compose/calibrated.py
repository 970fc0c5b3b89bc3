"""`Calibrated`: scores that are shares of relevant documents, fitted to your own judgements by `calibrated`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ksdk_rerank._arguments import number, plain
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._platt import fit, rescaled
from ksdk_rerank.compose._wrapper import Wrapper
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Calibrated", "calibrated"]


class Calibrated(Wrapper):
    """Turns the scores of `reranker` into shares of relevant documents. The order stays the same.

        Calibrated("embedded", slope=0.61, intercept=-1.83)

    Args:
        reranker: the reranker, or its name.
        slope: above 0. A value below 1 means that the reranker is overconfident.
        intercept: a value below 0 means that the reranker's scores are too high.

    `calibrated` and `evaluate` fit both numbers to judgements. A score s becomes
    `sigmoid(slope * log(s / (1 - s)) + intercept)`. With `min_score=0.3`, at least 30 % of the documents with any
    returned score are then relevant, among candidates like the judged ones. Scores within 0.000001 of 0 or 1 count as
    equal.

    Unscored documents stay unscored. `raw_score` and everything else come from the inner ranking. The numbers fit one
    model only, so calibrate inside a `Fallback`: `Fallback([Calibrated(a, ...), Calibrated(b, ...)])`.
    """

    def __init__(self, reranker: str | Reranker, *, slope: float, intercept: float) -> None:
        self.reranker = load_reranker(reranker)
        self.slope = number("slope", slope)
        self.intercept = number("intercept", intercept)
        if not 0 < self.slope < math.inf:
            raise ValueError(f"slope must be positive and finite, got {slope!r}; calibrated() finds it from judgements")
        if not math.isfinite(self.intercept):
            raise ValueError(f"intercept must be finite, got {intercept!r}; calibrated() finds it from judgements")

    @property
    def name(self) -> str:
        return f"calibrated({self.reranker.name})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rescored(self.reranker.rank(query, documents))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rescored(await self.reranker.arank(query, documents))

    def _rescored(self, inner: Ranking) -> Ranking:
        results = tuple(replace(ranked, score=self._share(ranked)) for ranked in inner)
        return replace(inner, results=results, reranked_by=f"calibrated({inner.reranked_by})")

    def _share(self, ranked: Ranked) -> float | None:
        return None if ranked.score is None else rescaled(ranked.score, self.slope, self.intercept)


def calibrated(reranker: str | Reranker, judgements: Mapping[str, Mapping[str, int]]) -> Calibrated:
    """Fit the scores of `reranker` to judgements. The result's scores are shares of relevant documents.

        calibrated("embedded", {"How do I rotate a key?": {"Keys rotate.": 1, "A door.": 0}, ...})

    Args:
        reranker: the reranker, or its name. It ranks each query's documents once.
        judgements: `{query: {document's text: grade}}`. A grade above 0 means relevant, 0 (or False) not relevant, and
            below 0 not judged. Judge what your search returns, relevant or not, because the shares hold for candidates
            like these. About 30 queries with 20 documents each are enough to fit two numbers.

    If you already have an `Evaluation`, its rows have the same two numbers, as `calibration`.

    Raises:
        ValueError: no judged document has a score, all or none of them are relevant, or scores do not rise with
            relevance.
        TypeError: `judgements` has another form.
        RerankError: the model or service failed.
    """
    reranker = load_reranker(reranker)
    judged = []
    for query, grades in _checked(judgements).items():
        documents = [document for document, grade in grades.items() if grade >= 0]
        for ranked in reranker.rank(query, documents):
            if ranked.score is not None:
                judged.append((ranked.score, grades[ranked.document] > 0))
    slope, intercept = fit(judged)
    return Calibrated(reranker, slope=slope, intercept=intercept)


def _checked(judgements: Mapping[str, Mapping[str, int]]) -> Mapping[str, Mapping[str, int]]:
    if not isinstance(judgements, Mapping) or not all(isinstance(grades, Mapping) for grades in judgements.values()):
        raise TypeError("judgements must be a mapping, {query: {document's text: grade}}")
    for query, grades in judgements.items():
        for document, grade in grades.items():
            if not isinstance(plain(grade), (bool, int, float)):
                raise TypeError(
                    f"judgements[{query!r:.80}]: the grade of {document!r:.80} must be a number, got {grade!r:.80};"
                    " write 1 for a relevant document and 0 for another"
                )
    return judgements
