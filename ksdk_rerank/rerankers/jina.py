"""`JinaReranker`: Jina's hosted rerankers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import integer
from ksdk_rerank._transport.auth import key_for
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.urls import checked_url, endpoint_url
from ksdk_rerank.base import ScoreKind
from ksdk_rerank.rerankers._over_http import HttpReranker, checked_limit
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["JinaReranker"]

_BASE_URL = "https://api.jina.ai/v1"  # https://jina.ai/reranker, read 2026-11-23
_HOSTED = ("jina.ai",)
_KEY_VARIABLES = ("JINA_API_KEY", "JINAAI_API_KEY")


class JinaReranker(HttpReranker):
    """Jina's hosted rerankers, over HTTP (https://jina.ai/reranker, read 2026-11-23).

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        model: such as `"jina-reranker-v2-base-multilingual"`, `"jina-reranker-v3"` or `"jina-reranker-m0"`.
        api_key: by default from `JINA_API_KEY` or `JINAAI_API_KEY`. A server of your own at `base_url` may do without.
            A key from the environment is also sent to a custom `base_url`, because gateways need it.
        base_url: the API's URL: a host, a versioned root or a full endpoint, as in `ksdk_rerank.rerankers.server`.
        raw_scores: treat the scores of the server at `base_url` as logits; `score` is then their sigmoid. Jina's own
            scores are not logits.
        max_documents_per_request: a call with more documents is split into several concurrent requests. Jina documents
            no limit, so the default, None, never splits. A call to a listwise model is never split.
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry after a rate limit, a server error, or a slow or broken connection, within
            that time.
        client_factory: returns an `httpx.AsyncClient`, for proxies or certificates of your own. It is called once per
            concurrent request; the clients are reused, and closed for you.

    Raises:
        MissingKey: no key was given, none is in the environment, and `base_url` is Jina's own API.
        ValueError: the key, the URL or a number is malformed.

    `raw_score` is Jina's `relevance_score`. The cross-encoders (v2, m0) return values in [0, 1]. v3 returns a cosine,
    which is negative for irrelevant documents (https://huggingface.co/jinaai/jina-reranker-v3, read 2026-11-23).
    Documents are ordered by the cosine; `score` is 0 if it is negative. `usage` holds the billed tokens.

    v3 is listwise: it reads all documents of a request together, so each score depends on the other documents.
    Comparing scores across calls therefore means less than with a cross-encoder.
    """

    def __init__(
        self,
        model: str = "jina-reranker-v2-base-multilingual",
        *,
        api_key: str | SecretStr | None = None,
        base_url: str = _BASE_URL,
        raw_scores: bool = False,
        max_documents_per_request: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.raw_scores = raw_scores
        self.max_documents_per_request = checked_limit(max_documents_per_request, "max_documents_per_request")
        self.timeout = checked_timeout(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self.client_factory = client_factory
        self.pointwise = "reranker-v3" not in model
        self.score_kind = ScoreKind.UNIT if self.pointwise else ScoreKind.COSINE
        if raw_scores:
            self.score_kind = ScoreKind.LOGIT
        parts = checked_url(base_url, "base_url", example=_BASE_URL)
        self._url = endpoint_url(parts, below_host="/v1/rerank", below_version="/rerank")
        self._service = HttpService(
            "Jina",
            key=key_for(self._url, api_key, service="Jina", variables=_KEY_VARIABLES, hosted=_HOSTED),
            timeout=timeout,
            retries=retries,
            client_factory=client_factory,
        )

    @property
    def name(self) -> str:
        return f"jina:{self.model}"

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        # Without top_n, all documents are returned.
        return {"model": self.model, "query": query, "documents": list(documents), "return_documents": False}
