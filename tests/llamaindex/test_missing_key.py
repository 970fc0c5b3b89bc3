"""A missing key reaches the user as `MissingKey`, though pydantic turns other `ValueError`s into its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from ksdk_rerank.errors import MissingKey
from llamaindex_ksdk_rerank import KnowledgeSDKRetriever, RerankPostprocessor

CONFIG = {"class": "JinaReranker", "parameters": {"model": "m"}}
MADE: dict[str, Callable[[], object]] = {
    "by name": lambda: RerankPostprocessor(reranker="jina:m"),
    "in a Fallback": lambda: RerankPostprocessor(reranker={"class": "Fallback", "parameters": {"rerankers": [CONFIG]}}),
    "by configuration": lambda: RerankPostprocessor(reranker=CONFIG),
    "from a dictionary": lambda: RerankPostprocessor.from_dict({"reranker": CONFIG, "top_n": 3}),
    "a retriever": KnowledgeSDKRetriever,
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_missing_key_is_a_missing_key_and_a_value_error(made: Callable[[], object]) -> None:
    with pytest.raises(MissingKey, match=r"pass api_key=\.\.\. or set ") as raised:
        made()
    assert type(raised.value) is MissingKey
    assert isinstance(raised.value, ValueError)


def test_a_copy_where_the_key_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "jina-key")
    pickled = pickle.dumps(RerankPostprocessor(reranker="jina:m"))
    monkeypatch.delenv("JINA_API_KEY")
    with pytest.raises(MissingKey, match="JINA_API_KEY"):
        pickle.loads(pickled)


@pytest.mark.parametrize("reranker", ["jina:m", CONFIG])
def test_assignment_says_so_too(reranker: Any) -> None:
    with pytest.raises(MissingKey, match="JINA_API_KEY"):
        RerankPostprocessor(reranker="lexical").reranker = reranker
