"""Other libraries' cross-encoders, which score (query, document) pairs, as rerankers; and the reverse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

from ksdk_rerank.base import Reranker, ScoringReranker
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import BadReply, InferenceFailed, RerankError
from ksdk_rerank.scores import ScoreKind, Scores, checked_kind, checked_scores

__all__ = ["PairScorer", "PairScoringReranker", "check_kind", "scores_of_pairs"]


class PairScorer(Protocol):
    """A model that scores pairs of texts."""

    def score(self, text_pairs: list[tuple[str, str]]) -> Sequence[float]:
        """Return one score per (query, document) pair, in the order of the pairs."""


class PairScoringReranker(ScoringReranker):
    """Reranks with a `PairScorer` on one dedicated thread, because it may be neither thread-safe nor asynchronous.

    Args:
        model: gives one number per pair, in any array-like.
        score_kind: the kind of score that `model` gives; None if unknown, which keeps its order as logits do.
    """

    def __init__(self, model: PairScorer, *, score_kind: ScoreKind | None = ScoreKind.LOGIT) -> None:
        if isinstance(model, type) or not callable(getattr(model, "score", None)):
            got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"model must be a cross-encoder with a method score(text_pairs), got {got}")
        self.model = model
        self.score_kind = ScoreKind.LOGIT if score_kind is None else checked_kind(score_kind)
        self.kind_is_known = score_kind is not None
        self._worker = Worker("ksdk-rerank-pairs")

    @property
    def name(self) -> str:
        return str(getattr(self.model, "model_name", None) or type(self.model).__name__)

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return self._worker.run(lambda: self._score(query, documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return await self._worker.arun(lambda: self._score(query, documents))

    def _score(self, query: str, documents: Sequence[str]) -> Scores:
        kind = type(self.model).__name__
        try:
            scores = _flattened(self.model.score([(query, document) for document in documents]))
        except RerankError:
            raise
        except Exception as error:
            raise InferenceFailed(f"{kind} failed: {type(error).__name__}: {error}") from error
        if scores is None:
            raise BadReply(f"{kind} did not return numbers; its score() must return one per pair", service=kind)
        return Scores(checked_scores(scores, len(documents), kind))

    def close(self) -> None:
        self._worker.close()

    def __reduce__(self) -> tuple[object, ...]:
        state = {name: value for name, value in vars(self).items() if name != "_worker"}
        return type(self), (self.model,), state


def check_kind(options: Mapping[str, object]) -> None:
    """Refuse a `min_score` for a `reranker` whose kind of score is unknown: nobody can tell what it would mean."""
    reranker = options["reranker"]
    if options["min_score"] is not None and isinstance(reranker, PairScoringReranker) and not reranker.kind_is_known:
        advice = f"{type(reranker).__name__}(model, score_kind=...)"
        raise ValueError(f"min_score needs scores of a known kind; state it: {advice}")


def _flattened(scores: Any) -> list[Any] | None:
    """Flatten an array-like with at most one axis longer than one; None for anything else."""
    if not hasattr(scores, "tolist") and hasattr(scores, "__array__"):
        scores = scores.__array__()
    if hasattr(scores, "tolist"):
        scores = scores.tolist()  # numpy and torch, on any device, in any precision
    if isinstance(scores, (Mapping, Set)):
        return None
    if isinstance(scores, (str, bytes)) or not isinstance(scores, Iterable):
        return [scores]
    items = [_flattened(item) for item in scores]
    if len(items) == 1:
        return items[0]
    if any(item is None or len(item) != 1 for item in items):
        return None
    return [item[0] for item in items if item]


def scores_of_pairs(reranker: Reranker, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The `raw_score` of each (query, document) pair; minus infinity if unscored, as for a blank document."""
    scores = [-math.inf] * len(pairs)
    positions: dict[str, list[int]] = {}
    for position, (query, _) in enumerate(pairs):
        positions.setdefault(query, []).append(position)
    rankings = reranker.rank_many(
        list(positions), [[pairs[position][1] for position in asked] for asked in positions.values()]
    )
    for asked, ranking in zip(positions.values(), rankings, strict=True):
        found = {hit.index: hit.raw_score for hit in ranking if hit.raw_score is not None}
        for index, position in enumerate(asked):
            scores[position] = found.get(ranking.duplicates.get(index, index), -math.inf)
    return scores
