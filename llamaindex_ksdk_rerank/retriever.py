"""`KnowledgeSDKRetriever`: KnowledgeSDK search as a LlamaIndex retriever, the broad first stage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import SecretStr

from ksdk_rerank import KnowledgeSDKClient, SearchHit, Timeout
from ksdk_rerank._arguments import integer
from ksdk_rerank._fingerprint import distinct_ids
from ksdk_rerank._metadata import without_scores
from ksdk_rerank.knowledgesdk.client import ClientOwner, client_from

__all__ = ["KnowledgeSDKRetriever"]

_SERVICE_ID = "knowledgesdk_id"
_LLM_KEYS = {"title", "source"}
_EMBED_KEYS = {"title"}  # a URL misleads a reranker: felladrin/MiniSearch#2256


class KnowledgeSDKRetriever(ClientOwner, BaseRetriever):
    """Searches a KnowledgeSDK knowledge base for candidates, for a `RerankPostprocessor` to rerank.

    Args:
        similarity_top_k: maximum number of candidates; KnowledgeSDK advises 20 before a reranker. Can be reassigned.
        api_key, base_url, timeout: see `KnowledgeSDKClient`.
        client: your own client instead of these three, if you need its other options. `close` leaves it open.
        callback_manager: for legacy callbacks. Pickles and copies leave it out.

    Constructing it does no I/O. Threads and event loops may share it.

    Each hit becomes a `TextNode` with the hit's text and id. Its score becomes `NodeWithScore.score`, or None if the
    service sent none; compare scores only within one search. `node.metadata` has `title`, `source` and everything else
    the service sent. Nested values become JSON strings, because vector stores take only flat metadata. If the item's
    own metadata has another title or source, that becomes `metadata.title` or `metadata.source`. LLMs see the title and
    source, embedding models and rerankers only the title; the rest is for your code.

    LlamaIndex keeps only one node per id. If several hits have the same id, as passages of one item do, a hash of the
    text is appended to all ids but the first. All of these nodes then have the service's id in
    `node.metadata["knowledgesdk_id"]`.

    Raises:
        MissingKey: the hosted API is used, no key was given and none is in the environment.
        ValueError: an argument is invalid, or, when searching, the query is blank.
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
        self.similarity_top_k = similarity_top_k
        self.client = client_from(client, api_key, base_url, timeout)
        self._own_client = client is None
        super().__init__(callback_manager=callback_manager)

    @property
    def similarity_top_k(self) -> int:
        """Maximum number of candidates."""
        return self._similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, similarity_top_k: int) -> None:
        self._similarity_top_k = integer("similarity_top_k", similarity_top_k, advice="20 is usual")

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.client.search(query_bundle.query_str, self.similarity_top_k))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self.client.asearch(query_bundle.query_str, self.similarity_top_k))

    def __getstate__(self) -> dict[str, object]:
        # A handler may hold a connection or a key. The base class falls back to `Settings.callback_manager`.
        return {name: value for name, value in vars(self).items() if name != "callback_manager"}

    def close(self) -> None:
        """Close the connections of synchronous calls; no-op if you passed the client."""
        if self._own_client:
            self.client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; no-op if you passed the client."""
        if self._own_client:
            await self.client.aclose()


def _nodes(hits: Sequence[SearchHit]) -> list[NodeWithScore]:
    times = Counter(hit.id for hit in hits)
    ids = distinct_ids([hit.id for hit in hits], [hit.text for hit in hits])
    added = ({_SERVICE_ID: hit.id} if times[hit.id] > 1 else {} for hit in hits)
    return [_node(*each) for each in zip(hits, ids, added, strict=True)]


def _node(hit: SearchHit, node_id: str, added: dict[str, str]) -> NodeWithScore:
    metadata = without_scores(hit.metadata_beside({"title": hit.title, "source": hit.source, **added}))
    nested = {key: value for key, value in metadata.items() if isinstance(value, (dict, list))}
    metadata |= {key: json.dumps(value, ensure_ascii=False) for key, value in nested.items()}
    node = TextNode(
        id_=node_id,
        text=hit.text,
        metadata=metadata,
        excluded_embed_metadata_keys=[key for key in metadata if key not in _EMBED_KEYS],
        excluded_llm_metadata_keys=[key for key in metadata if key not in _LLM_KEYS],
    )
    return NodeWithScore(node=node, score=hit.score)
