"""A missing key reaches the user as `MissingKey`, though pydantic turns other `ValueError`s into its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("langchain_core")

from ksdk_rerank.errors import MissingKey
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever, RerankerCrossEncoder

MADE: dict[str, Callable[[], object]] = {
    "a compressor": lambda: RerankCompressor("jina:m"),
    "a cross-encoder": lambda: RerankerCrossEncoder("jina:m"),
    "a retriever": KnowledgeSDKRetriever,
    "both stages": lambda: RerankedRetriever(
        base_retriever=KnowledgeSDKRetriever(api_key="some-key"), compressor=RerankCompressor("jina:m")
    ),
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_missing_key_is_a_missing_key_and_a_value_error(made: Callable[[], object]) -> None:
    with pytest.raises(MissingKey, match=r"pass api_key=\.\.\. or set ") as raised:
        made()
    assert type(raised.value) is MissingKey
    assert isinstance(raised.value, ValueError)
