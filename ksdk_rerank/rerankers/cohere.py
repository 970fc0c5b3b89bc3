"""`CohereReranker`: Cohere's hosted rerankers, through the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from ksdk_rerank._arguments import integer_or_none
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank.errors import MissingExtra
from ksdk_rerank.rerankers._hosted import HostedReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["CohereReranker"]


class CohereReranker(HostedReranker):
    """Cohere's hosted rerankers (https://docs.cohere.com/reference/rerank, read 2026-11-23).

    Needs `pip install "ksdk-rerank[cohere]"`: the official SDK, version 5.15 or later, 6 or 7. The SDK builds the
    request, and this library sends it over its own connections. So deadlines, retries, reply checks and errors are the
    same as for every other service. The SDK's own retries are off.

    Args:
        model: such as `"rerank-v5.0-pro"`, `"rerank-v5.0-fast"` (https://docs.cohere.com/changelog/rerank-v5, read
            2026-11-26), `"rerank-v4.0-pro"` or `"rerank-v3.5"`. Scores of different models are not comparable, so
            check `min_score` again when you change the model. `HostedReranker` documents the other arguments.
        api_key: by default from `CO_API_KEY` or `COHERE_API_KEY`.
        base_url: by default from `CO_API_URL`, else the hosted API. On a host or a versioned root, requests go to
            `/v2/rerank`.
        max_tokens_per_document: have the service truncate documents to this many tokens. By default it truncates to
            4096.
        max_documents_per_request: a call with more documents is split into several concurrent requests; None never
            splits. Cohere advises at most 1,000 and bills per hundred, so splitting there costs nothing extra. It
            accepts at most 10,000 (https://docs.cohere.com/docs/reranking-best-practices, read 2026-11-26).

    Raises:
        MissingExtra: the SDK is not installed.

    `raw_score` is Cohere's `relevance_score`, in [0, 1], and `score` equals it. `usage` holds the billed units, such as
    `{"search_units": 1.0}`. Cohere does not report how many documents it truncated, so `Ranking.truncated` counts only
    those longer than `max_chars_per_document`.
    """

    _service_name = "Cohere"
    _default_model = "rerank-v3.5"
    _default_url = "https://api.cohere.com"  # https://docs.cohere.com/reference/rerank, read 2026-11-23
    _url_variable = "CO_API_URL"  # the SDK's own variable, which it reads only once, on import
    _domains = ("cohere.com", "cohere.ai")
    _key_variables = ("CO_API_KEY", "COHERE_API_KEY")  # in the SDK's order
    _below_host = "/v2/rerank"
    _below_version = None
    _billed = ("meta", "billed_units")

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        raw_scores: bool = False,
        max_tokens_per_document: int | None = None,
        max_documents_per_request: int | None = 1000,
        max_chars_per_document: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        _sdk_client()
        self.max_tokens_per_document = integer_or_none("max_tokens_per_document", max_tokens_per_document)
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            raw_scores=raw_scores,
            max_documents_per_request=max_documents_per_request,
            max_chars_per_document=max_chars_per_document,
            timeout=timeout,
            retries=retries,
            client_factory=client_factory,
            max_concurrency=max_concurrency,
        )

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {**super()._build(query, documents), "max_tokens_per_doc": self.max_tokens_per_document}

    async def _send(self, body: dict[str, object]) -> JsonReply:
        carrier = _Carrier(self._service, self._url)
        client = _sdk_client()(
            "added-on-the-way",  # the SDK never holds the key, so its objects and messages cannot show it
            base_url=self._default_url,  # the SDK appends its own path, so the carrier sets the real URL, too
            client_name="ksdk-rerank",
            httpx_client=httpx.AsyncClient(transport=carrier),
            log_warning_experimental_features=False,
        )
        await client.rerank(**body, request_options={"max_retries": 0})
        assert carrier.reply is not None, "the SDK returned without sending a request"
        return carrier.reply


class _Carrier(httpx.AsyncBaseTransport):
    """Sends the SDK's single request through our `HttpService` to the right URL, and keeps the raw reply.

    The SDK itself gets an empty list of results. Its own result objects apply `int(index)`, which would turn `true`
    into document 1 and `"0"` into document 0, and building them takes longer than the rest of the call.
    """

    def __init__(self, service: HttpService, url: str) -> None:
        self._service = service
        self._url = url
        self.reply: JsonReply | None = None

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
