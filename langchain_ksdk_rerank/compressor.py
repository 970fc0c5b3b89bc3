"""`RerankCompressor`: any `Reranker` as a LangChain document compressor."""

# No `from __future__ import annotations` here: LangChain infers a step's types from the evaluated annotations.
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda

from ksdk_rerank import Ranking, Reranker, load_reranker
from ksdk_rerank._metadata import (
    checked_count,
    checked_max_tokens,
    checked_text,
    mark_returned,
    passages_of,
    rescored,
    score_in,
    texts_of,
)
from ksdk_rerank._request import checked_min_keep, checked_min_score, checked_top_n
from ksdk_rerank.compose.passages import finding_passages
from ksdk_rerank.results import fitting
from langchain_ksdk_rerank.cross_encoders import LangChainCrossEncoder, PairScorer

__all__ = ["RerankCompressor"]


class RerankCompressor(
    BaseDocumentCompressor, arbitrary_types_allowed=True, validate_assignment=True, hide_input_in_errors=True
):
    """Reranks documents for a query and returns the best, best first.

    Use it in `ContextualCompressionRetriever` (from `langchain_classic.retrievers`), `RerankedRetriever`, or a chain.

    Args:
        reranker: a `Reranker`, a name or configuration for `load_reranker`, or a LangChain `BaseCrossEncoder`. To use
            the latter with `min_score`, wrap it in `LangChainCrossEncoder` and state its `score_kind`.
        top_n: maximum number of documents to return; None returns all.
        min_score: the lowest `relevance_score` to return, in [0, 1]. Applied before `top_n`; ignored if no document has
            a score, as after `InputOrder`.
        text: what to score. None scores the content. A list of metadata keys puts their values above the content. A
            mapping from labels to keys, with None for the content, gives labelled fields in this order. A function of
            the document returns the text.
        min_keep: return at least this many, even if fewer reach `min_score`.
        passages: return only a document's relevant passages as its content: see `Passages`, which finds them if the
            reranker does not. `metadata` then has `start` and `end`, the extent of the excerpt in the original content,
            and `original_length`, all in characters. Needs `pip install "ksdk-rerank[passages]"`.
        max_tokens: return the best documents whose contents together fit into this many tokens: see `Ranking.within`.
        count_tokens: counts the tokens of a text; None estimates them.
        skip_oversized: skip a document that does not fit into `max_tokens` and try the next, instead of stopping there.

    Returns copies that keep their id, class and metadata. These keys are added to the metadata: `relevance_score` (a
    float in [0, 1], or None if unscored), `reranked_by` (the reranker's name) and, if known, `retrieval_score` (the
    search's score, or else a `relevance_score` left by another kind of reranker). If the reranker found passages,
    `relevant_spans` has their [start, end] in the original content, best first. Values that an earlier query left under
    these keys are dropped.

    Fields can be reassigned; new values are checked like constructor arguments. Each call is traced as a child run
    named `rerank`. Raises what `Reranker.rank` raises. Safe to share between threads and event loops.
    """

    reranker: Reranker
    top_n: int | None
    min_score: float | None
    text: Callable[[Document], str] | tuple[str, ...] | dict[str, str | None] | None
    min_keep: int
    passages: bool
    max_tokens: int | None
    count_tokens: Callable[[str], int] | None
    skip_oversized: bool

    def __init__(
        self,
        reranker: Reranker | str | Mapping[str, object] | PairScorer,
        *,
        top_n: int | None = 5,
        min_score: float | None = None,
        text: Callable[[Document], str] | Sequence[str] | Mapping[str, str | None] | None = None,
        min_keep: int = 0,
        passages: bool = False,
        max_tokens: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
        skip_oversized: bool = False,
    ) -> None:
        given: dict[str, Any] = {"top_n": top_n, "min_score": min_score, "text": text, "reranker": reranker}
        given |= {"min_keep": min_keep, "max_tokens": max_tokens, "count_tokens": count_tokens}
        values: dict[str, Any] = {name: _CHECKS[name](value) for name, value in given.items()}
        _check_scale(values)
        values |= {"passages": passages, "skip_oversized": skip_oversized}
        super().__init__(**values)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](value)
            _check_scale({**self.__dict__, name: value})
        super().__setattr__(name, value)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best of `documents` for `query`, best first."""
        return self._run.invoke(self._inputs(documents, query), {"callbacks": callbacks})["documents"]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Like `compress_documents`, without blocking the event loop."""
        return (await self._run.ainvoke(self._inputs(documents, query), {"callbacks": callbacks}))["documents"]

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """A chain step: takes `{"query": ..., "documents": [...]}`, returns the best documents, best first."""
        return RunnableLambda(self._step, self._astep, name=type(self).__name__)

    def _step(self, given: dict[str, Any]) -> list[Document]:
        return self.compress_documents(given["documents"], given["query"])

    async def _astep(self, given: dict[str, Any]) -> list[Document]:
        return await self.acompress_documents(given["documents"], given["query"])

    @property
    def _run(self) -> Runnable[dict[str, Any], dict[str, list[Document]]]:
        return RunnableLambda(self._rank, self._arank, name="rerank")

    def _inputs(self, documents: Sequence[Document], query: str) -> dict[str, Any]:
        settings: dict[str, Any] = {"top_n": self.top_n, "min_score": self.min_score}
        if self.reranker.instruction is not None:
            settings["instruction"] = self.reranker.instruction
        limits = {"min_keep": self.min_keep, "max_tokens": self.max_tokens, "passages": self.passages}
        settings |= {name: value for name, value in limits.items() if value}
        return {"query": query, "documents": list(documents), "model": self.reranker.name, **settings}

    def _rank(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._outputs(inputs, self._ranker.rank(**self._arguments(inputs)))

    async def _arank(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._outputs(inputs, await self._ranker.arank(**self._arguments(inputs)))

    @property
    def _ranker(self) -> Reranker:
        return finding_passages(self.reranker) if self.passages else self.reranker

    def _arguments(self, inputs: dict[str, Any]) -> dict[str, Any]:
        texts = texts_of(inputs["documents"], self.text, lambda document: document.page_content)
        arguments = {name: inputs[name] for name in ("query", "top_n", "min_score")}
        return {"documents": texts, "min_keep": self.min_keep, **arguments}

    def _outputs(self, inputs: dict[str, Any], ranking: Ranking) -> dict[str, Any]:
        """The run's outputs: the documents, and everything else the ranking reports about the call."""
        query, returned = inputs["query"], []
        for hit in ranking:
            document: Document = inputs["documents"][hit.index]
            retrieval = score_in(document.metadata)
            metadata = rescored(document, query, hit.score, retrieval=retrieval, reranked_by=ranking.reranked_by)
            content, found = passages_of(hit, document.page_content, shorten=self.passages)
            update = {"page_content": content, "metadata": metadata | found}
            returned.append(mark_returned(document.model_copy(update=update), query))
        if self.max_tokens is not None:
            texts = (document.page_content for document in returned)
            kept = fitting(texts, self.max_tokens, self.count_tokens, skip_oversized=self.skip_oversized)
            returned = [returned[place] for place in kept]
        return {"documents": returned, **ranking.details()}


def _checked_reranker(reranker: Any) -> Reranker:
    if isinstance(reranker, (Reranker, str, type)) or not hasattr(reranker, "score"):
        return load_reranker(reranker)
    return LangChainCrossEncoder(reranker, score_kind=None)


def _check_scale(options: Mapping[str, Any]) -> None:
    """Refuse a `min_score` for a `reranker` whose kind of score is unknown: nobody can tell what it would mean."""
    reranker = options["reranker"]
    if options["min_score"] is not None and isinstance(reranker, LangChainCrossEncoder) and not reranker.kind_is_known:
        advice = f"{type(reranker).__name__}(model, score_kind=...)"
        raise ValueError(f"min_score needs scores of a known kind; state it: {advice}")


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "top_n": checked_top_n,
    "min_score": checked_min_score,
    "text": checked_text,
    "reranker": _checked_reranker,
    "min_keep": checked_min_keep,
    "max_tokens": checked_max_tokens,
    "count_tokens": checked_count,
}
