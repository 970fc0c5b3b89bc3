"""The cross-encoder keeps the contract, and offers what wrappers ask of a leaf with a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ksdk_rerank import CrossEncoderReranker, LongDocuments, Reranker
from ksdk_rerank.compose.long_documents import CountsTokens
from ksdk_rerank.testing.contract import SubclassContract


class TestCrossEncoderReranker(SubclassContract):
    query = "how do i rotate a key"
    documents = ("then rotate the key", "an invoice a month", "the weather is nice", "revoke one key")  # 64 tokens fit
    secrets = ("hf_sentinel",)

    @pytest.fixture
    def reranker(self, tiny_bert: str) -> Iterator[Reranker]:
        with CrossEncoderReranker(tiny_bert, backend="onnx", token="hf_sentinel") as reranker:
            yield reranker


class TestLongDocumentsOverACrossEncoder(SubclassContract):
    @pytest.fixture
    def reranker(self, tiny_bert: str) -> Reranker:
        return LongDocuments(CrossEncoderReranker(tiny_bert, backend="onnx"))


def test_tokens_are_the_models_own_and_room_is_what_the_query_leaves(tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    assert isinstance(reranker, CountsTokens)
    assert reranker.count_tokens(["how do i rotate", "", "key"]) == [4, 0, 1]
    assert reranker.document_room("how do i rotate") == 64 - 4 - 3  # [CLS] query [SEP] document [SEP]


def test_windows_fill_what_the_model_reads_and_nothing_is_cut(tiny_bert: str) -> None:
    document = " ".join(["the weather is nice."] * 40 + ["then rotate the key."] + ["an invoice a month."] * 40)
    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    assert reranker.rank("rotate", [document]).truncated == 1
    ranking = LongDocuments(reranker).rank("rotate", [document, "key"])
    assert ranking.truncated == 0
    whole = next(ranked for ranked in ranking if ranked.index == 0)
    assert whole.span is not None
    passage = document[slice(*whole.span)]
    assert reranker.count_tokens([passage])[0] <= reranker.document_room("rotate")
    assert reranker.rank("rotate", [passage])[0].raw_score == pytest.approx(whole.raw_score, abs=1e-4)
