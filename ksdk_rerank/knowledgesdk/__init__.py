"""First-stage retrieval with KnowledgeSDK's hybrid search, `POST /v1/search`."""

from ksdk_rerank.knowledgesdk.client import KnowledgeSDKClient
from ksdk_rerank.knowledgesdk.search_results import SearchHit, SearchResults

__all__ = ["KnowledgeSDKClient", "SearchHit", "SearchResults"]
