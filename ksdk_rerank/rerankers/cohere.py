"""`CohereReranker`: Cohere's hosted rerankers, through the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from ksdk_rerank._arguments import integer
from ksdk_rerank._transport.auth import key_for
from ksdk_rerank._transport.service import HttpService, Reply
from ksdk_rerank._transport.urls import checked_url, endpoint_url, given_url
from ksdk_rerank.base import ScoreKind, Scores
from ksdk_rerank.errors import MissingExtra
from ksdk_rerank.rerankers._indexed import scores_by_index, usage_of
from ksdk_rerank.rerankers._over_http import HttpReranker, checked_limit
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["CohereReranker"]

_BASE_URL = "https://api.cohere.com"  # https://docs.cohere.com/reference/rerank, read 2026-11-23
_BASE_URL_VARIABLE = "CO_API_URL"  # the SDK's own variable, which it reads only once, on import
_HOSTED = ("cohere.com", "cohere.ai")
_KEY_VARIABLES = ("CO_API_KEY", "COHERE_API_KEY")  # in the SDK's order


class CohereReranker(HttpReranker):
    """Cohere's hosted rerankers (https://docs.cohere.com/reference/rerank, read 2026-11-23).

    Needs `pip install "ksdk-rerank[cohere]"`: the official SDK, version 5.15 or later, 6 or 7. The SDK builds the
    request, and this library sends it over its own connections. So deadlines, retries, reply checks and errors are the
    same as for every other service. The SDK's own retries are off.

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        model: such as `"rerank-v5.0-pro"`, `"rerank-v5.0-fast"` (https://docs.cohere.com/changelog/rerank-v5, read
            2026-11-26), `"rerank-v4.0-pro"` or `"rerank-v3.5"`. Scores of different models are not comparable, so
            check `min_score` again when you change the model.
        api_key: by default from `CO_API_KEY` or `COHERE_API_KEY`. A server of your own at `base_url` may do without.
            A key from the environment is also sent to a custom `base_url`, because gateways need it.
        base_url: the API's URL; by default from `CO_API_URL`, else the hosted API. On a host or a versioned root,
            requests go to `/v2/rerank`; a full endpoint is used as is. See `ksdk_rerank.rerankers.server`.
        raw_scores: treat the scores of the server at `base_url` as logits; `score` is then their sigmoid. Cohere's
            own scores are not logits.
        max_tokens_per_doc: truncate documents to this many tokens. None leaves it to the service, which truncates
            to 4096.
        max_documents_per_request: a call with more documents is split into several concurrent requests; None never
            splits. Cohere advises at most 1,000 and bills per hundred, so splitting there costs nothing extra. It
            accepts at most 10,000 (https://docs.cohere.com/docs/reranking-best-practices, read 2026-11-26).
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry after a rate limit, a server error, or a slow or broken connection, within
            that time.
        client_factory: returns an `httpx.AsyncClient`, for proxies or certificates of your own. It is called once per
            concurrent request; the clients are reused, and closed for you.

    Raises:
        MissingExtra: the SDK is not installed.
        MissingKey: no key was given, none is in the environment, and `base_url` is Cohere's own API.
        ValueError: the key, the URL or a number is malformed.

    `raw_score` is Cohere's `relevance_score`, in [0, 1], and `score` equals it. `usage` holds the billed units, such as
    `{"search_units": 1.0}`. Cohere does not report how many documents it truncated, so `Ranking.truncated` stays 0.
    """

    def __init__(
        self,
        model: str = "rerank-v3.5",
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        raw_scores: bool = False,
        max_tokens_per_doc: int | None = None,
        max_documents_per_request: int | None = 1000,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        _sdk_client()
        self.model = model
        origin, self.base_url = given_url(base_url, _BASE_URL_VARIABLE, _BASE_URL)
        self.raw_scores = raw_scores
        self.score_kind = ScoreKind.LOGIT if raw_scores else ScoreKind.UNIT
        self.max_tokens_per_doc = checked_limit(max_tokens_per_doc, "max_tokens_per_doc")
        self.max_documents_per_request = checked_limit(max_documents_per_request, "max_documents_per_request")
        self.timeout = checked_timeout(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self.client_factory = client_factory
        parts = checked_url(self.base_url, origin, example=_BASE_URL)
        self._url = endpoint_url(parts, below_host="/v2/rerank", below_version=None)
        self._service = HttpService(
            "Cohere",
            key=key_for(self._url, api_key, service="Cohere", variables=_KEY_VARIABLES, hosted=_HOSTED),
            timeout=timeout,
            retries=retries,
            client_factory=client_factory,
        )

    @property
    def name(self) -> str:
        return f"cohere:{self.model}"

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        # The SDK sends None as null, so unused fields are left out. Without top_n, all documents are returned.
        body: dict[str, object] = {"model": self.model, "query": query, "documents": list(documents)}
        return body if self.max_tokens_per_doc is None else {**body, "max_tokens_per_doc": self.max_tokens_per_doc}

    def _parse(self, data: object, count: int) -> Scores:
        if not isinstance(data, dict):
            raise ValueError("the reply is not a JSON object")
        meta = data.get("meta")
        billed = meta.get("billed_units") if isinstance(meta, dict) else None
        return Scores(scores_by_index(data.get("results"), count), usage=usage_of(billed))

    async def _send(self, body: dict[str, object]) -> Reply:
        carrier = _Carrier(self._service, self._url)
        client = _sdk_client()(
            "added-on-the-way",  # the SDK never holds the key, so its objects and messages cannot show it
            base_url=_BASE_URL,  # the SDK appends its own path, so the carrier sets the real URL, too
            client_name="ksdk-rerank",
            httpx_client=httpx.AsyncClient(transport=carrier),
            log_warning_experimental_features=False,
        )
        await client.rerank(**body, request_options={"max_retries": 0})
        assert carrier.reply is not None, "the SDK returned without asking"
        return carrier.reply


class _Carrier(httpx.AsyncBaseTransport):
    """Sends the SDK's single request through our `HttpService` to the right URL, and keeps the raw reply.

    The SDK itself gets an empty list of results. Its own result objects apply `int(index)`, which would turn `true`
    into document 1 and `"0"` into document 0, and building them takes longer than the rest of the call.
    """

    def __init__(self, service: HttpService, url: str) -> None:
        self._service = service
        self._url = url
        self.reply: Reply | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kept = ("accept", "content-type", "user-agent", "x-client-name")
        headers = {name: value for name, value in request.headers.items() if name in kept or name.startswith("x-fern")}
        self.reply = await self._service.asend(self._url, await request.aread(), headers)
        return httpx.Response(200, json={"results": []})


def _sdk_client() -> Callable[..., Any]:
    try:
        from cohere import AsyncClientV2
    except ImportError as error:
        raise MissingExtra.of("cohere", "CohereReranker") from error
    return AsyncClientV2
