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
_BASE_URL_VARIABLE = "CO_API_URL"  # the SDK's own, which it reads once, when it is imported
_HOSTED = ("cohere.com", "cohere.ai")
_KEY_VARIABLES = ("CO_API_KEY", "COHERE_API_KEY")  # in the SDK's order


class CohereReranker(HttpReranker):
    """Cohere's hosted rerankers (https://docs.cohere.com/reference/rerank, read 2026-11-23).

    Needs `pip install "ksdk-rerank[cohere]"`: the official SDK, version 5.15 or later, 6 or 7. The SDK makes the
    request; it travels over this library's own connections, so deadlines, retries, checks of the reply and errors are
    the same as with every other service, and the SDK's retries are off.

    It may be shared between threads and event loops. Constructing it does no I/O.

    Args:
        model: such as `"rerank-v5.0-pro"`, `"rerank-v5.0-fast"` (https://docs.cohere.com/changelog/rerank-v5, read
            2026-11-26), `"rerank-v4.0-pro"` or `"rerank-v3.5"`. Scores of two models are not comparable, so look at
            `min_score` again when you change it.
        api_key: the key; by default from `CO_API_KEY` or `COHERE_API_KEY`. A server of your own at `base_url` needs
            none. A key from the environment is sent to `base_url`, too: a gateway wants it.
        base_url: where the API is; by default from `CO_API_URL`, else the hosted API. Of a host or a versioned root
            `/v2/rerank` is asked, and a whole address as it is; see `ksdk_rerank.rerankers.server`.
        raw_scores: read the scores of the server at `base_url` as logits, of which `score` is the sigmoid. Cohere's
            own are none.
        max_tokens_per_doc: cut documents after so many tokens; None leaves it to the service, which cuts after 4096.
        max_documents_per_request: more documents than this are sent as several requests, side by side; None never
            splits. Cohere advises against more than 1,000 and bills by the hundred, so splitting there costs nothing.
            It accepts 10,000 at most (https://docs.cohere.com/docs/reranking-best-practices, read 2026-11-26).
        timeout: seconds for the whole call with its retries, or a `Timeout`.
        retries: how many more attempts a rate limit, a server error or a broken connection gets within that time.
        client_factory: makes an `httpx.AsyncClient`, for proxies or certificates of your own. It is called once for
            each request that is under way at a time, and what it makes is closed.

    Raises:
        MissingExtra: the SDK is not installed.
        MissingKey: no key was given, none is in the environment, and `base_url` is Cohere's own API.
        ValueError: the key, the URL or a number is malformed.

    `raw_score` is Cohere's `relevance_score`, in [0, 1], and `score` the same. `usage` holds the units billed, such as
    `{"search_units": 1.0}`. Cohere does not say how many documents it cut, so `Ranking.truncated` stays 0.
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
        # The SDK sends None as null, so what is not asked for is left out; without top_n all are returned.
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
            base_url=_BASE_URL,  # it appends a path of its own, so the address is added on the way, too
            client_name="ksdk-rerank",
            httpx_client=httpx.AsyncClient(transport=carrier),
            log_warning_experimental_features=False,
        )
        await client.rerank(**body, request_options={"max_retries": 0})
        assert carrier.reply is not None, "the SDK returned without asking"
        return carrier.reply


class _Carrier(httpx.AsyncBaseTransport):
    """Takes the SDK's one request to our `HttpService` and the right address, and keeps the reply as it came.

    The SDK itself is handed an empty list of results. Its own objects have `int(index)`, so that `true` would become
    document 1 and `"0"` document 0, and making them takes longer than the rest of the call.
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
