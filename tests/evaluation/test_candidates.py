"""Candidates for an evaluation: one search per query, account and limit, whatever the store does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import KnowledgeSDKClient
from ksdk_rerank.evaluation import DiskStore
from ksdk_rerank.evaluation.candidates import candidates_for
from ksdk_rerank.testing import LocalServer, Reply

QUERIES = {"q1": "key", "q2": "rotation"}


def test_a_search_is_repeated_only_for_another_account_or_limit(
    knowledgesdk_stand_in: Callable[..., Any], tmp_path: Path
) -> None:
    stand_in = knowledgesdk_stand_in(api_key="sk_one_account")
    with DiskStore(tmp_path) as store, KnowledgeSDKClient("sk_one_account", base_url=stand_in.base_url) as client:
        first = candidates_for(QUERIES, client, 5, store=store)
        assert candidates_for(QUERIES, client, 5, store=store) == first
        assert len(stand_in.requests) == 2
        candidates_for(QUERIES, client, 6, store=store)
        assert len(stand_in.requests) == 4
        stand_in.api_key = "sk_another_account"
        with KnowledgeSDKClient("sk_another_account", base_url=stand_in.base_url) as another:
            candidates_for(QUERIES, another, 5, store=store)
        assert len(stand_in.requests) == 6
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"sk_one_account" not in content
    assert b"sk_another_account" not in content


def test_a_server_without_keys_needs_none_and_the_first_hit_of_an_id_stays() -> None:
    hits = [{"id": "1", "content": "first"}, {"id": "2", "content": "second"}, {"id": "1", "content": "again"}]
    with LocalServer(lambda request: Reply.json({"hits": hits})) as server:
        cases: list[tuple[str | None, dict[str, str] | None]] = [(None, {}), ("sk_another_account", {}), (None, None)]
        for key, store in cases:
            with KnowledgeSDKClient(key, base_url=server.url) as client:
                found = candidates_for({"q": "key"}, client, 5, store=store)["q"]
                assert [hit.text for hit in found] == ["first", "second"]
