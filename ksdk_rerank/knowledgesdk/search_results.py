"""`SearchResults`: the hits of one search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from ksdk_rerank.knowledgesdk._reply import merged

__all__ = ["SearchHit", "SearchResults", "titled_text"]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One candidate of the first stage.

    Attributes:
        id: the item's id. If the service sends none, a stable id derived from source and text.
        text: the text to rerank. The parts of a multi-part text are joined by newlines.
        title: the item's title, or None.
        source: the item's origin, usually a URL, or None.
        score: the first stage's score, or None. Its range is not documented, so compare it only within one reply.
        metadata: everything else that the service sent, such as `category`, as JSON-serialisable values.

    The item's own fields take precedence. If the item lacks a title or source, its nested `metadata` object may supply
    it. All fields of that object are also in `metadata`, under their own names. If the item has another value under the
    same name, the item's value keeps the name, and the nested one becomes `metadata.NAME`. Only embeddings are dropped.
    """

    id: str
    text: str
    title: str | None = None
    source: str | None = None
    score: float | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)

    def metadata_beside(self, named: Mapping[str, object]) -> dict[str, object]:
        """`metadata` merged into `named`, the fields that an adapter adds. Those of `named` that are None are left out.

        If `metadata` has a different value under one of those names, that value becomes `metadata.NAME`.
        """
        return merged({name: value for name, value in named.items() if value is not None}, self.metadata.items())


def titled_text(hit: SearchHit) -> str:
    """The text for a reranker to read: the hit's title, if it has one, on a line above its text."""
    return f"{hit.title}\n{hit.text}" if hit.title else hit.text


@dataclass(frozen=True, slots=True)
class SearchResults(Sequence[SearchHit]):
    """The hits of one search in the service's own order, best first.

    Attributes:
        hits: at most `limit` of them.
        query: the query as the service reports it, else the one sent.
        total: the service's count of hits, else the number of items it sent. The service does not document whether its
            count includes hits that it did not send.
    """

    hits: tuple[SearchHit, ...]
    query: str
    total: int

    @property
    def texts(self) -> list[str]:
        """The hits' texts, ready for `Reranker.rank`."""
        return [hit.text for hit in self.hits]

    @overload
    def __getitem__(self, position: int) -> SearchHit: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[SearchHit, ...]: ...
    def __getitem__(self, position: int | slice) -> SearchHit | tuple[SearchHit, ...]:
        return self.hits[position]

    def __len__(self) -> int:
        return len(self.hits)
