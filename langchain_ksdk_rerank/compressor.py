"""`RerankCompressor`: a reranker as LangChain's document compressor."""

# Annotations are values in this module: LangChain reads the types of a step from them.
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict

from ksdk_rerank import InputOrder, Ranking, Reranker, load_reranker
from langchain_ksdk_rerank.cross_encoder import CrossEncoder, LangChainCrossEncoder

__all__ = ["RerankCompressor"]


class RerankCompressor(BaseDocumentCompressor):
    """Puts the documents that answer the query best first, and drops the rest.

    For `ContextualCompressionRetriever` (in `langchain_classic.retrievers`), `RerankedRetriever`, and chains.

    Args:
        reranker: a `Reranker`, a name for `load_reranker`, or a cross-encoder of LangChain's (`BaseCrossEncoder`).
        top_n: how many documents to return at most; None returns all.
        min_score: return only documents whose `relevance_score`, in [0, 1], is at least this; applied before `top_n`.
        text: what is scored: None, the content; metadata keys, their values a line each, then the content; a function.

    Documents come back as copies with id, class and metadata; those given are not changed. To the metadata it adds

    - `relevance_score`: the reranker's, a float in [0, 1]; None where it gave none (a blank document, `InputOrder`).
    - `reranked_by`: the name of the reranker whose order this is.
    - `retrieval_score`: a `relevance_score` that another stage gave, unless the document has a `retrieval_score`.

    Each call is a run "rerank" below its caller's. Raises what `Reranker.rank` raises; threads and loops may share it.
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
        InputOrder().rank("-", [], top_n=top_n, min_score=min_score)  # the core's checks, in the core's words
        if isinstance(text, str):
            raise TypeError(f"text must be a function or a sequence of metadata keys; wrap it in a list: [{text!r}]")
        if not isinstance(reranker, (Reranker, str)) and hasattr(reranker, "score"):
            if min_score is not None:
                raise ValueError("min_score needs scores of a known kind: LangChainCrossEncoder(model, score_kind=...)")
            reranker = LangChainCrossEncoder(reranker)
        values: dict[str, Any] = {"top_n": top_n, "min_score": min_score, "text": text}
        super().__init__(**values | {"reranker": load_reranker(cast("Reranker | str", reranker))})

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best of `documents`, best first."""
        run = RunnableLambda(self._rank, self._arank, name="rerank")
        return cast("list[Document]", run.invoke(self._inputs(documents, query), {"callbacks": callbacks})["documents"])

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Like `compress_documents`, natively asynchronous."""
        run = RunnableLambda(self._rank, self._arank, name="rerank")
        outputs = await run.ainvoke(self._inputs(documents, query), {"callbacks": callbacks})
        return cast("list[Document]", outputs["documents"])

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """A step for chains, from `{"query": ..., "documents": [...]}` to the best of the documents, best first."""
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
        return _outputs(call["documents"], ranking)

    async def _arank(self, call: dict[str, Any]) -> dict[str, Any]:
        ranking = await self.reranker.arank(call["query"], self._texts(call["documents"]), **self._limits)
        return _outputs(call["documents"], ranking)

    def _texts(self, documents: list[Document]) -> list[str]:
        if callable(self.text):
            return [self.text(document) for document in documents]
        keys = self.text or ()
        lines = ([*(each.metadata.get(key) for key in keys), each.page_content] for each in documents)
        return ["\n".join(str(line) for line in text if line is not None) for text in lines]


def _outputs(documents: list[Document], ranking: Ranking) -> dict[str, Any]:
    """What the run reports: the documents, and all else that the ranking says of the call."""
    return {"documents": [_scored(documents[hit.index], hit.score, ranking) for hit in ranking], **ranking.details()}


def _scored(document: Document, score: float | None, ranking: Ranking) -> Document:
    given = document.metadata
    earlier = None if "reranked_by" in given else given.get("relevance_score")
    moved = {} if earlier is None else {"retrieval_score": earlier}
    metadata = {**moved, **given, "relevance_score": score, "reranked_by": ranking.reranked_by}
    return document.model_copy(update={"metadata": metadata})
