"""Bridges from and to LangChain's cross-encoders, which score (query, document) pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker, load_reranker
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import BadReply, InferenceFailed, RerankError
from ksdk_rerank.scores import checked_kind, checked_scores

try:
    from langchain_core.cross_encoders import BaseCrossEncoder
except ImportError:  # langchain-core before 1.2.19, when langchain-classic (if installed) had the class
    try:
        from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
    except ImportError:
        BaseCrossEncoder = object  # type: ignore[assignment, misc]

__all__ = ["LangChainCrossEncoder", "PairScorer", "RerankerCrossEncoder"]


class PairScorer(Protocol):
    """A model that scores pairs of texts."""

    def score(self, text_pairs: list[tuple[str, str]]) -> Sequence[float]:
        """Return one score per (query, document) pair, in the order of the pairs."""


class LangChainCrossEncoder(ScoringReranker):
    """Reranks with any LangChain cross-encoder (`BaseCrossEncoder`), such as `HuggingFaceCrossEncoder`.

    Args:
        model: the cross-encoder. It runs on one dedicated thread, and may return any array-like with one number per
            pair; anything else raises `BadReply`. Any exception it raises becomes `InferenceFailed`.
        score_kind: the kind of score the model returns; None if unknown. `ScoreKind.LOGIT` keeps the order of any
            scores, but squeezes scores already in [0, 1] into [0.5, 0.74]: for those pass `ScoreKind.UNIT`.
            sentence-transformers returns logits for `cross-encoder/ms-marco-*` and [0, 1] for most others.
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


class RerankerCrossEncoder(BaseCrossEncoder):
    """Wraps a reranker (or its name or configuration) as a `BaseCrossEncoder`, for LangChain's `CrossEncoderReranker`.

    That class drops the scores, and supports neither `min_score` nor asynchronous calls. If you need any of these, use
    `RerankCompressor` instead.
    """

    def __init__(self, reranker: Reranker | str | Mapping[str, object]) -> None:
        self.reranker = load_reranker(reranker)
        self.model_name = self.reranker.name

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return the `raw_score` of each (query, text) pair; minus infinity if unscored, as for a blank text."""
        scores = [-math.inf] * len(text_pairs)
        positions: dict[str, list[int]] = {}
        for position, (query, _) in enumerate(text_pairs):
            positions.setdefault(query, []).append(position)
        rankings = self.reranker.rank_many(
            list(positions), [[text_pairs[position][1] for position in asked] for asked in positions.values()]
        )
        for asked, ranking in zip(positions.values(), rankings, strict=True):
            found = {hit.index: hit.raw_score for hit in ranking if hit.raw_score is not None}
            for index, position in enumerate(asked):
                scores[position] = found.get(ranking.duplicates.get(index, index), -math.inf)
        return scores
