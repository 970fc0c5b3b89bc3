"""The commands' first stage: KnowledgeSDK, or a local stand-in that searches a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from ksdk_rerank._fingerprint import digest
from ksdk_rerank._transport.auth import ApiKey
from ksdk_rerank.knowledgesdk.client import KEY_VARIABLES, KnowledgeSDKClient
from ksdk_rerank.knowledgesdk.search_results import SearchHit

if TYPE_CHECKING:
    from ksdk_rerank.compose.cached import Store
    from ksdk_rerank.evaluation import Progress

__all__ = ["candidates_for", "first_stage"]

_HITS = TypeAdapter(tuple[SearchHit, ...])


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


def candidates_for(
    queries: Mapping[str, str],
    *,
    docs: Path | None,
    limit: int,
    store: Store,
    progress: Progress | None,
) -> dict[str, tuple[SearchHit, ...]]:
    """Search for each query, and cache KnowledgeSDK's results in `store`; the stand-in's cost nothing to repeat."""
    candidates = {}
    with first_stage(docs) as client:
        # Another account finds other documents, so the API key is part of the hash. It cannot be recovered from that.
        account = "" if docs else ApiKey(None, service="KnowledgeSDK", variables=KEY_VARIABLES).get_secret_value()
        for done, (id, query) in enumerate(queries.items(), start=1):
            key = digest("candidates", client.url, account, query, str(limit))
            hits = None if docs else _decoded(store.get(key))
            if hits is None:
                hits = client.search(query, limit).hits
                if docs is None:
                    store[key] = json.dumps([dataclasses.asdict(hit) for hit in hits])
            candidates[id] = _each_once(hits)
            if progress is not None:
                progress("first stage", done, len(queries))
    return candidates


def _decoded(entry: object) -> tuple[SearchHit, ...] | None:
    """The cached hits, or None if `entry` is not a cache entry of hits."""
    try:
        return _HITS.validate_json(entry)  # type: ignore[arg-type]  # a store may hold anything
    except (TypeError, ValueError):
        return None


def _each_once(hits: tuple[SearchHit, ...]) -> tuple[SearchHit, ...]:
    """Keep the first hit of each id: a duplicate from the search service should not stop the command."""
    return tuple({hit.id: hit for hit in reversed(hits)}[id] for id in dict.fromkeys(hit.id for hit in hits))
