"""What the rerankers over HTTP share: one call becomes one request or several, and their replies one answer."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from ksdk_rerank._arguments import integer
from ksdk_rerank._background import run_in_background
from ksdk_rerank._http import HttpService, Reply
from ksdk_rerank._pacing import pause_if_busy
from ksdk_rerank.base import ScoreKind, Scores, ScoringReranker
from ksdk_rerank.rerankers._indexed import scores_by_index, usage_of

__all__ = ["HttpReranker", "checked_limit", "checked_url", "rerank_url"]

_VERSION = re.compile(r"/v\d+$")


class HttpReranker(ScoringReranker):
    """A leaf that asks a service. Subclasses are a pure `_build` and, where their reply differs, `_parse`.

    Attributes:
        max_documents_per_request: more documents than this are sent as several requests, side by side; None never
            splits.
        pointwise: False where a document's score depends on the others it is sent with; such a call is never split.
    """

    score_kind = ScoreKind.UNIT
    max_documents_per_request: int | None
    pointwise = True
    _service: HttpService
    _url: str

    @abstractmethod
    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        """The body of one request."""

    def _parse(self, data: object, count: int) -> Scores:
        """What the reply to `count` documents says. Raises `ValueError` where it is not in the documented shape."""
        if not isinstance(data, dict):
            raise ValueError("the reply is not a JSON object")
        return Scores(scores_by_index(data.get("results"), count), usage=usage_of(data.get("usage")))

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return run_in_background(self.ascore(query, documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        size = self.max_documents_per_request if self.pointwise else None
        size = size or len(documents)
        parts = [documents[start : start + size] for start in range(0, len(documents), size)]
        if len(parts) == 1:
            return await self._ask(query, documents)
        return _merged(await self._service.together([self._ask(query, part) for part in parts]))

    async def _ask(self, query: str, documents: Sequence[str]) -> Scores:
        await pause_if_busy()
        reply = await self._send(self._build(query, documents))
        try:
            return self._parse(reply.data, len(documents))
        except ValueError as error:
            what = str(error)
        raise self._service.bad_reply(what, reply)  # out here, so that no traceback leads into the payload

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
    usage: Counter[str] = Counter()
    for part in parts:
        usage.update(part.usage)
    return Scores([score for part in parts for score in part.raw], usage=dict(usage))


def rerank_url(url: str, *, below_host: str = "/rerank", drops_version: bool = False) -> str:
    """The address to post to, whether `url` is a host, a versioned root or already the whole address.

    Args:
        url: such as `http://host:8000`, `http://host:8000/v1` or `http://host:8000/v1/rerank`.
        below_host: the path below a host, or below a prefix without a version.
        drops_version: whether the service has no versioned path, so that `/v1` was meant for another of its APIs.
    """
    parts = checked_url(url)
    path = parts.path.rstrip("/")
    if path.endswith("/rerank"):
        pass
    elif _VERSION.search(path):
        path = (_VERSION.sub("", path) if drops_version else path) + "/rerank"
    else:
        path += below_host
    return parts._replace(path=path).geturl()


def checked_url(url: str) -> SplitResult:
    """`url` in its parts. Raises `ValueError` where it is none, or holds what may be a secret."""
    if not isinstance(url, str):
        raise TypeError(f"the URL must be a string, got {type(url).__name__}")
    parts = urlsplit(url.strip())
    if "@" in parts.netloc or parts.query or parts.fragment:  # not quoted: these are where secrets are put
        raise ValueError("the URL must have no user name, query or fragment; pass a key as api_key=...")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of .port, where that is no number
        usable = False
    if not usable:
        raise ValueError(f"the URL must be like http://localhost:8000, got {url!r}")
    return parts


def checked_limit(limit: int | None, name: str) -> int | None:
    """`limit` as an `int`. Raises `ValueError` unless it is None or an integer of at least 1."""
    return None if limit is None else integer(name, limit, or_none=True)
