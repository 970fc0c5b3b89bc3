"""A fake KnowledgeSDK search API: `POST /v1/search` over a folder of your own files."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.testing.local_server import LocalServer, Reply, Request
from ksdk_rerank.testing.sample import sample_folder
from ksdk_rerank.testing.search_index import Hit, SearchIndex

__all__ = ["KnowledgeSDKStandIn", "Shape"]

Shape = Literal["hits", "results", "items", "list", "stored"]


class KnowledgeSDKStandIn(LocalServer):
    """Serves `POST /v1/search` on 127.0.0.1 as KnowledgeSDK does, so that you can test chains offline.

    It searches the sections of the Markdown and text files in `folder` and scores them by BM25 (higher is better, no
    upper bound); there is no semantic search. Pass its `base_url` and `api_key` to a client. Every fault of
    `LocalServer` works here too.

    Args:
        folder: the files to search; by default the sample knowledge base that comes with the package.
        api_key: the key that requests must carry.
        shape: the layout of the reply, since the vendor's own clients expect different ones: "hits" (the Node and
            Python SDKs), "results" (CLI), "items" and "list" (MCP server), "stored" (the stored item's fields, no
            score). You can change it while the server runs.

    A request without a `limit` gets at most 10 hits. `start()` and `with` read the folder. They raise
    `FileNotFoundError` or `NotADirectoryError` for a bad folder, and `ValueError` if it holds no text. An unknown
    `shape` raises `ValueError` in the constructor.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        api_key: str = "knowledgesdk_test_stand_in",
        shape: Shape = "hits",
    ) -> None:
        super().__init__()
        if shape not in _SHAPES:
            raise ValueError(f"shape is {shape!r}: use one of {', '.join(_SHAPES)}")
        self.folder = None if folder is None else Path(folder)
        self.api_key = api_key
        self.shape: Shape = shape
        self._index: SearchIndex | None = None

    @property
    def base_url(self) -> str:
        """The base URL to give a client; the same as `url`."""
        return self.url

    def start(self) -> Self:
        """Read the folder and listen on a free port of 127.0.0.1."""
        if self._index is None:
            self._index = SearchIndex(self.folder or sample_folder())
        return super().start()

    def stop(self) -> None:
        """Close every connection, free the port and drop the index; a second call is a no-op."""
        super().stop()
        if self._index is not None:
            self._index.close()
            self._index = None

    def answer(self, request: Request) -> Reply:
        """Return the documented reply to one request, or the matching error."""
        if request.path.partition("?")[0] != "/v1/search":
            return Reply.error(404, f"No such path: {request.path}; the stand-in serves /v1/search")
        if request.method != "POST":
            return Reply.error(405, f"{request.method} is not allowed: use POST", headers={"Allow": "POST"})
        if request.headers.get("x-api-key") != self.api_key:
            return Reply.error(401, "Invalid API key")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return Reply.error(415, "Send the body as Content-Type: application/json")
        try:
            body = request.json()
        except ValueError:
            return Reply.error(400, "The body is not JSON")
        if not isinstance(body, dict):
            return Reply.error(400, "The body must be a JSON object")
        query, limit = body.get("query"), body.get("limit", 10)
        if not isinstance(query, str) or not query.strip():
            return Reply.error(400, '"query" must be a non-empty string')
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            return Reply.error(400, '"limit" must be a positive integer')
        assert self._index is not None, "requests come between start() and stop()"
        list_name, item = _SHAPES[self.shape]
        items = [item(hit) for hit in self._index.search(query, limit)]
        return Reply.json({list_name: items, "total": len(items), "query": query} if list_name else items)


def _category(hit: Hit) -> str:
    """The name of the file's folder."""
    return PurePosixPath(hit.chunk.source.partition("#")[0]).parent.name or "general"


def _full(hit: Hit) -> dict[str, object]:
    chunk = hit.chunk
    fields = {"id": chunk.id, "title": chunk.title, "content": chunk.content, "category": _category(hit)}
    return {**fields, "source": chunk.source, "score": hit.score}


def _short(hit: Hit) -> dict[str, object]:
    chunk = hit.chunk
    snippet = shortened(chunk.content, 200)
    fields = {"id": chunk.id, "url": chunk.source, "title": chunk.title, "snippet": snippet}
    return {**fields, "score": hit.score, "metadata": {"category": _category(hit)}}


def _linked(hit: Hit) -> dict[str, object]:
    chunk = hit.chunk
    return {"title": chunk.title, "url": chunk.source, "content": chunk.content, "score": hit.score}


def _stored(hit: Hit) -> dict[str, object]:
    chunk = hit.chunk
    fields = {"id": chunk.id, "title": chunk.title, "content": chunk.content, "category": _category(hit)}
    # A fixed date and an embedding of zeros: clients must accept these fields, but the values mean nothing.
    extra = {"extractedAt": "2026-01-01T00:00:00Z", "embedding": [0.0] * 1536}
    return {**fields, "sourceUrl": chunk.source, **extra}


_SHAPES: dict[str, tuple[str | None, Callable[[Hit], dict[str, object]]]] = {
    "hits": ("hits", _full),
    "results": ("results", _short),
    "items": ("items", _linked),
    "list": (None, _linked),
    "stored": ("hits", _stored),
}
