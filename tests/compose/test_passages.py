"""`Passages`: what it scores, what it keeps, and what it leaves to the reranker."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ksdk_rerank import Cached, Cascade, Deduplicated, InputOrder, LongDocuments, Ranked, ScoreKind, Scores
from ksdk_rerank.base import ScoringReranker
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.passages import Passages, finding_passages
from ksdk_rerank.errors import ServerError

Call = Callable[..., Any]

KEYS = "Keys open doors. To rotate a key, run this. Nothing here. Ask an owner about it."
PLANS = "# Plans\n\nA plan has seats.\n\n| plan | price |\n|---|---|\n| Free | 0 |\n| Team | 20 |\n"
DOOR = "A door."


class Words(ScoringReranker):
    """The share of the query's words in a text. Records what it is asked."""

    score_kind = ScoreKind.UNIT
    pointwise = True
    name = "words"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(list(documents))
        words = set(query.lower().split())
        found = [len(words & set(re.findall(r"\w+", text.lower()))) / len(words) for text in documents]
        return Scores(found, usage={"texts": len(documents)})

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


def passages(ranked: Ranked) -> list[str]:
    return [ranked.document[start:end] for start, end in ranked.spans]


def test_only_what_is_returned_is_split_and_all_of_it_in_one_call(call: Call) -> None:
    leaf = Words()
    ranking = call(Passages(leaf).rank, "rotate a key", [DOOR, KEYS, PLANS, "key"], top_n=2)
    assert leaf.asked == [
        [DOOR, KEYS, PLANS, "key"],
        ["Keys open doors.", "To rotate a key, run this.", "Nothing here.", "Ask an owner about it."],
    ]
    assert [(ranked.index, ranked.score) for ranked in ranking] == [(1, 1.0), (0, pytest.approx(1 / 3))]
    assert ranking.usage == {"texts": 8.0}
    assert ranking.reranked_by == "passages(words)"


def test_the_best_passages_that_fit_are_kept_best_first(call: Call) -> None:
    # 26, 16 and 13 characters are estimated at 7, 4 and 4 tokens
    (ranked,) = call(Passages(Words(), max_tokens_per_document=11).rank, "rotate key doors nothing keys open", [KEYS])
    assert passages(ranked) == ["Keys open doors.", "To rotate a key, run this."]
    assert ranked.span == (0, 16)
    assert ranked.excerpt() == "Keys open doors. To rotate a key, run this."
    (one,) = call(Passages(Words(), max_tokens_per_document=1).rank, "rotate", [KEYS])
    assert passages(one) == ["To rotate a key, run this."], "the best is kept in any case"
    assert one.excerpt() == "To rotate a key, run this."


def test_a_passage_is_scored_below_its_headings(call: Call) -> None:
    leaf = Words()
    (ranked,) = call(Passages(leaf, max_tokens_per_document=4).rank, "team price", [PLANS])
    assert leaf.asked[1][2] == "# Plans\n| plan | price |\n|---|---|\n| Team | 20 |"
    assert ranked.excerpt() == "# Plans\n\n…\n\n| plan | price |\n|---|---|\n…\n| Team | 20 |"


def test_a_document_of_one_passage_or_without_scores_is_left_whole(call: Call) -> None:
    leaf = Words()
    (ranked,) = call(Passages(leaf).rank, "door", [DOOR])
    assert (ranked.spans, ranked.excerpt(), len(leaf.asked)) == ((), DOOR, 1)
    assert call(Passages("input-order").rank, "key", [KEYS])[0].spans == ()


def test_unscored_passages_of_a_cascade_follow_the_scored_ones(call: Call) -> None:
    (ranked,) = call(Passages(Cascade(Words(), Words(), keep=1)).rank, "rotate key", [KEYS])
    assert passages(ranked)[0] == "To rotate a key, run this."
    assert len(ranked.spans) == 4


def test_only_the_windows_of_long_documents_are_split(call: Call) -> None:
    leaf = Words()
    text = "Nothing at all is here. " * 20 + "To rotate a key, run this. Ask an owner about it. " + "No. " * 100
    (ranked,) = call(Passages(LongDocuments(leaf, window=20, stride=20), max_tokens_per_document=7).rank, "key", [text])
    assert passages(ranked) == ["To rotate a key, run this."]
    assert len(leaf.asked[-1]) < 5


def test_equal_passages_of_two_documents_count_in_both(call: Call) -> None:
    shared = "The same red key."
    found = call(
        Passages(Deduplicated(Words()), max_tokens_per_document=5).rank, "red key", [f"One. {shared}", f"{shared} Two."]
    )
    assert [passages(ranked) for ranked in found] == [[shared], [shared]]


def test_sentences_come_from_the_cache_whatever_document_they_are_in(call: Call) -> None:
    leaf = Words()
    reranker = Passages(Cached(leaf))
    first = call(reranker.rank, "rotate key", [KEYS])
    again = call(reranker.rank, "rotate key", [KEYS])
    assert (first.results, len(leaf.asked)) == (again.results, 2)
    outside = Cached(Passages(leaf))
    assert call(outside.rank, "rotate key", [KEYS]).results == call(outside.rank, "rotate key", [KEYS]).results
    assert call(outside.rank, "rotate key", [KEYS])[0].spans == first[0].spans


def test_a_fusion_keeps_the_passages_of_its_members(call: Call) -> None:
    ranking = call(Fusion([InputOrder(), Passages(Words())]).rank, "rotate key", [DOOR, KEYS])
    assert {ranked.index: bool(ranked.spans) for ranked in ranking} == {0: False, 1: True}


def test_failures_of_both_calls_are_reported(call: Call) -> None:
    class Failing(Words):
        def score(self, query: str, documents: Sequence[str]) -> Scores:
            raise ServerError("down", service="x")

    ranking = call(Passages(Fallback([Failing(), Words()])).rank, "rotate key", [KEYS])
    assert [failure.error for failure in ranking.failures] == ["ServerError", "ServerError"]


def test_spans_are_those_of_a_text_with_surrogates(call: Call) -> None:
    text = "\ud83d\ude00 One. Two \ud83d keys. Three."
    (ranked,) = call(Passages(Words(), max_tokens_per_document=6).rank, "keys", [text])
    assert passages(ranked)[0] == "Two \ud83d keys."


def test_a_huge_document_is_read_from_its_beginning_only(call: Call) -> None:
    leaf = Words()
    call(Passages(leaf).rank, "key", ["A key is here. " * 10_000])
    assert len(leaf.asked[1]) < 2_300


def test_a_reranker_that_finds_passages_is_not_wrapped_again() -> None:
    finding = Cascade("lexical", Passages(Words()))
    assert finding_passages(finding) is finding
    assert finding_passages(Words()).name == "passages(words)"
    with pytest.raises(ValueError, match="max_tokens_per_document must be at least 1 token"):
        Passages("lexical", max_tokens_per_document=0)
