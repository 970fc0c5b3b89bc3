"""`RerankCompressor`: a reranker as a LangChain document compressor."""

# No `from __future__ import annotations` here: LangChain infers a step's types from the evaluated annotations.
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict

from ksdk_rerank import Ranking, Reranker, load_reranker
from ksdk_rerank._metadata import as_score, hand_on, rescored, was_handed_on
from ksdk_rerank._request import checked_min_score, checked_top_n
from langchain_ksdk_rerank.cross_encoder import CrossEncoder, LangChainCrossEncoder

__all__ = ["RerankCompressor"]


class RerankCompressor(BaseDocumentCompressor):
    """Reranks documents for a query and returns the best, best first.

    Use it in `ContextualCompressionRetriever` (from `langchain_classic.retrievers`), `RerankedRetriever`, or a chain.

    Args:
        reranker: a `Reranker`, a name for `load_reranker`, or a LangChain cross-encoder (`BaseCrossEncoder`). To use a
            cross-encoder with `min_score`, wrap it in `LangChainCrossEncoder` and state its `score_kind`.
        top_n: maximum number of documents to return; None returns all.
        min_score: return only documents whose `relevance_score`, in [0, 1], is at least this. Applied before `top_n`;
            ignored if the reranker scores nothing, as `InputOrder` does.
        text: the text to score. None uses the content. Metadata keys put their values above the content, one per line.
            A function gets the document and returns its text.

    Documents come back as copies that keep their id, class and metadata; the input is not changed. Added metadata:

    - `relevance_score`: the reranker's score, a float in [0, 1]; None if unscored (a blank document, `InputOrder`).
    - `reranked_by`: the name of the reranker that set the order.
    - `retrieval_score`: the search's score, if known: the document's own, or else a `relevance_score` left by another
      kind of reranker. A second reranker in the same call keeps it. If a document has a `reranked_by` from anywhere
      else, it was reranked for another query and stored, so its scores are dropped.

    Fields can be reassigned; new values are checked like constructor arguments. Each call is traced as a child run
    named `rerank`. Raises what `Reranker.rank` raises. Safe to share between threads and event loops.
    """

    reranker: Reranker
    top_n: int | None
    min_score: float | None
    text: Callable[[Document], str] | tuple[str, ...] | None

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def __init__(
        self,
        reranker: Reranker | str | CrossEncoder,
        *,
        top_n: int | None = 5,
        min_score: float | None = None,
        text: Callable[[Document], str] | Sequence[str] | None = None,
    ) -> None:
        given = {"top_n": top_n, "min_score": min_score, "text": text, "reranker": reranker}
        values: dict[str, Any] = {name: _CHECKS[name](value) for name, value in given.items()}
        _check_kind(values["reranker"], values["min_score"])
        super().__init__(**values)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](value)
            together = {"reranker": self.reranker, "min_score": self.min_score, name: value}
            _check_kind(together["reranker"], together["min_score"])
        super().__setattr__(name, value)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best of `documents` for `query`, best first."""
        run = RunnableLambda(self._rank, self._arank, name="rerank")
        return cast("list[Document]", run.invoke(self._inputs(documents, query), {"callbacks": callbacks})["documents"])

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Like `compress_documents`, without blocking the event loop."""
        run = RunnableLambda(self._rank, self._arank, name="rerank")
        outputs = await run.ainvoke(self._inputs(documents, query), {"callbacks": callbacks})
        return cast("list[Document]", outputs["documents"])

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """A chain step: takes `{"query": ..., "documents": [...]}`, returns the best documents, best first."""
        return RunnableLambda(self._step, self._astep, name=type(self).__name__)

    def _step(self, given: dict[str, Any]) -> list[Document]:
        return self.compress_documents(given["documents"], given["query"])

    async def _astep(self, given: dict[str, Any]) -> list[Document]:
        return await self.acompress_documents(given["documents"], given["query"])

    @property
    def _limits(self) -> dict[str, Any]:
        return {"top_n": self.top_n, "min_score": self.min_score}

    def _inputs(self, documents: Sequence[Document], query: str) -> dict[str, Any]:
        return {"query": query, "documents": list(documents), "model": self.reranker.name, **self._limits}

    def _rank(self, call: dict[str, Any]) -> dict[str, Any]:
        ranking = self.reranker.rank(call["query"], self._texts(call["documents"]), **self._limits)
        return _outputs(call, ranking)

    async def _arank(self, call: dict[str, Any]) -> dict[str, Any]:
        ranking = await self.reranker.arank(call["query"], self._texts(call["documents"]), **self._limits)
        return _outputs(call, ranking)

    def _texts(self, documents: list[Document]) -> list[str]:
        if callable(self.text):
            return [self.text(document) for document in documents]
        keys = self.text or ()
        lines = ([*(each.metadata.get(key) for key in keys), each.page_content] for each in documents)
        return ["\n".join(str(line) for line in text if line is not None) for text in lines]


def _outputs(call: dict[str, Any], ranking: Ranking) -> dict[str, Any]:
    """The run's outputs: the documents, and everything else the ranking reports about the call."""
    given, query = call["documents"], call["query"]
    scored = [_scored(given[hit.index], hit.score, ranking.reranked_by, query) for hit in ranking]
    return {"documents": scored, **ranking.details()}


def _scored(document: Document, relevance: float | None, reranked_by: str, query: str) -> Document:
    metadata = rescored(
        document.metadata, relevance=relevance, retrieval=_retrieval_score(document, query), reranked_by=reranked_by
    )
    scored = document.model_copy(update={"metadata": metadata})
    hand_on(scored, query)
    return scored


def _retrieval_score(document: Document, query: str) -> float | None:
    """The first-stage score, if it is known to belong to this call."""
    metadata = document.metadata
    if was_handed_on(document, query):
        return as_score(metadata.get("retrieval_score"))
    if "reranked_by" in metadata:
        return None
    scores = (as_score(metadata.get(key)) for key in ("retrieval_score", "relevance_score"))
    return next((score for score in scores if score is not None), None)


def _checked_reranker(reranker: Reranker | str | CrossEncoder) -> Reranker:
    if isinstance(reranker, (Reranker, str)) or not hasattr(reranker, "score"):
        return load_reranker(cast("Reranker | str", reranker))
    return LangChainCrossEncoder.of_unknown_kind(reranker)


def _checked_text(text: object) -> object:
    if text is None or callable(text):
        return text
    wanted = "text must be a function or a sequence of metadata keys"
    if isinstance(text, str):
        raise TypeError(f"{wanted}; wrap it in a list: [{text!r}]")
    if not isinstance(text, Sequence) or not all(isinstance(key, str) for key in text):
        raise TypeError(f"{wanted}, got {text!r}; keys are strings")
    return tuple(text)


def _check_kind(reranker: Reranker, min_score: float | None) -> None:
    if min_score is not None and isinstance(reranker, LangChainCrossEncoder) and not reranker.kind_is_known:
        raise ValueError("min_score needs scores of a known kind: LangChainCrossEncoder(model, score_kind=...)")


_CHECKS: dict[str, Callable[[Any], object]] = {
    "top_n": checked_top_n,
    "min_score": checked_min_score,
    "text": _checked_text,
    "reranker": _checked_reranker,
}
