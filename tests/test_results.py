"""`Ranking.within`: as many of the best documents as fit into a prompt."""

from __future__ import annotations

import pytest

from ksdk_rerank import Ranked, Ranking

TEXTS = ("a" * 40, "b" * 400, "c" * 20)  # estimated at 10, 100 and 5 tokens
RANKING = Ranking(tuple(Ranked(index, text, 0.5, 0.5) for index, text in enumerate(TEXTS)), "x", usage={"units": 1})


def test_the_best_documents_that_fit_are_kept_until_one_does_not() -> None:
    assert RANKING.within(115).indices == (0, 1, 2)
    assert RANKING.within(109).indices == (0,)
    assert RANKING.within(15, skip_oversized=True).indices == (0, 2)
    assert RANKING.within(9).indices == ()
    assert RANKING.within(10).usage == {"units": 1}, "the rest of the ranking stays"


def test_tokens_are_counted_by_a_function_and_only_as_far_as_needed() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    assert RANKING.within(40, count=count).indices == (0,)
    assert counted == list(TEXTS[:2])


def test_excerpts_are_counted_if_they_are_what_is_sent() -> None:
    ranking = Ranking((Ranked(0, "One two. Three four.", spans=((0, 8),)), Ranked(1, "Five.")), "x")
    assert ranking.within(2, passages=True).indices == (0,)
    assert ranking.within(4, passages=True).indices == (0, 1)
    assert ranking.within(4).indices == ()


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens must be at least 1 token"):
        RANKING.within(0)
