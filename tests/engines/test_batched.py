"""Many queries in one pass of a local model: shared batches, and whose an error is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_models import bert_tokenizer

from ksdk_rerank import CrossEncoderReranker, Fallback, TEIReranker
from ksdk_rerank.engines import select
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.engines.engine import Engine
from ksdk_rerank.engines.scoring import Model
from ksdk_rerank.errors import InferenceFailed, TimedOut
from ksdk_rerank.rerankers import _batched
from ksdk_rerank.testing import LocalServer, Reply

Call = Callable[..., Any]


class Counting(Engine):
    """Its logit is the number of tokens of a pair. It fails on batches with the token `poison`."""

    backend = "counting"
    streams = 1
    budget = 512

    def __init__(self) -> None:
        self.tokenizer = bert_tokenizer()
        self.poison = -1
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: Batch) -> np.ndarray:
        self.shapes.append(batch.ids.shape)
        if (batch.ids == self.poison).any():
            raise RuntimeError("cannot read this")
        logits: np.ndarray = batch.mask.sum(axis=1).astype(np.float32)
        return logits

    @property
    def padded_tokens(self) -> int:
        return sum(pairs * length for pairs, length in self.shapes)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Counting:
    engine = Counting()
    model = Model(engine, PairEncoder(engine.tokenizer, 64, "tiny"), pad_id=0)
    monkeypatch.setattr(select, "load", lambda settings: model)
    return engine


@pytest.fixture
def questions(documents: list[str]) -> tuple[list[str], list[list[str]]]:
    """Eight queries with five of the forty documents each."""
    queries = ["the key", "rotate the key", "then revoke the key then rotate the key", "key"] * 2
    return queries, [documents[begin : begin + 5] for begin in range(0, 40, 5)]


def test_many_queries_share_batches_and_padding(
    call: Call, engine: Counting, questions: tuple[list[str], list[list[str]]]
) -> None:
    reranker = CrossEncoderReranker("tiny")
    alone = [reranker.rank(query, texts) for query, texts in zip(*questions, strict=True)]
    one_by_one = (len(engine.shapes), engine.padded_tokens)
    engine.shapes.clear()
    assert call(reranker.rank_many, *questions) == alone
    assert one_by_one == (17, 1468)
    assert (len(engine.shapes), engine.padded_tokens) == (6, 1394)


def test_passes_are_bounded_and_give_the_same_results(
    call: Call, engine: Counting, questions: tuple[list[str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker, seen = CrossEncoderReranker("tiny"), []
    whole = reranker.rank_many(*questions)
    monkeypatch.setattr(_batched, "_TOKENS", 300)
    engine.shapes.clear()
    parts = call(reranker.rank_many, *questions, progress=lambda done, total: seen.append((done, len(engine.shapes))))
    assert parts == whole
    assert len({batches for _, batches in seen}) > 2  # progress is reported between passes


def test_an_engine_that_fails_on_one_query_fails_that_one_alone(call: Call, engine: Counting) -> None:
    engine.poison = engine.tokenizer.token_to_id("revoke") or 0
    queries, texts = ["the key", "revoke", "rotate"], [["key", "the key"]] * 3
    first, second, third = call(CrossEncoderReranker("tiny").rank_many, queries, texts, return_exceptions=True)
    assert (first.indices, third.indices) == ((1, 0), (1, 0))
    assert isinstance(second, InferenceFailed)
    with pytest.raises(InferenceFailed) as caught:
        call(CrossEncoderReranker("tiny").rank_many, queries, texts)
    assert caught.value.__notes__ == ["raised for queries[1] of rank_many"]


def test_any_other_error_is_that_of_every_query_in_the_pass(call: Call) -> None:
    found = call(CrossEncoderReranker("no/such folder").rank_many, ["a", "b"], [["text"]] * 2, return_exceptions=True)
    assert [type(each).__name__ for each in found] == ["ModelNotFound"] * 2


def test_a_model_that_was_warmed_up_answers_without_loading(call: Call, tiny_bert: Any) -> None:
    reranker = CrossEncoderReranker(str(tiny_bert), backend="onnx", timeout=0.001)  # loading takes longer
    with pytest.raises(TimedOut, match="still loading"):
        reranker.rank("the key", ["key"])
    call(reranker.warm_up)
    reranker.timeout = None
    assert reranker._runner()._model is not None


def test_a_wrapper_warms_up_its_members_and_no_service(call: Call, tiny_bert: Any) -> None:
    local = CrossEncoderReranker(str(tiny_bert), backend="onnx")
    with LocalServer(lambda request: Reply.json([])) as server:
        call(Fallback([TEIReranker(server.url), Fallback([local])]).warm_up)
        assert server.requests == []
    assert local._runner()._model is not None
