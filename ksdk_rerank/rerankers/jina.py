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

    It may be shared between threads and event loops. Constructing it does no I/O.

    Args:
        model: such as `"jina-reranker-v2-base-multilingual"`, `"jina-reranker-v3"` or `"jina-reranker-m0"`.
        api_key: the key; by default from `JINA_API_KEY` or `JINAAI_API_KEY`. A server of your own at `base_url` needs
            none. A key from the environment is sent to `base_url`, too: a gateway wants it.
        base_url: where the API is: a host, a versioned root or a whole address, as in `ksdk_rerank.rerankers.server`.
        raw_scores: read the scores of the server at `base_url` as logits, of which `score` is the sigmoid. Jina's own
            are none.
        max_documents_per_request: more documents than this are sent as several requests, side by side. Jina documents
            no limit, so None, the default, never splits. A listwise model is not split whatever this says.
        timeout: seconds for the whole call with its retries, or a `Timeout`.
        retries: how many more attempts a rate limit, a server error or a broken connection gets within that time.
        client_factory: makes an `httpx.AsyncClient`, for proxies or certificates of your own. It is called once for
            each request that is under way at a time, and what it makes is closed.

    Raises:
        MissingKey: no key was given, none is in the environment, and `base_url` is Jina's own API.
        ValueError: the key, the URL or a number is malformed.

    `raw_score` is Jina's `relevance_score`. The cross-encoders (v2, m0) give [0, 1]. v3 gives a cosine, which is
    negative for what is off the subject (https://huggingface.co/jinaai/jina-reranker-v3, read 2026-11-23): the order
    is by the cosine, and `score` is 0 where it is negative. `usage` holds the tokens billed.

    v3 reads all documents of a request together (it is listwise): a score depends on the others in the request, and
    comparing scores across calls means less than with a cross-encoder.
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
        # top_n is left out: all documents are returned then.
        return {"model": self.model, "query": query, "documents": list(documents), "return_documents": False}
