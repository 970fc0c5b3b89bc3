"""Retrievers: KnowledgeSDK search, and any retriever followed by a reranker."""

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import BeforeValidator, SecretStr

from ksdk_rerank import KnowledgeSDKClient, SearchHit, Timeout
from ksdk_rerank._arguments import integer
from ksdk_rerank._metadata import without_scores
from langchain_ksdk_rerank.compressor import RerankCompressor

__all__ = ["KnowledgeSDKRetriever", "RerankedRetriever"]


def _checked_k(k: object) -> int:
    return integer("k", k, advice="KnowledgeSDK advises 20 before a reranker")


def _checked_k_or_none(k: object) -> int | None:
    return None if k is None else integer("k", k, or_none=True, advice="None leaves it to compressor.top_n")


class KnowledgeSDKRetriever(BaseRetriever, validate_assignment=True):
    """Searches a KnowledgeSDK knowledge base for candidates: the first stage, before a reranker.

    Args:
        k: maximum number of documents; KnowledgeSDK advises 20 before a reranker. `invoke(query, k=3)` overrides it.
        api_key: by default from the environment. Only the client keeps it; it never appears in a `repr`, pickle or
            trace.
        base_url: by default from the environment, else the hosted API.
        timeout: seconds for a whole search including retries, or a `Timeout`; by default the client's.
        client: your own client instead of these three, if you need its other options. You close it.
        api_key_id, extra: see `KnowledgeSDKClient.search`.
        name, tags, metadata: LangChain's own.

    Each document has the hit's id and text; everything else the service sent becomes metadata. `title`, `source` and
    `retrieval_score` are present only if the service sent them. `retrieval_score` is this search's score, a float with
    no fixed range; higher is better. If the knowledge base stores `retrieval_score`, `relevance_score` or
    `reranked_by` itself, those are dropped. If it stores a different title or source, that becomes `metadata.title` or
    `metadata.source`.

    Raises `MissingKey` if the hosted API is used without a key, and what `KnowledgeSDKClient.search` raises. Safe to
    share between threads and event loops.
    """

    k: Annotated[int, BeforeValidator(_checked_k)]
    client: KnowledgeSDKClient
    api_key_id: str | None
    extra: Mapping[str, object] | None

    def __init__(
        self,
        *,
        k: int = 20,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout: float | Timeout | None = None,
        client: KnowledgeSDKClient | None = None,
        api_key_id: str | None = None,
        extra: Mapping[str, object] | None = None,
        name: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if client is not None and not (api_key is None and base_url is None and timeout is None):
            raise ValueError("client has its own api_key, base_url and timeout; pass either the client or these")
        limited: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        client = client or KnowledgeSDKClient(api_key, base_url=base_url, **limited)
        values: dict[str, Any] = {"k": k, "client": client, "api_key_id": api_key_id, "extra": extra}
        super().__init__(**values, name=name, tags=tags, metadata=metadata)

    @property
    def base_url(self) -> str:
        """The client's base URL of the API."""
        return self.client.base_url

    @property
    def timeout(self) -> float | Timeout:
        """The client's limit for a whole search: seconds, or a `Timeout`."""
        return self.client.timeout

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return {**super()._get_ls_params(**kwargs), "ls_vector_store_provider": "KnowledgeSDK"}

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        limit = self.k if k is None else _checked_k(k)
        hits = self.client.search(query, limit, api_key_id=self.api_key_id, extra=self.extra)
        return [_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        limit = self.k if k is None else _checked_k(k)
        hits = await self.client.asearch(query, limit, api_key_id=self.api_key_id, extra=self.extra)
        return [_document(hit) for hit in hits]


class RerankedRetriever(BaseRetriever, extra="forbid", validate_assignment=True):
    """Retrieves many candidates, reranks them and returns the best few, best first.

    Args:
        base_retriever: finds the candidates; set their number there. It receives every `invoke` argument except `k`.
        compressor: reranks the candidates.
        k: maximum number of documents; None uses `compressor.top_n`. `invoke(query, k=3)` overrides it.

    Both stages are traced as child runs. Raises what either stage raises.
    """

    base_retriever: RetrieverLike
    compressor: RerankCompressor
    k: Annotated[int | None, BeforeValidator(_checked_k_or_none)] = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **kwargs: Any
    ) -> list[Document]:
        compressor = self._cut_to(k)
        found = self.base_retriever.invoke(query, {"callbacks": run_manager.get_child()}, **kwargs)
        return compressor.compress_documents(found, query, callbacks=run_manager.get_child())

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None, **kwargs: Any
    ) -> list[Document]:
        compressor = self._cut_to(k)
        found = await self.base_retriever.ainvoke(query, {"callbacks": run_manager.get_child()}, **kwargs)
        return await compressor.acompress_documents(found, query, callbacks=run_manager.get_child())

    def _cut_to(self, k: int | None) -> RerankCompressor:
        top_n = self.k if k is None else _checked_k_or_none(k)
        return self.compressor if top_n is None else self.compressor.model_copy(update={"top_n": top_n})


def _document(hit: SearchHit) -> Document:
    metadata = without_scores(hit.metadata_beside({"title": hit.title, "source": hit.source}))
    known = {} if hit.score is None else {"retrieval_score": hit.score}
    return Document(page_content=hit.text, id=hit.id, metadata=metadata | known)
