"""LangChain's cross-encoders as rerankers, and rerankers as cross-encoders of LangChain's."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol, Self

from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker, load_reranker
from ksdk_rerank.base import checked_scores
from ksdk_rerank.errors import BadReply, InferenceFailed, RerankError
from ksdk_rerank.worker import Worker

try:
    from langchain_core.cross_encoders import BaseCrossEncoder
except ImportError:  # langchain-core before 1.2.19; langchain-classic, where there is one, had the class then
    try:
        from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
    except ImportError:
        BaseCrossEncoder = object  # type: ignore[assignment, misc]

__all__ = ["CrossEncoder", "LangChainCrossEncoder", "RerankerCrossEncoder"]


class CrossEncoder(Protocol):
    """What `langchain_core.cross_encoders.BaseCrossEncoder` asks for; LangChain has moved that class more than once."""

    def score(self, text_pairs: list[tuple[str, str]]) -> Sequence[float]:
        """A score a pair of query and document, in the order of the pairs."""


class LangChainCrossEncoder(ScoringReranker):
    """Any cross-encoder with LangChain's `BaseCrossEncoder` interface, such as `HuggingFaceCrossEncoder`.

    Args:
        model: the cross-encoder, called on one thread of its own: it may not be thread-safe, and is not asynchronous.
        score_kind: what its scores are, which the interface does not say. `ScoreKind.LOGIT` keeps the order of any
            scores, but squeezes those already in [0, 1] into [0.5, 0.74]: for them pass `ScoreKind.UNIT`.
            sentence-transformers gives logits for `cross-encoder/ms-marco-*` and [0, 1] for most others.

    The scores may be any array-like with one number a pair: a list, an array of numpy or torch, a column or a row of
    them, or a bare number for one pair. Anything else is a `BadReply`. What the model itself raises becomes
    `InferenceFailed`, with that error as its cause, so that a `Fallback` moves on.
    """

    kind_is_known = True
    """Whether somebody said what the scores are."""

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
        """`model`, of which nobody has said what its scores are."""
        made = cls(model)
        made.kind_is_known = False
        return made

    def close(self) -> None:
        self._worker.close()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.model,), {"score_kind": self.score_kind, "kind_is_known": self.kind_is_known}


def _in_a_row(scores: Any) -> list[Any] | None:
    """What is in an array-like that is longer than one along one axis at most; None for everything else."""
    if not hasattr(scores, "tolist") and hasattr(scores, "__array__"):
        scores = scores.__array__()
    if hasattr(scores, "tolist"):
        scores = scores.tolist()  # of numpy and of torch, on any device and in any precision
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
    """A reranker, or its name, for what wants a `BaseCrossEncoder`, such as LangChain's own `CrossEncoderReranker`.

    That one drops the scores, and knows no `min_score` and no asynchronous call; `RerankCompressor` does all three.
    """

    def __init__(self, reranker: Reranker | str) -> None:
        self.reranker = load_reranker(reranker)
        self.model_name = self.reranker.name

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """The `raw_score` of each pair of query and text; minus infinity where there is none, as for a blank text."""
        scores = [-math.inf] * len(text_pairs)
        for query in dict.fromkeys(query for query, _ in text_pairs):
            places = [place for place, (asked, _) in enumerate(text_pairs) if asked == query]
            ranking = self.reranker.rank(query, [text_pairs[place][1] for place in places])
            found = {hit.index: hit.raw_score for hit in ranking if hit.raw_score is not None}
            for index, place in enumerate(places):
                scores[place] = found.get(ranking.duplicates.get(index, index), -math.inf)
        return scores
