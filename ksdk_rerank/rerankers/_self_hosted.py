"""Base of the rerankers on your own servers: the URL, the optional key and the kind of score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from ksdk_rerank._arguments import integer
from ksdk_rerank._transport.auth import ApiKey
from ksdk_rerank._transport.error_mapping import ErrorClass
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.urls import checked_url, endpoint_url
from ksdk_rerank.base import ScoreKind
from ksdk_rerank.rerankers._over_http import HttpReranker, checked_limit
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["SelfHostedReranker"]


class SelfHostedReranker(HttpReranker):
    """A reranker on the user's own server, which may require a key. Subclasses define what is specific to a server."""

    _service_name: ClassVar[str]
    _key_variable: ClassVar[str]
    _below_host: ClassVar[str] = "/rerank"
    _below_version: ClassVar[str | None] = "/rerank"
    _error_of_status: ClassVar[Mapping[int, ErrorClass]] = {}

    def __init__(
        self,
        url: str,
        model: str | None,
        api_key: str | SecretStr | None,
        raw_scores: bool,
        max_documents_per_request: int | None,
        timeout: float | Timeout,
        retries: int,
        client_factory: Callable[[], httpx.AsyncClient] | None,
    ) -> None:
        self.url = url
        self.model = model
        self.raw_scores = raw_scores
        self.score_kind = ScoreKind.LOGIT if raw_scores else ScoreKind.UNIT
        self.max_documents_per_request = checked_limit(max_documents_per_request, "max_documents_per_request")
        self.timeout = checked_timeout(timeout)
        self.retries = integer("retries", retries, at_least=0)
        self.client_factory = client_factory
        parts = checked_url(url)
        self._address = parts.netloc
        self._url = endpoint_url(parts, below_host=self._below_host, below_version=self._below_version)
        service = f"{self._service_name} at {self._address}"
        self._service = HttpService(
            service,
            key=None if api_key is None else ApiKey(api_key, service=service, variables=(self._key_variable,)),
            timeout=timeout,
            retries=retries,
            error_of_status=self._error_of_status,
            client_factory=client_factory,
        )

    @property
    def name(self) -> str:
        return f"{self._service_name.lower()}:{self.model or self._address}"

    def _body(self, **fields: object) -> dict[str, object]:
        """The request body: the model's name and `fields`. None values are left out, so no server gets a null."""
        return {name: value for name, value in {"model": self.model, **fields}.items() if value is not None}
