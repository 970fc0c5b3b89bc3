"""`SelfHostedReranker`: the base of the rerankers for servers that people run themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from ksdk_rerank._arguments import text_or_none
from ksdk_rerank._transport.auth import ApiKey, HeaderKey
from ksdk_rerank._transport.urls import checked_url
from ksdk_rerank.rerankers._remote import RemoteReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["SelfHostedReranker"]


class SelfHostedReranker(RemoteReranker):
    """A model on a server of your own, which may require a key. Subclasses define what is specific to the server.

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        url: a host with or without a path prefix (`http://host:8080`, `http://host/prefix`), a versioned root
            (`http://host:8080/v1`) or a full endpoint. A path is a full endpoint if it ends in an endpoint's name
            (`/api/rerank`, `/score`) or in one name after a version (`/v1/anything`); it is used as is. To any other
            path the server's own endpoint is appended. A query string is kept, but one that seems to contain a secret
            is a `ValueError`.
        model: optional if the server has one model.
        api_key: needed only if the server requires one. It is never read from the environment, except by an unpickled
            copy, which holds no key: it reads the variable that the server itself uses.
        truncate: truncate documents to the model's window. If False, a longer document raises `BadRequest`.
        raw_scores: request logits; `score` is then their sigmoid in 64 bits, as with `CrossEncoderReranker`. By default
            `raw_score` is the server's score in [0, 1], computed in 32 bits. A score outside [0, 1] then raises
            `BadReply`, as it is probably a logit.
        max_documents_per_request: a call with more documents is split into several requests, eight at a time, under one
            deadline; `usage` is the sum. None never splits, nor is a call to the listwise jina-reranker-v3 ever split.
        max_chars_per_document: truncate longer documents to this many characters before they are sent; counted in
            `Ranking.truncated`. None sends them whole.
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry a transient failure, within that time.
        client_factory: returns a new `httpx.AsyncClient`. It is called once per concurrent request; the clients are
            reused, and closed for you.

    Raises:
        ValueError: the key, the URL or a number is malformed.

    The server truncates documents longer than the model's window, and does not report how many. `Ranking.truncated`
    counts only documents that are truncated before they are sent: those longer than `max_chars_per_document`, or than
    the server accepts.
    """

    _key_variable: ClassVar[str]

    def __init__(
        self,
        url: str,
        model: str | None,
        api_key: str | SecretStr | None,
        raw_scores: bool,
        max_documents_per_request: int | None,
        max_chars_per_document: int | None,
        timeout: float | Timeout,
        retries: int,
        client_factory: Callable[[], httpx.AsyncClient] | None,
    ) -> None:
        self.url = url
        self.model = text_or_none("model", model)
        parts = checked_url(url)
        service = f"{self._service_name} at {parts.netloc}"
        key = None if api_key is None else ApiKey(api_key, service=service, variables=(self._key_variable,))
        super().__init__(
            service,
            parts,
            None if key is None else HeaderKey(key),
            raw_scores,
            max_documents_per_request,
            max_chars_per_document,
            timeout,
            retries,
            client_factory,
        )
