"""Base of the rerankers over HTTP: splits a call into one or more requests and merges their replies."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from ksdk_rerank._arguments import integer
from ksdk_rerank._transport.pacing import pause_if_busy
from ksdk_rerank._transport.service import HttpService, Reply
from ksdk_rerank._transport.sync_bridge import run_in_background
from ksdk_rerank.base import ScoreKind, Scores, ScoringReranker, outside_its_range
from ksdk_rerank.errors import BadReply
from ksdk_rerank.rerankers._indexed import ListCut, scores_by_index, usage_of
from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.results import total_usage

__all__ = ["HttpReranker", "checked_limit"]

_log = logging.getLogger("ksdk_rerank")


class HttpReranker(ScoringReranker):
    """A leaf that calls a service. Subclasses implement a pure `_build` and, if their reply differs, `_parse`.

    Attributes:
        raw_scores: whether the service's scores are logits (any real numbers); `score` is then their sigmoid.
        max_documents_per_request: a call with more documents is split into several concurrent requests; None never
            splits.
        pointwise: False if a document's score depends on the others in its request; such a call is never split.
    """

    score_kind = ScoreKind.UNIT
    raw_scores: bool
    max_documents_per_request: int | None
    pointwise = True
    _if_logits = "pass raw_scores=True"
    _limits: ClassVar[Limits] = Limits()
    _warned = False
    _service: HttpService
    _url: str

    @abstractmethod
    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        """The body of one request."""

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
        most = self.max_documents_per_request if self.pointwise else None
        parts = [texts] if most is None else self._limits.split(query, texts, most)
        if len(parts) == 1:
            scores = await self._ask(query, parts[0])
        else:
            scores = _merged(await self._service.together([self._ask(query, part) for part in parts]))
        truncated = scores.truncated + sum(shorter for _, shorter in cut)
        return replace(scores, truncated=truncated, query_truncated=query_truncated)

    def _warn(self) -> None:
        """Log, once per reranker, that a query was truncated."""
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s: the query was cut to %d characters, as the service accepts no more; Ranking.query_truncated says"
                " so, this is said once",
                self.name,
                self._limits.characters,
            )

    async def _ask(self, query: str, documents: Sequence[str]) -> Scores:
        await pause_if_busy()
        reply = await self._send(self._build(query, documents))
        problem: ValueError | None = None
        try:
            scores = self._parse(reply.data, len(documents))
        except ValueError as error:
            problem = error
        if problem is not None:  # outside `except`: no traceback must expose the payload
            raise self._unreadable(problem, reply)
        if outside := outside_its_range(scores.raw, self.score_kind):
            raise self._service.bad_reply(f"gave {outside}", reply, advice=f"if they are logits, {self._if_logits}")
        return scores

    def _unreadable(self, problem: ValueError, reply: Reply) -> BadReply:
        """The error for an unreadable reply. It quotes the service's own explanation if any, else only `problem`."""
        if not _has_results(reply.data) and (said := self._service.explanation(reply)):
            advice = "correct what it names, or check that base_url points to this service"
            return self._service.bad_reply(f"says: {said} ({problem})", reply, advice=advice)
        if not isinstance(problem, ListCut):
            return self._service.bad_reply(str(problem), reply)
        advice = "remove a limit (such as top_n or top_k) at the server, or at a proxy before it"
        if problem.results and self.pointwise:
            advice += f", or pass max_documents_per_request={problem.results}"
        return self._service.bad_reply(str(problem), reply, advice=advice)

    def identifying_parameters(self) -> dict[str, object]:
        how_it_is_sent = {"timeout", "retries", "max_documents_per_request"}
        return {name: value for name, value in self.parameters().items() if name not in how_it_is_sent}

    async def _send(self, body: dict[str, object]) -> Reply:
        return await self._service.apost(self._url, body)

    def close(self) -> None:
        self._service.close()

    async def aclose(self) -> None:
        await self._service.aclose()
        self._service.close()


def _merged(parts: Sequence[Scores]) -> Scores:
    return Scores(
        [score for part in parts for score in part.raw],
        usage=total_usage(part.usage for part in parts),
        truncated=sum(part.truncated for part in parts),
    )


def _has_results(data: object) -> bool:
    results = data.get("results") if isinstance(data, dict) else data
    return isinstance(results, list) and any(isinstance(result, dict) and "index" in result for result in results)


def checked_limit(limit: int | None, name: str) -> int | None:
    """`limit` as an `int`, or None. Raises `ValueError` if it is anything but None or an integer of at least 1."""
    return None if limit is None else integer(name, limit, or_none=True)
