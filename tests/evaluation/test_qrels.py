"""Which candidates are answers, and what an order of them is worth."""

from __future__ import annotations

import unicodedata

import pytest

from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation import answers_to
from ksdk_rerank.evaluation.qrels import QueryJudgements

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
HIT = SearchHit("ki_17", "text", source="https://docs.example.com/docs/keys/rotate-a-key.md?v=2#steps")


@pytest.mark.parametrize(
    "answer",
    [
        "ki_17",
        "https://docs.example.com/docs/keys/rotate-a-key.md?v=2#steps",
        "http://docs.example.com/docs/keys/rotate-a-key.md",
        "rotate-a-key",
        "rotate-a-key.md",
        "keys/rotate-a-key",
        "/keys/",
        "docs.example.com/docs",
        "rotate-a-key.md?v=2#steps",
        "#steps",
    ],
)
def test_an_id_a_page_or_a_part_of_the_address_is_the_hit(answer: str) -> None:
    assert answers_to(HIT, [answer]) == [answer]


@pytest.mark.parametrize(
    "answer",
    [
        "ki_1",
        "rotate",
        "keys",
        "key",
        "keys/rotate",
        "s/rotate-a-key",
        "docs/rotate-a-key",
        "#step",
        "Rotate-a-key",
        "/",
    ],
)
def test_parts_of_words_and_other_pages_are_not(answer: str) -> None:
    assert answers_to(HIT, [answer]) == []


def test_a_slash_at_the_end_does_not_count() -> None:
    assert answers_to(SearchHit("1", "t", source="https://x.com/billing/"), ["x.com/billing", "billing"])
    assert answers_to(SearchHit("1", "t", source="x.com/billing"), ["https://x.com/billing/"])


def test_a_source_that_is_no_address_is_compared_all_the_same() -> None:
    hit = SearchHit("1", "t", source="http://[draft/rotate-a-key.md")
    assert answers_to(hit, ["rotate-a-key", "[draft/rotate-a-key.md", "draft"]) == [
        "rotate-a-key",
        "[draft/rotate-a-key.md",
    ]


def test_a_hit_without_a_source_is_found_by_its_id_only() -> None:
    assert answers_to(SearchHit("d1", "t"), ["d1", "d"]) == ["d1"]


def test_an_answer_counts_once_at_its_first_section() -> None:
    hits = [SearchHit(str(n), "t", source=s) for n, s in enumerate(["b.md", "a.md#one", "a.md#two"])]
    judged = QueryJudgements(hits, ["a", "c"])
    assert judged.credited([0, 2, 1]) == [None, "a", None]
    assert judged.grades() == (0, 1, 1)
    assert judged.missed() == ("c",)


def test_grades_go_by_the_exact_id() -> None:
    hits = [SearchHit("1", "t", source="12.md"), SearchHit("12", "t", source="1.md")]
    judged = QueryJudgements(hits, {"12": 3, "1": 0, "9": 1})
    assert judged.grades() == (0, 3)
    assert judged.missed() == ("9",)
    assert judged.credited([0, 1]) == ["1", "12"]


@pytest.mark.parametrize(
    "answers",
    [
        ["seats", "seats.md"],
        ["seats.md", "https://x.com/billing/seats.md", "billing/seats"],
        ["http://x.com/billing/seats.md/", "seats"],
        ["seats", "seats.md#refunds"],
        ["d1", "seats"],
        ["seats", NFC, NFD, "seats"],
    ],
)
def test_a_page_that_a_question_names_twice_counts_once(answers: list[str]) -> None:
    hits = [
        SearchHit("d0", "t", source="other.md"),
        SearchHit("d1", "t", source="https://x.com/billing/seats.md#refunds"),
    ]
    judged = QueryJudgements(hits, answers)
    pages = 2 if NFC in answers else 1
    assert len(judged.qrels) == pages
    assert judged.grades() == (0, 1)
    assert len(judged.missed()) == pages - 1
    assert judged.credited([0, 1]) == [None, answers[0]]


def test_pages_of_one_name_in_two_folders_are_two() -> None:
    hits = [SearchHit("1", "t", source="a/seats.md"), SearchHit("2", "t", source="b/seats.md")]
    judged = QueryJudgements(hits, ["a/seats", "b/seats"])
    assert judged.credited([0, 1]) == ["a/seats", "b/seats"]


def test_many_answers_to_one_question_are_no_burden() -> None:
    answers = [f"page-{n}" for n in range(20_000)]
    assert len(QueryJudgements([SearchHit("1", "t", source="page-7.md")], answers).qrels) == 20_000
