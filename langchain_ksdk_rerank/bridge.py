"""`CompressorReranker`: LangChain's document compressors that reorder, as rerankers."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.documents import BaseDocumentCompressor, Document

from ksdk_rerank import ScoreKind
from ksdk_rerank.rerankers._bridge import BridgedReranker, Returned

__all__ = ["CompressorReranker"]

_MARK = "id"  # VertexAIRank rebuilds each document with the position in the input under this key


class CompressorReranker(BridgedReranker[Document]):
    """Reranks with any LangChain document compressor that reorders or filters, such as those for Bedrock or Vertex.

        Fallback([CompressorReranker(BedrockRerank(model_arn=..., top_n=None)), "embedded"])

    Args:
        compressor: gets new documents that contain the text and nothing else. Documents that it leaves out come last,
            in input order and without a score, so set its `top_n` high enough.
        score_kind: what the `relevance_score` in the metadata means; in [0, 1] by default. None ignores it and keeps
            the compressor's order.
        upper_bound: the highest score, for `ScoreKind.BOUNDED`: a scale from 0.

    If every document that comes back has a `relevance_score`, the ranking is sorted by it. Otherwise it keeps the
    compressor's order, without scores. A document that comes back twice counts once. A compressor that rewrites texts
    is accepted if it keeps the metadata; the ranking has the original texts.

    Asynchronous calls use `acompress_documents` if the compressor implements it, else one of eight threads. There is no
    deadline but the compressor's own. Its exceptions are raised as `RerankError`s, by their HTTP status if they have
    one. A pickle contains the compressor, and `to_config` raises `TypeError`.
    """

    def __init__(
        self,
        compressor: BaseDocumentCompressor,
        *,
        score_kind: ScoreKind | None = ScoreKind.UNIT,
        upper_bound: float | None = None,
    ) -> None:
        if not isinstance(compressor, BaseDocumentCompressor):
            raise TypeError(f"compressor must be a BaseDocumentCompressor, got {type(compressor).__name__}")
        self.compressor = compressor
        super().__init__(compressor, score_kind, upper_bound)

    @property
    def _is_async(self) -> bool:
        return type(self.compressor).acompress_documents is not BaseDocumentCompressor.acompress_documents

    def _items(self, documents: Sequence[str]) -> list[Document]:
        return [Document(text, metadata={_MARK: str(index)}) for index, text in enumerate(documents)]

    def _call(self, query: str, items: list[Document]) -> Sequence[Document]:
        return self.compressor.compress_documents(items, query)

    async def _acall(self, query: str, items: list[Document]) -> Sequence[Document]:
        return await self.compressor.acompress_documents(items, query)

    def _read(self, returned: Sequence[Document], items: list[Document]) -> list[Returned]:
        indices = {str(index): index for index in range(len(items))}
        return [
            Returned(
                indices.get(document.metadata.get(_MARK, "")),
                document.page_content,
                document.metadata.get("relevance_score"),
            )
            for document in returned
        ]
