"""Both stages: a search with KnowledgeSDK or a local stand-in, and a reranker for what it finds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ksdk_rerank._metadata import passages_of
from ksdk_rerank._request import checked_top_n
from ksdk_rerank.commands.options import configured
from ksdk_rerank.compose.passages import finding_passages
from ksdk_rerank.knowledgesdk.client import KnowledgeSDKClient
from ksdk_rerank.knowledgesdk.search_results import SearchHit, titled_text
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranked

__all__ = ["RankedHit", "Reranked", "first_stage", "search_and_rerank"]


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit with its rank after reranking, its rank in the search, and the reranker's score.

    Attributes:
        excerpt: the hit's text, or only its passages if they were looked for.
        passage: the best of these; None if there are none.
    """

    rank: int
    was: int
    score: float | None
    hit: SearchHit
    excerpt: str
    passage: str | None


@dataclass(frozen=True, slots=True)
class Reranked:
    """The best hits in their new order, how many the search found, where, and the seconds that both stages took."""

    hits: list[RankedHit]
    candidates: int
    searched: str
    reranked_by: str
    search_seconds: float
    rerank_seconds: float


@contextmanager
def first_stage(docs: Path | None) -> Iterator[KnowledgeSDKClient]:
    """A client for a stand-in that searches the folder `docs`, or for KnowledgeSDK if `docs` is None."""
    if docs is None:
        with KnowledgeSDKClient() as client:
            yield client
        return
    from ksdk_rerank.testing import KnowledgeSDKStandIn

    with (
        KnowledgeSDKStandIn(docs) as stand_in,
        KnowledgeSDKClient(stand_in.api_key, base_url=stand_in.base_url) as client,
    ):
        yield client


def search_and_rerank(
    query: str, *, docs: Path | None, limit: int, reranker: str, top_n: int, passages: bool = False
) -> Reranked:
    """Search for at most `limit` candidates as `first_stage` does, and keep the reranker's best `top_n`.

    `passages` also finds the relevant passages in these.
    """
    checked_top_n(top_n)  # before the search
    loaded = load_reranker(configured(reranker))
    with finding_passages(loaded) if passages else loaded as ranker, first_stage(docs) as client:
        started = time.perf_counter()
        candidates = client.search(query, limit)
        found = time.perf_counter()
        ranking = ranker.rank(query, [titled_text(hit) for hit in candidates], top_n=top_n)
        return Reranked(
            [_ranked_hit(rank, hit, candidates[hit.index]) for rank, hit in enumerate(ranking, start=1)],
            len(candidates),
            f"KnowledgeSDK ({client.url})" if docs is None else f"the stand-in server over {docs}",
            ranking.reranked_by,
            found - started,
            time.perf_counter() - found,
        )


def _ranked_hit(rank: int, ranked: Ranked, hit: SearchHit) -> RankedHit:
    excerpt, found = passages_of(ranked, hit.text, shorten=True)
    passage = hit.text[slice(*found["relevant_spans"][0])] if found else None
    return RankedHit(rank, ranked.index + 1, ranked.score, hit, excerpt, passage)
