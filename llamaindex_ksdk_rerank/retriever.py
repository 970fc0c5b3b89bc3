"""`KnowledgeSDKRetriever`: KnowledgeSDK's search as a LlamaIndex retriever, the broad first stage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence, Set
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from ksdk_rerank import KnowledgeSDKClient, SearchHit, Timeout
from ksdk_rerank._arguments import integer
from ksdk_rerank._fingerprint import digest
from ksdk_rerank._metadata import without_scores

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["KnowledgeSDKRetriever"]

_SERVICE_ID = "knowledgesdk_id"
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

    Each hit becomes a `TextNode` with the hit's text and id, and its score as `NodeWithScore.score` (None if the
    service sends none; compare scores within one search only). `node.metadata` has `title`, `source` and whatever
    else the service sent; nested values are JSON strings there, as vector stores take flat metadata only. If the
    service's metadata has another title or source, that one is called `metadata.title` or `metadata.source`. An LLM
    sees the title and the source, embedding models and rerankers see the title; the rest is for your code.

    LlamaIndex keeps one node of each id. If several hits of a search have the same id, as passages of one item may,
    those after the first get an id made of the service's and their text, the same in every search, and all of them
    have the service's as `node.metadata["knowledgesdk_id"]`.

    Raises:
        MissingKey: no key was given and none is in the environment.
        ValueError: `similarity_top_k` is no integer of at least 1, also when it is assigned to; the key or the URL is
            malformed, or a client is given together with what it is made of; on use, the query is blank.
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
        if client is not None and not (api_key is None and base_url is None and timeout is None):
            raise ValueError("client has its own api_key, base_url and timeout; pass either the client or these")
        self.similarity_top_k = similarity_top_k
        self._own_client = client is None
        limited: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        self._client = client or KnowledgeSDKClient(api_key, base_url=base_url, **limited)
        super().__init__(callback_manager=callback_manager)

    @property
    def similarity_top_k(self) -> int:
        """How many candidates at most. It can be assigned to."""
        return self._similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, similarity_top_k: int) -> None:
        self._similarity_top_k = integer("similarity_top_k", similarity_top_k, advice="20 is usual")

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self._client.search(query_bundle.query_str, self.similarity_top_k))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self._client.asearch(query_bundle.query_str, self.similarity_top_k))

    @property
    def client(self) -> KnowledgeSDKClient:
        """What searches: yours, or one made of the other arguments."""
        return self._client

    @property
    def base_url(self) -> str:
        """Where the client finds the API."""
        return self._client.base_url

    @property
    def timeout(self) -> float | Timeout:
        """Seconds that the client gives a whole search, or a `Timeout`."""
        return self._client.timeout

    def close(self) -> None:
        """Close the connections of synchronous calls, unless the client is yours."""
        if self._own_client:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, unless the client is yours."""
        if self._own_client:
            await self._client.aclose()


def _nodes(hits: Sequence[SearchHit]) -> list[NodeWithScore]:
    """A node for each hit, no two of one id: of those LlamaIndex keeps the first and drops the others."""
    shared = {id for id, count in Counter(hit.id for hit in hits).items() if count > 1}
    taken = {hit.id for hit in hits}
    seen: set[str] = set()
    nodes = []
    for hit in hits:
        node_id = hit.id if hit.id not in seen else _other_id(hit, taken)
        seen.add(hit.id)
        taken.add(node_id)
        nodes.append(_node(hit, node_id, {_SERVICE_ID: hit.id} if hit.id in shared else {}))
    return nodes


def _other_id(hit: SearchHit, taken: Set[str]) -> str:
    """An id for a further passage of one item, made of its text, so that the same passage has the same one."""
    made = f"{hit.id}#{digest(hit.text.encode(errors='replace').decode())[:12]}"
    return next(id for id in chain([made], (f"{made}-{number}" for number in count(2))) if id not in taken)


def _node(hit: SearchHit, node_id: str, added: dict[str, str]) -> NodeWithScore:
    sent = without_scores(hit.metadata_beside({"title": hit.title, "source": hit.source, **added}))
    metadata = {key: _flat(value) for key, value in sent.items()}
    node = TextNode(
        id_=node_id,
        text=hit.text,
        metadata=metadata,
        excluded_embed_metadata_keys=[key for key in metadata if key not in _EMBED_KEYS],
        excluded_llm_metadata_keys=[key for key in metadata if key not in _LLM_KEYS],
    )
    return NodeWithScore(node=node, score=hit.score)


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
