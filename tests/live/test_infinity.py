"""A real Infinity server against the same weights run here. `.ci/run` starts one; see CONTRIBUTING.md.

KSDK_TEST_INFINITY_URL=http://127.0.0.1:7997 KSDK_TEST_INFINITY_MODEL=folder pytest tests/live/test_infinity.py
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from ksdk_rerank import CrossEncoderReranker, InfinityReranker, RerankEndpoint, Reranker, errors

URL = os.environ.get("KSDK_TEST_INFINITY_URL", "")
FOLDER = os.environ.get("KSDK_TEST_INFINITY_MODEL", "")

pytestmark = pytest.mark.skipif(not (URL and FOLDER), reason="KSDK_TEST_INFINITY_URL and ..._MODEL are not set")

QUERY = "How often are the signing keys rotated?"
DOCUMENTS = [
    "The cafeteria is closed on public holidays.",
    "Signing keys are rotated every ninety days, and old keys stay valid for a week.",
    "To rotate a key at once, open the security page.",
    "Pianos have eighty-eight keys.",
    "Invoices are sent on the first of the month.",
    "Keys are kept in the vault.",
]


@pytest.fixture(scope="module")
def local() -> Iterator[CrossEncoderReranker]:
    with CrossEncoderReranker(FOLDER, backend="torch", device="cpu", dtype="float32") as reranker:
        yield reranker


def own_class(raw_scores: bool, limit: int) -> Reranker:
    return InfinityReranker(URL, raw_scores=raw_scores, max_documents_per_request=limit)


def endpoint(raw_scores: bool, limit: int) -> Reranker:
    return RerankEndpoint(
        f"{URL}/rerank",
        scores="logit" if raw_scores else "unit",
        extra_body={"raw_scores": raw_scores},
        max_documents_per_request=limit,
    )


@pytest.mark.parametrize("raw_scores", [False, True], ids=["scores", "logits"])
@pytest.mark.parametrize("limit", [2048, 4], ids=["in one request", "in two"])
@pytest.mark.parametrize("build", [own_class, endpoint])
def test_it_ranks_as_the_same_weights_do_here(
    call: Callable[..., Any],
    local: CrossEncoderReranker,
    build: Callable[[bool, int], Reranker],
    raw_scores: bool,
    limit: int,
) -> None:
    expected = {ranked.index: ranked for ranked in local.rank(QUERY, DOCUMENTS)}
    with build(raw_scores, limit) as reranker:
        ranking = call(reranker.rank, QUERY, DOCUMENTS)
    scores = [ranked.score for ranked in ranking]
    assert scores == sorted(scores, reverse=True)
    for ranked in ranking:
        assert ranked.score == pytest.approx(expected[ranked.index].score, abs=1e-3)
        if raw_scores:
            assert ranked.raw_score == pytest.approx(expected[ranked.index].raw_score, abs=1e-2)
    near = [expected[index].score or 0.0 for index in ranking.indices]
    assert all(first > second - 2e-3 for first, second in pairwise(near))  # but for near ties
    assert ranking.usage["total_tokens"] > 0


def test_a_server_with_one_model_takes_any_name_for_it(call: Callable[..., Any]) -> None:
    with InfinityReranker(URL, model="any/name") as reranker:
        assert len(call(reranker.rank, QUERY, DOCUMENTS)) == len(DOCUMENTS)


def test_more_documents_than_it_takes_are_an_error_that_says_so(call: Callable[..., Any]) -> None:
    with InfinityReranker(URL, max_documents_per_request=None) as reranker, pytest.raises(errors.BadRequest):
        call(reranker.rank, QUERY, ["a short text"] * 2049)
