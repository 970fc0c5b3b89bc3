"""Bases of the rerankers that call a service: `HostedReranker` and `SelfHostedReranker`, over one `RemoteReranker`.

A leaf names its service and implements a pure `_build`; CONTRIBUTING.md has a complete example.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import SplitResult

from ksdk_rerank._transport.auth import ApiKey, Authentication, HeaderKey, key_for
from ksdk_rerank._transport.error_mapping import ErrorClass
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.sync_bridge import run_in_background
from ksdk_rerank._transport.urls import checked_url, endpoint_url, given_url
from ksdk_rerank.base import ScoreKind, Scores, ScoringReranker, outside_its_range
from ksdk_rerank.errors import BadReply
from ksdk_rerank.rerankers._limits import Limits, checked_limit, merged
from ksdk_rerank.rerankers._parsing import ListCut, has_results, scores_by_index, usage_of
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["HostedReranker", "RemoteReranker", "SelfHostedReranker"]

_log = logging.getLogger("ksdk_rerank")


class RemoteReranker(ScoringReranker):
    """A leaf that calls a service. Subclasses implement `_build` and, if their reply differs, `_parse`.

    Attributes:
        raw_scores: whether the service's scores are logits (any real numbers); `score` is then their sigmoid.
        max_documents_per_request: a call with more documents is split into several concurrent requests.
        pointwise: False if a document's score depends on the others in its request; such a call is never split.
    """

    score_kind = ScoreKind.UNIT
    pointwise = True
    model: str | None
    _service_name: ClassVar[str]
    _below_host: ClassVar[str] = "/rerank"  # see `endpoint_url`
    _below_version: ClassVar[str | None] = "/rerank"
    _limits: ClassVar[Limits] = Limits()
    _error_of_status: ClassVar[Mapping[int, ErrorClass]] = {}
    _if_logits = "pass raw_scores=True"
    _query_was_truncated = False

    def __init__(
        self,
        service: str,
        url: SplitResult,
        auth: Authentication | None,
        raw_scores: bool,
        max_documents_per_request: int | None,
        timeout: float | Timeout,
        retries: int,
        client_factory: Callable[[], httpx.AsyncClient] | None,
        max_concurrency: int | None = None,
    ) -> None:
        self.raw_scores = raw_scores
        if raw_scores:
            self.score_kind = ScoreKind.LOGIT
        self.max_documents_per_request = checked_limit(max_documents_per_request, "max_documents_per_request")
        self.timeout = checked_timeout(timeout)
        self.client_factory = client_factory
        self._address = url.netloc
        self._url = endpoint_url(url, below_host=self._below_host, below_version=self._below_version)
        self._service = HttpService(
            service,
            auth=auth,
            timeout=timeout,
            retries=retries,
            error_of_status=self._error_of_status,
            client_factory=client_factory,
            max_concurrency=max_concurrency,
        )
        self.retries = self._service.retries
        self.max_concurrency = self._service.max_concurrency

    @property
    def name(self) -> str:
        return f"{self._service_name.lower()}:{self.model or self._address}"

    @abstractmethod
    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        """The body of one request, without the model's name. Fields that are None are not sent."""

    def _parse(self, data: object, count: int) -> Scores:
        """The scores in the reply to `count` documents. Raises `ValueError` if its shape is not the documented one."""
        if not isinstance(data, dict):
            raise ValueError("the reply is not a JSON object")
        return Scores(scores_by_index(data.get("results"), count), usage=usage_of(data.get("usage")))

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return run_in_background(self.ascore(query, documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        query, query_truncated = self._limits.cut(query)
        if query_truncated:
            self._warn()
        cut = [self._limits.cut(document) for document in documents]
        texts = [text for text, _ in cut]
        most = (self.max_documents_per_request or self._limits.documents) if self.pointwise else None
        parts = [texts] if most is None else self._limits.split(query, texts, most)
        if len(parts) == 1:
            scores = await self._ask(query, parts[0])
        else:
            scores = merged(await self._service.together([self._ask(query, part) for part in parts]))
        truncated = scores.truncated + sum(shorter for _, shorter in cut)
        return replace(scores, truncated=truncated, query_truncated=query_truncated)

    def _warn(self) -> None:
        """Log a truncated query, once per reranker."""
        if not self._query_was_truncated:
            self._query_was_truncated = True
            _log.warning(
                "%s: the query was truncated to %d characters, the most that the service accepts;"
                " Ranking.query_truncated reports it for every call, this warning appears once",
                self.name,
                self._limits.characters,
            )

    async def _ask(self, query: str, documents: Sequence[str]) -> Scores:
        await pause_if_busy()
        body = {"model": self.model, **self._build(query, documents)}
        reply = await self._send({name: value for name, value in body.items() if value is not None})
        problem: ValueError | None = None
        try:
            scores = self._parse(reply.data, len(documents))
        except ValueError as error:
            problem = error
        if problem is not None:  # outside `except`: no traceback must expose the payload
            raise self._unreadable(problem, reply)
        if outside := outside_its_range(scores.raw, self.score_kind):
            raise self._service.bad_reply(f"returned {outside}", reply, advice=f"if they are logits, {self._if_logits}")
        return scores

    async def _send(self, body: dict[str, object]) -> JsonReply:
        return await self._service.apost(self._url, body)

    def _unreadable(self, problem: ValueError, reply: JsonReply) -> BadReply:
        """The error for an unreadable reply. It quotes the service's own explanation if any, else only `problem`."""
        if not has_results(reply.data) and (said := self._service.explanation(reply)):
            advice = "correct what it names, or check that base_url points to this service"
            return self._service.bad_reply(f"says: {said} ({problem})", reply, advice=advice)
        if not isinstance(problem, ListCut):
            return self._service.bad_reply(str(problem), reply)
        advice = "remove a limit (such as top_n or top_k) at the server, or at a proxy before it"
        if problem.results and self.pointwise:
            advice += f", or pass max_documents_per_request={problem.results}"
        return self._service.bad_reply(str(problem), reply, advice=advice)

    def identifying_parameters(self) -> dict[str, object]:
        how_it_is_sent = {"timeout", "retries", "max_documents_per_request", "max_concurrency"}
        return {name: value for name, value in self.parameters().items() if name not in how_it_is_sent}

    def close(self) -> None:
        self._service.close()

    async def aclose(self) -> None:
        await self._service.aclose()
        self._service.close()


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
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry after a rate limit, a server error, or a slow or broken connection, within
            that time.
        client_factory: returns an `httpx.AsyncClient`, for proxies or certificates of your own. It is called once per
            concurrent request; the clients are reused, and closed for you.
        max_concurrency: how many requests to the service may be under way at once. All rerankers in this process that
            set it and have the same host and key count together, from any thread or event loop. A request that finds
            no place within the timeout raises `TimedOut`. None, the default, sets no limit.

    Raises:
        MissingKey: no key was given, none is in the environment, and `base_url` is the service's own API.
        ValueError: the key, the URL or a number is malformed.
    """

    model: str
    _below_host = "/v1/rerank"
    _default_model: ClassVar[str]
    _default_url: ClassVar[str]
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
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.model = self._default_model if model is None else model
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
            timeout,
            retries,
            client_factory,
            max_concurrency,
        )

    def _adapt_to_model(self) -> None:
        """Set what depends on `model`: `pointwise`, or `score_kind`."""

    def _authentication(self, key: ApiKey) -> Authentication:
        return HeaderKey(key)


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
            deadline; `usage` is the sum. None never splits, which a listwise model such as jina-reranker-v3 requires.
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry a transient failure, within that time.
        client_factory: returns an `httpx.AsyncClient`. It is called once per concurrent request; the clients are
            reused, and closed for you.

    Raises:
        ValueError: the key, the URL or a number is malformed.

    The server truncates documents longer than the model's window, and does not report how many. `Ranking.truncated`
    counts only documents longer than the server accepts, which are truncated before they are sent.
    """

    _key_variable: ClassVar[str]

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
        parts = checked_url(url)
        service = f"{self._service_name} at {parts.netloc}"
        key = None if api_key is None else ApiKey(api_key, service=service, variables=(self._key_variable,))
        super().__init__(
            service,
            parts,
            None if key is None else HeaderKey(key),
            raw_scores,
            max_documents_per_request,
            timeout,
            retries,
            client_factory,
        )
