"""Adapters in both directions: a LangChain cross-encoder as a reranker, and a reranker as a cross-encoder."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol, Self

from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker, load_reranker
from ksdk_rerank.base import checked_scores
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import BadReply, InferenceFailed, RerankError

try:
    from langchain_core.cross_encoders import BaseCrossEncoder
except ImportError:  # langchain-core before 1.2.19, when langchain-classic (if installed) had the class
    try:
        from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
    except ImportError:
        BaseCrossEncoder = object  # type: ignore[assignment, misc]

__all__ = ["CrossEncoder", "LangChainCrossEncoder", "RerankerCrossEncoder"]


class CrossEncoder(Protocol):
    """The interface of `langchain_core.cross_encoders.BaseCrossEncoder`, a class LangChain has moved more than once."""

    def score(self, text_pairs: list[tuple[str, str]]) -> Sequence[float]:
        """Return one score per (query, document) pair, in the order of the pairs."""


class LangChainCrossEncoder(ScoringReranker):
    """Reranks with any LangChain cross-encoder (`BaseCrossEncoder`), such as `HuggingFaceCrossEncoder`.

    Args:
        model: the cross-encoder. It runs on one dedicated thread, because it may not be thread-safe and has no
            asynchronous interface.
        score_kind: the kind of score the model returns, which its interface does not state. `ScoreKind.LOGIT` keeps
            the order of any scores, but squeezes scores already in [0, 1] into [0.5, 0.74]: for those pass
            `ScoreKind.UNIT`. sentence-transformers returns logits for `cross-encoder/ms-marco-*` and [0, 1] for most
            others.

    Scores may be any array-like with one number per pair: a list, a numpy or torch array, a single row or column, or a
    bare number for one pair. Anything else raises `BadReply`. If the model raises, the error becomes
    `InferenceFailed` with the original as its cause, so that a `Fallback` moves on.
    """

    kind_is_known = True
    """False if the caller never stated the score kind; `RerankCompressor` then refuses `min_score`."""

    def __init__(self, model: CrossEncoder, *, score_kind: ScoreKind = ScoreKind.LOGIT) -> None:
        self.model = model
        self.score_kind = score_kind
        self._worker = Worker("ksdk-rerank-langchain")

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
            scores = _in_a_row(self.model.score([(query, document) for document in documents]))
        except RerankError:
            raise
        except Exception as error:
            raise InferenceFailed(f"{kind} failed: {type(error).__name__}: {error}") from error
        if scores is None:
            raise BadReply(f"{kind} gave no list of scores; its score() must return a number a pair", service=kind)
        return Scores(checked_scores(scores, len(documents), kind))

    @classmethod
    def of_unknown_kind(cls, model: CrossEncoder) -> Self:
        """Wrap `model` when the caller has not stated its score kind."""
        made = cls(model)
        made.kind_is_known = False
        return made

    def close(self) -> None:
        self._worker.close()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.model,), {"score_kind": self.score_kind, "kind_is_known": self.kind_is_known}


def _in_a_row(scores: Any) -> list[Any] | None:
    """Flatten an array-like with at most one axis longer than one; None for anything else."""
    if not hasattr(scores, "tolist") and hasattr(scores, "__array__"):
        scores = scores.__array__()
    if hasattr(scores, "tolist"):
        scores = scores.tolist()  # numpy and torch, on any device, in any precision
    if isinstance(scores, (Mapping, Set)):
        return None
    if isinstance(scores, (str, bytes)) or not isinstance(scores, Iterable):
        return [scores]
    items = [_in_a_row(item) for item in scores]
    if len(items) == 1:
        return items[0]
    if any(item is None or len(item) != 1 for item in items):
        return None
    return [item[0] for item in items if item]


class RerankerCrossEncoder(BaseCrossEncoder):
    """Wraps a reranker, or its name, as a `BaseCrossEncoder`, for example for LangChain's `CrossEncoderReranker`.

    `CrossEncoderReranker` drops the scores and supports neither `min_score` nor asynchronous calls. If you need any of
    these, use `RerankCompressor`.
    """

    def __init__(self, reranker: Reranker | str) -> None:
        self.reranker = load_reranker(reranker)
        self.model_name = self.reranker.name

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return the `raw_score` of each (query, text) pair; minus infinity if unscored, as for a blank text."""
        scores = [-math.inf] * len(text_pairs)
        for query in dict.fromkeys(query for query, _ in text_pairs):
            places = [place for place, (asked, _) in enumerate(text_pairs) if asked == query]
            ranking = self.reranker.rank(query, [text_pairs[place][1] for place in places])
            found = {hit.index: hit.raw_score for hit in ranking if hit.raw_score is not None}
            for index, place in enumerate(places):
                scores[place] = found.get(ranking.duplicates.get(index, index), -math.inf)
        return scores
