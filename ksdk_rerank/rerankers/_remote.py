"""`RemoteReranker`: the base of all rerankers that call a service. CONTRIBUTING.md has a complete example of a leaf."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import SplitResult

from ksdk_rerank._arguments import flag, integer_or_none
from ksdk_rerank._transport.auth import Authentication
from ksdk_rerank._transport.error_mapping import ErrorClass
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.service import HttpService
from ksdk_rerank._transport.sync_bridge import run_in_background
from ksdk_rerank._transport.urls import endpoint_url
from ksdk_rerank.base import ScoringReranker
from ksdk_rerank.errors import BadReply
from ksdk_rerank.rerankers._limits import Limits, merged, shortened
from ksdk_rerank.rerankers._parsing import ListCut, field_at, has_results, scores_by_index, usage_of
from ksdk_rerank.scores import ScoreKind, Scores, outside_its_range
from ksdk_rerank.timeout import Timeout, checked_timeout

if TYPE_CHECKING:
    import httpx

__all__ = ["RemoteReranker"]

_log = logging.getLogger("ksdk_rerank")


class RemoteReranker(ScoringReranker):
    """A leaf that calls a service. Subclasses define how its format differs from that of Jina and Cohere.

    Class attributes describe the reply. Override `_build` for another request, and `_parse` for a reply that the
    attributes cannot describe.

    Attributes:
        raw_scores: whether the service's scores are logits (any real numbers); `score` is then their sigmoid.
        max_documents_per_request: a call with more documents is split into several concurrent requests.
        max_chars_per_document: a longer document is truncated to this many characters before it is sent.
        pointwise: False if a document's score depends on the others in its request, as with jina-reranker-v3, whoever
            serves it (https://huggingface.co/jinaai/jina-reranker-v3, read 2026-11-23); such a call is never split.
    """

    score_kind = ScoreKind.UNIT
    pointwise = True
    model: str | None
    _service_name: ClassVar[str]
    _below_host: ClassVar[str] = "/v1/rerank"  # see `endpoint_url`
    _below_version: ClassVar[str | None] = "/rerank"
    _results: ClassVar[Sequence[str]] = ("results",)  # the path to the list of results; empty if the reply is that list
    _score: ClassVar[str] = "relevance_score"  # each result's field
    _billed: ClassVar[Sequence[str]] = ("usage",)  # the path to what was billed
    _limits: ClassVar[Limits] = Limits()
    _error_of_status: ClassVar[Mapping[int, ErrorClass]] = {}
    _if_logits = "pass raw_scores=True"
    _headers: Mapping[str, str] | None = None  # sent in addition to the usual ones
    _query_was_truncated = False

    def __init__(
        self,
        service: str,
        url: SplitResult,
        auth: Authentication | None,
        raw_scores: bool,
        max_documents_per_request: int | None,
        max_chars_per_document: int | None,
        timeout: float | Timeout,
        retries: int,
        client_factory: Callable[[], httpx.AsyncClient] | None,
        max_concurrency: int | None = None,
    ) -> None:
        self.raw_scores = flag("raw_scores", raw_scores)
        if self.model is not None and "jina-reranker-v3" in self.model:
            self.pointwise, self.score_kind = False, ScoreKind.COSINE
        if self.raw_scores:
            self.score_kind = ScoreKind.LOGIT
        self.max_documents_per_request = integer_or_none("max_documents_per_request", max_documents_per_request)
        self.max_chars_per_document = integer_or_none("max_chars_per_document", max_chars_per_document)
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

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        """The body of one request, without the model's name. Fields that are None are not sent."""
        return {"query": query, "documents": list(documents)}  # these services return all documents by default

    def _parse(self, data: object, count: int) -> Scores:
        """The scores in the reply to `count` documents. Raises `ValueError` if its shape is not the documented one."""
        if self._results and not isinstance(data, dict):
            raise ValueError("the reply is not a JSON object")
        scores = scores_by_index(field_at(data, self._results), count, field=self._score)
        return Scores(scores, usage=usage_of(field_at(data, self._billed)))

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return run_in_background(self.ascore(query, documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        query, query_truncated = shortened(query, self._limits.characters)
        if query_truncated:
            self._warn()
        longest = min(filter(None, (self._limits.characters, self.max_chars_per_document)), default=None)
        texts, truncated = zip(*(shortened(document, longest) for document in documents), strict=True)
        scores = await self._scores_of(query, texts)
        starts = map(str.index, documents, texts)  # a truncated document is sent without its leading white space
        spans = [tuple((a + n, b + n) for a, b in own) for own, n in zip(scores.spans, starts, strict=False)]
        return replace(
            scores, truncated=scores.truncated + sum(truncated), query_truncated=query_truncated, spans=spans
        )

    async def _scores_of(self, query: str, texts: Sequence[str]) -> Scores:
        """The scores from one request, or from as many as the service's limits require."""
        most = self.max_documents_per_request or self._limits.documents
        if most is None or not self.pointwise:
            return await self._ask(query, texts)
        parts = self._limits.split(query, texts, most)
        if len(parts) == 1:
            return await self._ask(query, texts)
        return merged(await self._service.together([self._ask(query, part) for part in parts]))

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
        return await self._service.apost(self._url, body, self._headers)

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
        try:
            await self._service.aclose()
        finally:
            self._service.close()
