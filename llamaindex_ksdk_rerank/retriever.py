"""`KnowledgeSDKRetriever`: KnowledgeSDK search as a LlamaIndex retriever, the broad first stage."""

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
    """Searches a KnowledgeSDK knowledge base for candidates; put a `RerankPostprocessor` behind it.

    Safe to share between threads and event loops. Constructing it does no I/O.

    Args:
        similarity_top_k: maximum number of candidates; KnowledgeSDK advises 20 before a reranker.
        api_key: the key; by default from `KNOWLEDGESDK_API_KEY`, see `KnowledgeSDKClient`.
        base_url: the API's URL, with or without `/v1`; by default from `KNOWLEDGESDK_BASE_URL`, else the hosted API.
        timeout: seconds for a whole search including retries, or a `Timeout`; by default the client's.
        client: your own client instead of these three, if you need its other options. `close` leaves it open.
        callback_manager: for legacy callbacks.

    Each hit becomes a `TextNode` with the hit's text and id. Its score becomes `NodeWithScore.score`, or None if the
    service sent none; compare scores only within one search. `node.metadata` holds `title`, `source` and everything
    else the service sent. Nested values become JSON strings, because vector stores take only flat metadata. If the
    service's metadata has a different title or source, that becomes `metadata.title` or `metadata.source`. LLMs see the
    title and source, embedding models and rerankers only the title; the rest is for your code.

    LlamaIndex keeps only one node per id, but hits may share one, such as passages of one item. The first keeps the
    service's id. Each later hit gets that id plus a hash of its text, which is the same in every search. All of them
    carry the service's id in `node.metadata["knowledgesdk_id"]`.

    Raises:
        MissingKey: the hosted API is used, no key was given and none is in the environment.
        ValueError: `similarity_top_k` is not an integer of at least 1, in the constructor or when reassigned; the key
            or the URL is malformed; `client` comes with a key, URL or timeout; or, when searching, the query is blank.
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
        """Maximum number of candidates; can be reassigned."""
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
        """The client that searches: yours, or one built from the other arguments."""
        return self._client

    @property
    def base_url(self) -> str:
        """The client's base URL of the API."""
        return self._client.base_url

    @property
    def timeout(self) -> float | Timeout:
        """The client's limit for a whole search: seconds, or a `Timeout`."""
        return self._client.timeout

    def close(self) -> None:
        """Close the connections of synchronous calls; no-op if you passed the client."""
        if self._own_client:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; no-op if you passed the client."""
        if self._own_client:
            await self._client.aclose()


def _nodes(hits: Sequence[SearchHit]) -> list[NodeWithScore]:
    """Make one node per hit, each with a unique id: LlamaIndex drops all but the first node with the same id."""
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
    """An id for a later passage of an item, derived from its text so that a passage always gets the same id."""
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
