"""`KnowledgeSDKClient`: searches a knowledge base, synchronously or asynchronously."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import WrongType, check_query, flag, integer, text_or_none
from ksdk_rerank._closing import Closing
from ksdk_rerank._text.words import encodable
from ksdk_rerank._transport.auth import HeaderKey, key_for
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.urls import checked_url, endpoint_url, given_url, shown_url
from ksdk_rerank.errors import SearchUnavailable
from ksdk_rerank.knowledgesdk._parsing import parse_results
from ksdk_rerank.knowledgesdk.search_results import SearchResults
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["KEY_VARIABLES", "ClientOwner", "KnowledgeSDKClient", "account_of", "client_from"]

KEY_VARIABLES = ("KNOWLEDGESDK_API_KEY", "KNOWLEDGE_SDK_API_KEY", "KNOWLEDGE_API_KEY")
"""Environment variables that may hold the key, in order of preference."""

_BASE_URL = "https://api.knowledgesdk.com"  # https://knowledgesdk.com/docs/api-reference, read 2026-11
_HOSTED = ("knowledgesdk.com",)
_TIMEOUT = 20.0
_WHOLE_ADDRESS = re.compile(r"/v\d+/search$", re.ASCII)
_BASE_URL_VARIABLE = "KNOWLEDGESDK_BASE_URL"
_UNAVAILABLE = (404, 405, 410, 501)  # what a disabled endpoint or a wrong base URL may return

_log = logging.getLogger("ksdk_rerank")


class KnowledgeSDKClient(Closing):
    """Searches a KnowledgeSDK knowledge base: the fast, broad first stage.

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        api_key: a key with any prefix; by default from `KNOWLEDGESDK_API_KEY` (or `KNOWLEDGE_SDK_API_KEY`,
            `KNOWLEDGE_API_KEY`). It determines which data you see. Your own server at `base_url` may not need one.
            A key from the environment is also sent to a custom `base_url`, because gateways need it.
        base_url: the API's URL: a host with or without a path prefix, `/v1` or `/v1/search`. By default from
            `KNOWLEDGESDK_BASE_URL`, else the hosted API. A query string is kept, but one that seems to contain a
            secret is a `ValueError`.
        timeout: seconds per search, retries included, or a `Timeout`.
        retries: how many times to retry after a rate limit, a server error, or a slow or broken connection, within
            that time. Each attempt may be metered.
        empty_when_unavailable: if the service has search switched off, log a warning and return an empty result
            instead of raising `SearchUnavailable`.
        client_factory: returns a new `httpx.AsyncClient`, for proxies or certificates of your own. It is called once
            per concurrent request; the clients are reused, and closed for you.

    Raises:
        MissingKey: no key was given, none is in the environment, and `base_url` is the hosted API.
        ValueError: the key, the URL or a number is malformed.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        timeout: float | Timeout = _TIMEOUT,
        retries: int = 2,
        empty_when_unavailable: bool = False,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        origin, self.base_url = given_url(base_url, _BASE_URL_VARIABLE, _BASE_URL)
        self.timeout = checked_timeout(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self.client_factory = client_factory
        parts = checked_url(self.base_url, origin, example=_BASE_URL)
        self.url = endpoint_url(parts, below_host="/v1/search", below_version="/search", whole=_WHOLE_ADDRESS)
        self.empty_when_unavailable = flag("empty_when_unavailable", empty_when_unavailable)
        self._key = key_for(self.url, api_key, service="KnowledgeSDK", variables=KEY_VARIABLES, hosted=_HOSTED)
        self._service = HttpService(
            "KnowledgeSDK",
            auth=None if self._key is None else HeaderKey(self._key, "x-api-key", prefix=""),
            timeout=timeout,
            retries=retries,
            error_of_status=dict.fromkeys(_UNAVAILABLE, SearchUnavailable),
            client_factory=client_factory,
        )

    def search(
        self,
        query: str,
        limit: int = 20,
        *,
        api_key_id: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> SearchResults:
        """Find the candidates for `query`.

        Args:
            query: the search query; not blank.
            limit: maximum number of hits. KnowledgeSDK advises 20 before a reranker; 50 is the usual upper end.
            api_key_id: the service's "API key ID filter": an id, not a key.
            extra: further fields of the request body, sent unchanged.

        Returns:
            The hits in the service's order. Items without text are left out.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the query is blank, `limit` is less than 1, or `extra` contains `query`, `limit` or `apiKeyId`.
            SearchUnavailable: the service has no search at this URL. It was switched off for a while in May 2026.
            BadReply: no item in the reply has text, or the reply is otherwise unreadable.
            ServiceError: any other failure; see `ksdk_rerank.errors`.
        """
        body = _body(query, limit, api_key_id, extra)
        try:
            return self._read(self._service.post(self.url, body), query, limit)
        except SearchUnavailable as error:
            return self._unavailable(error, query)

    async def asearch(
        self,
        query: str,
        limit: int = 20,
        *,
        api_key_id: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> SearchResults:
        """Like `search`, on the running event loop."""
        body = _body(query, limit, api_key_id, extra)
        try:
            return self._read(await self._service.apost(self.url, body), query, limit)
        except SearchUnavailable as error:
            return self._unavailable(error, query)

    def close(self) -> None:
        """Close the connections of synchronous calls. Those of an event loop close with it or by `aclose`."""
        self._service.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._service.aclose()

    def _read(self, reply: JsonReply, query: str, limit: int) -> SearchResults:
        try:
            return parse_results(reply.data, query, limit)
        except ValueError as error:
            what = str(error)
        raise self._service.bad_reply(what, reply)  # outside `except`: no traceback must expose the payload

    def _unavailable(self, error: SearchUnavailable, query: str) -> SearchResults:
        if not self.empty_when_unavailable:
            raise error
        _log.warning("search is unavailable, so the result is empty: %s", error)
        return SearchResults((), query, 0)

    def __repr__(self) -> str:
        return f"KnowledgeSDKClient({shown_url(self.url)!r})"


def account_of(client: KnowledgeSDKClient) -> str:
    """A hash of the API key, because each account sees its own documents; "" if there is no key."""
    key = client._key
    return "" if key is None else hashlib.sha256(key.get_secret_value().encode()).hexdigest()


def _body(query: str, limit: int, api_key_id: str | None, extra: Mapping[str, object] | None) -> Mapping[str, object]:
    check_query(query)
    limit, api_key_id = integer("limit", limit), text_or_none("api_key_id", api_key_id)
    if extra is not None and not isinstance(extra, Mapping):
        raise WrongType(f"extra must be a mapping or None, got {type(extra).__name__}")
    if extra and (taken := {"query", "limit", "apiKeyId"} & extra.keys()):
        raise ValueError(f"extra must not contain {', '.join(sorted(taken))}; pass it as an argument of search")
    body = {"query": encodable(query), "limit": limit, **(extra or {})}
    return body if api_key_id is None else {**body, "apiKeyId": api_key_id}


class ClientOwner:
    """Base of both adapters' retrievers: shows their client's options in attributes of the same names."""

    if TYPE_CHECKING:
        client: KnowledgeSDKClient

    @property
    def base_url(self) -> str:
        """The client's base URL of the API."""
        return self.client.base_url

    @property
    def timeout(self) -> float | Timeout:
        """The client's limit for a whole search: seconds, or a `Timeout`."""
        return self.client.timeout


def client_from(
    client: KnowledgeSDKClient | None,
    api_key: str | SecretStr | None,
    base_url: str | None,
    timeout: float | Timeout | None,
) -> KnowledgeSDKClient:
    """`client`, or else a new one with the other arguments. Adapters accept either."""
    if client is None:
        return KnowledgeSDKClient(api_key, base_url=base_url, timeout=_TIMEOUT if timeout is None else timeout)
    if not isinstance(client, KnowledgeSDKClient):
        raise WrongType(f"client must be a KnowledgeSDKClient or None, got {type(client).__name__}")
    if not (api_key is None and base_url is None and timeout is None):
        raise ValueError("client has its own api_key, base_url and timeout; pass either the client or these")
    return client
