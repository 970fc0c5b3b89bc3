"""`LangChainCrossEncoder`: a cross-encoder of LangChain's, as a reranker."""

from collections.abc import Sequence
from typing import Protocol

from ksdk_rerank import ScoreKind, Scores, ScoringReranker
from ksdk_rerank._worker import Worker

__all__ = ["CrossEncoder", "LangChainCrossEncoder"]


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
    """

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
        return Scores(list(self.model.score([(query, document) for document in documents])))

    def close(self) -> None:
        self._worker.close()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.model,), {"score_kind": self.score_kind}
