"""A query that is longer than half of the window is cut, and everybody on the way says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ksdk_rerank import (
    Cached,
    Cascade,
    CrossEncoderReranker,
    Deduplicated,
    Fallback,
    Fusion,
    InputOrder,
    LexicalReranker,
    LongDocuments,
    Reranker,
)

Call = Callable[..., Any]

LONG = "how do i rotate an api key " * 20  # 140 tokens, and the tiny models read 62 or 64
DOCUMENTS = ["then revoke the key", "an invoice a month", "the weather is nice " * 40]

WRAPPERS: dict[str, Callable[[Reranker], Reranker]] = {
    "alone": lambda leaf: leaf,
    "Fallback": lambda leaf: Fallback([leaf, "input-order"]),
    "Cascade, second": lambda leaf: Cascade(LexicalReranker(), leaf, keep=2),
    "Cascade, first": lambda leaf: Cascade(leaf, LexicalReranker(), keep=2),
    "Fusion": lambda leaf: Fusion([InputOrder(), leaf]),
    "LongDocuments": LongDocuments,
    "Deduplicated": Deduplicated,
    "Cached": Cached,
    "Cached, whole lists": lambda leaf: Cached(Deduplicated(leaf)),
    "all of them": lambda leaf: Cached(LongDocuments(Deduplicated(Fallback([Cascade(leaf, leaf), "lexical"])))),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_long_query_is_read_up_to_half_of_the_window_and_the_ranking_says_so(
    call: Call, tiny_model: str, wrap: Callable[[Reranker], Reranker]
) -> None:
    reranker = wrap(CrossEncoderReranker(tiny_model, backend="onnx"))
    ranking = call(reranker.rank, LONG, DOCUMENTS)
    assert sorted(ranking.indices) == [0, 1, 2]
    assert ranking.failures == ()
    assert ranking.query_truncated is True
    assert call(reranker.rank, LONG, DOCUMENTS).query_truncated is True  # also where it was remembered
    assert call(reranker.rank, "rotate", DOCUMENTS).query_truncated is False


def test_the_score_of_a_long_query_is_that_of_its_first_half_window(tiny_bert: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    cut = " ".join(LONG.split()[:32])
    assert reranker.rank(LONG, DOCUMENTS[:2]).results == reranker.rank(cut, DOCUMENTS[:2]).results


def test_windows_fit_beside_a_long_query(tiny_bert: str) -> None:
    ranking = LongDocuments(CrossEncoderReranker(tiny_bert, backend="onnx")).rank(LONG, DOCUMENTS)
    assert ranking.truncated == 0
    assert ranking.query_truncated


def test_a_stored_entry_keeps_it_and_an_entry_of_before_is_asked_for_again(tiny_bert: str) -> None:
    store: dict[str, str] = {}
    leaf = CrossEncoderReranker(tiny_bert, backend="onnx")
    before = Cached(leaf, store=store).rank(LONG, DOCUMENTS)
    assert Cached(leaf, store=store).rank(LONG, DOCUMENTS).query_truncated
    for key, entry in store.items():
        fields = json.loads(entry)
        del fields["query_truncated"]
        store[key] = json.dumps(fields)
    assert Cached(leaf, store=store).rank(LONG, DOCUMENTS) == before
    assert all(json.loads(entry)["query_truncated"] is True for entry in store.values())


def test_a_window_too_small_for_any_pair_is_an_error_that_says_what_to_pass(call: Call, tiny_bert: str) -> None:
    with pytest.raises(ValueError, match=r"max_length: .* would read 3 tokens.* pass at least 5"):
        call(CrossEncoderReranker(tiny_bert, max_length=3).rank, "key", DOCUMENTS)
