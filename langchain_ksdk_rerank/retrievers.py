"""Retrievers: KnowledgeSDK search, and any retriever followed by a reranker."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import BeforeValidator, SecretStr

from ksdk_rerank import KnowledgeSDKClient, SearchHit, Timeout
from ksdk_rerank._arguments import integer, integer_or_none
from ksdk_rerank._metadata import without_scores
from ksdk_rerank.knowledgesdk.client import ClientOwner, client_from
from langchain_ksdk_rerank.compressor import RerankCompressor

__all__ = ["KnowledgeSDKRetriever", "RerankedRetriever"]

_checked_limit = partial(integer, "k", advice="KnowledgeSDK advises 20 before a reranker")
_checked_top_n = partial(integer_or_none, "k", advice="None leaves it to compressor.top_n")


class KnowledgeSDKRetriever(ClientOwner, BaseRetriever, validate_assignment=True, hide_input_in_errors=True):
    """Searches a KnowledgeSDK knowledge base for candidates: the first stage, before a reranker.

    Args:
        k: maximum number of documents; KnowledgeSDK advises 20 before a reranker. `invoke(query, k=3)` overrides it.
        api_key, base_url, timeout: see `KnowledgeSDKClient`. The key never appears in a `repr`, pickle or trace.
        client: your own client instead of these three, if you need its other options. You close it.
        api_key_id, extra: see `KnowledgeSDKClient.search`.
        name, tags, metadata: LangChain's own.

    Each document has the hit's id and text. Its metadata has everything else the service sent, such as `title` and
    `source`, and this search's score as `retrieval_score`: a float with no fixed range; higher is better. If the item's
    own metadata has another title or source, that becomes `metadata.title` or `metadata.source`. Scores that it has
    under our keys are dropped.

    Raises what `KnowledgeSDKClient` raises. Safe to share between threads and event loops.
    """

    k: Annotated[int, BeforeValidator(_checked_limit)]
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
        client = client_from(client, api_key, base_url, timeout)
        values: dict[str, Any] = {"k": k, "client": client, "api_key_id": api_key_id, "extra": extra}
        super().__init__(**values, name=name, tags=tags, metadata=metadata)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return {**super()._get_ls_params(**kwargs), "ls_vector_store_provider": "KnowledgeSDK"}

    def _get_relevant_documents(self, query: str, *, run_manager: Any, k: int | None = None) -> list[Document]:
        return [_document(hit) for hit in self.client.search(query, **self._options(k))]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any, k: int | None = None) -> list[Document]:
        return [_document(hit) for hit in await self.client.asearch(query, **self._options(k))]

    def _options(self, k: int | None) -> dict[str, Any]:
        limit = self.k if k is None else _checked_limit(k)
        return {"limit": limit, "api_key_id": self.api_key_id, "extra": self.extra}


class RerankedRetriever(BaseRetriever, extra="forbid", validate_assignment=True, hide_input_in_errors=True):
    """Retrieves many candidates, reranks them and returns the best few, best first.

    Args:
        base_retriever: finds the candidates; set their number there. It receives every `invoke` argument except `k`.
        compressor: reranks the candidates.
        k: maximum number of documents; None uses `compressor.top_n`. `invoke(query, k=3)` overrides it.

    Both stages are traced as child runs. Raises what either stage raises.
    """

    base_retriever: RetrieverLike
    compressor: RerankCompressor
    k: Annotated[int | None, BeforeValidator(_checked_top_n)] = None

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
        top_n = _checked_top_n(self.k if k is None else k)
        return self.compressor if top_n is None else self.compressor.model_copy(update={"top_n": top_n})


def _document(hit: SearchHit) -> Document:
    metadata = without_scores(hit.metadata_beside({"title": hit.title, "source": hit.source}))
    known = {} if hit.score is None else {"retrieval_score": hit.score}
    return Document(page_content=hit.text, id=hit.id, metadata=metadata | known)
