"""The first stage's candidates for an evaluation: searched for once, then read from a store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from ksdk_rerank._fingerprint import digest
from ksdk_rerank.compose._fail_open import Store
from ksdk_rerank.knowledgesdk.client import KnowledgeSDKClient, account_of
from ksdk_rerank.knowledgesdk.search_results import SearchHit

if TYPE_CHECKING:
    from ksdk_rerank.evaluation.contenders import Progress

__all__ = ["candidates_for"]

_HITS = TypeAdapter(tuple[SearchHit, ...])


def candidates_for(
    queries: Mapping[str, str],
    client: KnowledgeSDKClient,
    limit: int,
    *,
    store: Store | None,
    progress: Progress | None = None,
) -> dict[str, tuple[SearchHit, ...]]:
    """Search for each query with `client`, unless `store` has the hits of an earlier search.

    If the search service returns an id twice, only the first hit is kept.
    """
    candidates = {}
    for done, (id, query) in enumerate(queries.items(), start=1):
        key = digest("candidates", client.url, account_of(client), query, str(limit))
        hits = None if store is None else _decoded(store.get(key))
        if hits is None:
            hits = client.search(query, limit).hits
            if store is not None:
                store[key] = json.dumps([dataclasses.asdict(hit) for hit in hits])
        first_of: dict[str, SearchHit] = {}
        for hit in hits:
            first_of.setdefault(hit.id, hit)
        candidates[id] = tuple(first_of.values())
        if progress is not None:
            progress("first stage", done, len(queries))
    return candidates


def _decoded(entry: object) -> tuple[SearchHit, ...] | None:
    """The cached hits, or None if `entry` is not a cache entry of hits."""
    try:
        return _HITS.validate_json(entry)  # type: ignore[arg-type]  # a store may hold anything
    except (TypeError, ValueError):
        return None
