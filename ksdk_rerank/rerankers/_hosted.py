"""`HostedReranker`: the base of the rerankers that call a service's own models, usually with an API key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from ksdk_rerank._arguments import text_or_none
from ksdk_rerank._transport.auth import ApiKey, Authentication, HeaderKey, key_for
from ksdk_rerank._transport.urls import checked_url, given_url
from ksdk_rerank.rerankers._remote import RemoteReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["HostedReranker"]


class HostedReranker(RemoteReranker):
    """A service's own models, usually called with an API key. Subclasses set the class attributes below.

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        model: the model's name.
        api_key: by default from the environment. A server of your own at `base_url` may do without. A key from the
            environment is also sent to a custom `base_url`, because gateways need it.
        base_url: the API's URL: a host, a versioned root or a full endpoint, as in `SelfHostedReranker`.
        raw_scores: treat the scores of the server at `base_url` as logits; `score` is then their sigmoid.
        max_documents_per_request: a call with more documents is split into several concurrent requests. None uses the
            service's documented limit; if there is none, a call is never split. Nor is a call to a listwise model.
        max_chars_per_document: truncate longer documents to this many characters before they are sent; counted in
            `Ranking.truncated`. None sends them whole.
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry after a rate limit, a server error, or a slow or broken connection, within
            that time.
        client_factory: returns a new `httpx.AsyncClient`, for proxies or certificates of your own. It is called once
            per concurrent request; the clients are reused, and closed for you.
        max_concurrency: how many requests may be under way at once, counting all rerankers in this process that set it
            and have the same host and key. Further requests wait, within `timeout`. None sets no limit.

    Raises:
        MissingKey: no key was given, none is in the environment, and `base_url` is the service's own API.
        ValueError: the key, the URL or a number is malformed.
    """

    model: str
    _default_model: ClassVar[str]
    _default_url: str
    _url_variable: ClassVar[str | None] = None
    _domains: ClassVar[Sequence[str]]  # on which a key is required
    _key_variables: ClassVar[Sequence[str]]

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        raw_scores: bool = False,
        max_documents_per_request: int | None = None,
        max_chars_per_document: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.model = text_or_none("model", model) or self._default_model
        self._adapt_to_model()
        origin, self.base_url = given_url(base_url, self._url_variable, self._default_url)
        url = checked_url(self.base_url, origin, example=self._default_url)
        key = key_for(
            url.geturl(), api_key, service=self._service_name, variables=self._key_variables, hosted=self._domains
        )
        super().__init__(
            self._service_name,
            url,
            None if key is None else self._authentication(key),
            raw_scores,
            max_documents_per_request,
            max_chars_per_document,
            timeout,
            retries,
            client_factory,
            max_concurrency,
        )

    def _adapt_to_model(self) -> None:
        """Set what depends on `model`, such as `_default_url`."""

    def _authentication(self, key: ApiKey) -> Authentication:
        return HeaderKey(key)
