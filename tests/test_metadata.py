"""What both adapters do with metadata: which scores count, and what of it a reranker reads."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("numpy")

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ksdk_rerank._arguments import finite
from ksdk_rerank._metadata import checked_text, mark_returned, rescored, score_in, texts_of
from ksdk_rerank._text.fields import labelled


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
    item = mark_returned(Page(retrieval_score=12.5, relevance_score=0.9, reranked_by="lexical", page=3), "query")
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
        ({"Title": "title", "Note": "missing", "Year": "year"}, "Title: Title\nYear: 2026\ntext: Body"),
        ({"page": None, "title": "title"}, "page: Body\ntitle: Title"),
        (lambda item: item.metadata["title"].upper(), "TITLE"),
    ],
)
def test_texts_are_the_content_below_the_metadata_that_was_asked_for(text: Any, read: str) -> None:
    item = Page(title="Title", year=2026, none=None)
    assert texts_of([item], text, lambda item: "Body") == [read]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("Rotate a key", "a: Rotate a key"),
        (" Über 5 % (ca. 12:30) \n", "a: Über 5 % (ca. 12:30)"),
        ("true: or not", 'a: "true: or not"'),
        ("C# and #5", 'a: "C# and #5"'),
        ("- item", 'a: "- item"'),
        ("ends with:", 'a: "ends with:"'),
        ("one\r\n\n  two: #3\x00", "a: |-\n  one\n\n    two: #3"),
        ("  indented\nthen not", "a: |-\n  indented\n  then not"),
        (" \n", ""),
        (["x", 1], "a: \"['x', 1]\""),
    ],
)
def test_a_field_is_a_labelled_line_or_a_block(value: object, line: str) -> None:
    assert labelled({"a": value, "b": None}) == line


@given(st.dictionaries(st.text(min_size=1).filter(str.isprintable), st.text(), max_size=4))
def test_labelled_fields_are_yaml_with_the_same_words(fields: dict[str, str]) -> None:
    yaml = pytest.importorskip("yaml")
    read = yaml.load(labelled(fields), yaml.BaseLoader) or {}  # which leaves numbers and dates as texts
    words = {name: printable(value).split() for name, value in fields.items()}
    assert [(name, value.split()) for name, value in read.items()] == [item for item in words.items() if item[1]]


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


@pytest.mark.parametrize("text", [{"a": 5}, {5: "title"}], ids=repr)
def test_labels_stand_for_metadata_keys_or_the_content(text: object) -> None:
    with pytest.raises(TypeError, match="map labels to metadata keys, or to None for the content, got"):
        checked_text(text)


@pytest.mark.parametrize("text", ["title", 5, ["title", 5]], ids=repr)
def test_a_text_option_is_a_function_or_a_sequence_of_keys(text: object) -> None:
    with pytest.raises(TypeError, match=r"got .*; a single key needs a list, such as \['title'\]"):
        checked_text(text)
    assert checked_text(["title"]) == ("title",)
