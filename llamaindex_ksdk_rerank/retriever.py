"""`KnowledgeSDKRetriever`: KnowledgeSDK's search as a LlamaIndex retriever, the broad first stage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from ksdk_rerank import KnowledgeSDKClient, SearchHit, Timeout

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["KnowledgeSDKRetriever"]

_LLM_KEYS = {"title", "source"}
_EMBED_KEYS = {"title"}  # a URL misleads a reranker: felladrin/MiniSearch#2256


class KnowledgeSDKRetriever(BaseRetriever):
    """Fetches candidates from a KnowledgeSDK knowledge base; put a `RerankPostprocessor` behind it.

    It may be shared between threads and event loops. Constructing it does no I/O.

    Args:
        similarity_top_k: how many candidates at most. KnowledgeSDK advises 20 before a reranker.
        api_key: the key; by default from `KNOWLEDGESDK_API_KEY`, see `KnowledgeSDKClient`.
        base_url: where the API is, with or without `/v1`; by default from `KNOWLEDGESDK_BASE_URL`, else the hosted API.
        timeout: seconds for a whole search with its retries, or a `Timeout`; by default the client's.
        client: a client of your own instead of the last three, for its other options. It stays open on `close`.
        callback_manager: for legacy callbacks.

    Each hit becomes a `TextNode` with the hit's id and text, and its score as `NodeWithScore.score` (None where the
    service sends none; compare scores within one search only). `node.metadata` has `title`, `source` and whatever
    else the service sent; nested values are JSON strings there, as vector stores take flat metadata only. An LLM sees
    the title and the source, embedding models and rerankers see the title; the rest is for your code.

    Raises:
        MissingKey: no key was given and none is in the environment.
        ValueError: `similarity_top_k` is less than 1, the key or the URL is malformed, or a client is given together
            with what it is made of; on use, the query is blank.
        ServiceError: the search failed; see `ksdk_rerank.errors`.
    """

    def __init__(
        self,
        *,
        similarity_top_k: int = 20,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout: float | Timeout | None = None,
        client: KnowledgeSDKClient | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if isinstance(similarity_top_k, bool) or not isinstance(similarity_top_k, int) or similarity_top_k < 1:
            raise ValueError(f"similarity_top_k must be at least 1, got {similarity_top_k!r}; 20 is usual")
        if client is not None and not (api_key is None and base_url is None and timeout is None):
            raise ValueError("client has its own api_key, base_url and timeout; pass either the client or these")
        self.similarity_top_k = similarity_top_k
        self._own_client = client is None
        limited: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        self._client = client or KnowledgeSDKClient(api_key, base_url=base_url, **limited)
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in self._client.search(query_bundle.query_str, self.similarity_top_k)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in await self._client.asearch(query_bundle.query_str, self.similarity_top_k)]

    def close(self) -> None:
        """Close the connections of synchronous calls, unless the client is yours."""
        if self._own_client:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, unless the client is yours."""
        if self._own_client:
            await self._client.aclose()


def _node(hit: SearchHit) -> NodeWithScore:
    named = {"title": hit.title, "source": hit.source}
    metadata = {key: value for key, value in named.items() if value is not None}
    metadata = {**metadata, **{key: _flat(value) for key, value in hit.metadata.items() if key not in metadata}}
    node = TextNode(
        id_=hit.id,
        text=hit.text,
        metadata=metadata,
        excluded_embed_metadata_keys=[key for key in metadata if key not in _EMBED_KEYS],
        excluded_llm_metadata_keys=[key for key in metadata if key not in _LLM_KEYS],
    )
    return NodeWithScore(node=node, score=hit.score)


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
