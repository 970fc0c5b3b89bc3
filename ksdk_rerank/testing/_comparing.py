"""Assertions about rankings for `RerankerContract`; their messages are clear even without pytest's rewriting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from ksdk_rerank.results import Ranked, Ranking

__all__ = ["ForbiddenExecutor", "by_scores", "check_close", "check_complete", "check_same"]


class ForbiddenExecutor(ThreadPoolExecutor):
    """A default executor that fails when used: it belongs to the application, not to rerankers."""

    def submit(self, *args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("the event loop's default executor was used; it belongs to the application")


def by_scores(ranking: Ranking) -> tuple[list[Ranked], list[Ranked]]:
    """Split the results into those with a raw score and those without."""
    scored = [ranked for ranked in ranking if ranked.raw_score is not None]
    return scored, [ranked for ranked in ranking if ranked.raw_score is None]


def check_complete(ranking: Ranking, documents: Sequence[str]) -> None:
    """Check that each document is ranked once or listed as a duplicate, and that every index is valid."""
    places = [*ranking.indices, *ranking.duplicates]
    assert all(type(index) is int for index in places), f"an index is not an int: {places}"
    assert sorted(places) == list(range(len(documents))), f"indices {sorted(places)} for {len(documents)} documents"
    for ranked in ranking:
        assert ranked.document == documents[ranked.index], f"index {ranked.index} has the wrong text: {ranked}"
    for copied, kept in ranking.duplicates.items():
        assert kept in ranking.indices, f"documents[{copied}] is listed as a duplicate of {kept}, which is missing"


def check_same(one: Ranking, other: Ranking, tolerance: float) -> None:
    """Check that two rankings have the same documents, order, scores and spans."""
    assert one.indices == other.indices, f"orders differ: {one} and {other}"
    for a, b in zip(one, other, strict=True):
        check_close(a.score, b.score, tolerance)
        check_close(a.raw_score, b.raw_score, tolerance)
        assert a.span == b.span, f"spans differ: {a} and {b}"


def check_close(one: float | None, other: float | None, tolerance: float) -> None:
    """Check that two scores are equal within `tolerance`, relative or absolute, or both None."""
    assert (one is None) == (other is None), f"{one} and {other}"
    if one is not None and other is not None:
        assert math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance), f"{one} and {other}"
