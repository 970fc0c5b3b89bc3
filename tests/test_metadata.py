"""What both adapters do with metadata: which scores count, and what of it a reranker reads."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("numpy")

import numpy as np

from ksdk_rerank._arguments import finite
from ksdk_rerank._metadata import checked_text, hand_on, rescored, score_in, texts_of


class Page:
    def __init__(self, **metadata: Any) -> None:
        self.metadata = metadata


@pytest.mark.parametrize(
    "score", [0.25, np.float32(0.25), np.float16(0.25), np.array(0.25), Decimal("0.25"), "0.25"], ids=repr
)
def test_a_score_of_any_numeric_type_becomes_a_float(score: object) -> None:
    assert (finite(score), type(finite(score))) == (0.25, float)


NO_SCORES = [math.nan, np.float32("nan"), math.inf, -math.inf, "high", "", "nan", True, np.True_, None, [0.3], {}]


@pytest.mark.parametrize("score", [*NO_SCORES, np.array([0.3, 0.4]), pytest.param(object(), id="object()")], ids=repr)
def test_what_is_no_number_is_no_score(score: object) -> None:
    assert finite(score) is None


@pytest.mark.parametrize(
    ("metadata", "score"),
    [
        ({"relevance_score": "12.0"}, 12.0),
        ({"relevance_score": 0.4, "retrieval_score": 12.0}, 12.0),
        ({"relevance_score": 0.4, "retrieval_score": "high"}, 0.4),
        ({"relevance_score": 0.4, "retrieval_score": 12.0, "reranked_by": "lexical"}, None),
        ({}, None),
    ],
)
def test_metadata_holds_the_searchs_score_unless_an_earlier_query_left_it(
    metadata: dict[str, object], score: float | None
) -> None:
    assert score_in(metadata) == score


def test_the_retrieval_score_that_a_call_handed_on_counts_in_that_call_only() -> None:
    item = hand_on(Page(retrieval_score=12.5, relevance_score=0.9, reranked_by="lexical", page=3), "query")
    for call, retrieval in (("query", 12.5), ("another query", 0.7)):
        assert rescored(item, call, np.float32(0.5), retrieval=0.7, reranked_by="again") == {
            "page": 3,
            "retrieval_score": retrieval,
            "relevance_score": 0.5,
            "reranked_by": "again",
        }
    copied = Page(**item.metadata)
    assert "retrieval_score" not in rescored(copied, "query", None, retrieval=None, reranked_by="again")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (None, "Body"),
        (["title", "missing", "none", "year"], "Title\n2026\nBody"),
        ([], "Body"),
        (lambda item: item.metadata["title"].upper(), "TITLE"),
    ],
)
def test_texts_are_the_content_below_the_metadata_that_was_asked_for(text: Any, read: str) -> None:
    item = Page(title="Title", year=2026, none=None)
    assert texts_of([item], text, lambda item: "Body") == [read]


@pytest.mark.parametrize("text", ["title", 5, ["title", 5]], ids=repr)
def test_a_text_option_is_a_function_or_a_sequence_of_keys(text: object) -> None:
    with pytest.raises(TypeError, match=r"got .*; a single key needs a list, such as \['title'\]"):
        checked_text(text)
    assert checked_text(["title"]) == ("title",)
