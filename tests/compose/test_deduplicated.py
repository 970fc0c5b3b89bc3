# ruff: noqa: RUF001 - ambiguous characters are what is tested
"""`Deduplicated`: each text once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank import InputOrder
from ksdk_rerank.compose._shingles import shingles_of, words_and_marks
from ksdk_rerank.compose.deduplicated import Deduplicated, _alike, _jaccard

Call = Callable[..., Any]


def test_texts_equal_but_for_case_and_white_space_are_left_out(call: Call) -> None:
    documents = ["Straße und Haus", "other", "  STRASSE\tund\n haus ", "Straße und Haus.", "other"]
    ranking = call(Deduplicated(InputOrder()).rank, "q", documents)
    assert ranking.indices == (0, 1, 3)
    assert ranking.duplicates == {2: 0, 4: 1}
    assert [ranked.document for ranked in ranking] == [documents[0], documents[1], documents[3]]
    assert ranking.reranked_by == "deduplicated(input-order)"


def test_indices_are_positions_in_all_documents(call: Call) -> None:
    ranking = call(Deduplicated("lexical").rank, "red fox", ["", "dog", "dog", " ", "red fox", "Red Fox"])
    assert ranking.indices == (4, 1, 0, 3)
    assert ranking.duplicates == {2: 1, 5: 4}


def test_top_n_and_min_score_are_about_what_remains(call: Call) -> None:
    reranker = Deduplicated("lexical")
    assert call(reranker.rank, "fox", ["fox", "fox", "a fox there", "dog"], top_n=2).indices == (0, 2)
    assert call(reranker.rank, "fox", ["fox", "fox", "dog"], min_score=0.1).indices == (0,)


def test_the_worked_example_of_the_module_holds() -> None:
    one, other = "a b c d e f", "a b c d e g"
    assert _jaccard(shingles_of(one), shingles_of(other)) == 0.6
    assert Deduplicated(InputOrder(), by="near").rank("q", [one, other]).indices == (0, 1)
    assert Deduplicated(InputOrder(), by="near", threshold=0.6).rank("q", [one, other]).indices == (0,)


def test_at_the_default_one_word_in_thirty_and_three_in_a_hundred_may_differ() -> None:
    def near(count: int, changed: int) -> bool:
        words = [f"w{number}" for number in range(count)]
        text = " ".join(words)
        for place in range(changed):
            words[(place + 1) * count // (changed + 1)] = "changed"
        return bool(Deduplicated(InputOrder(), by="near").rank("q", [text, " ".join(words)]).duplicates)

    # one inner word is in 3 of 28 sequences: 25 / 31 = 0.806; two: 22 / 34 = 0.647
    assert near(30, 1)
    assert not near(30, 2)
    # three in a hundred: 9 of 98: 89 / 107 = 0.832; four: 86 / 110 = 0.782
    assert near(100, 3)
    assert not near(100, 4)


@pytest.mark.parametrize(
    "texts",
    [
        ["Yes, it is!", "yes it is", "Yes; it is...", "YES , it is ?", "yes,it is"],
        ["He said “no”.", 'He said "no".', "he said 'no'", "He said «no»", "¿He said no?"],
        ["It doesn't.", "It doesn’t", "It doesn\N{ACUTE ACCENT}t"],
        ["a word—another", "a word — another", "a word -- another", "a word–another", "a word another"],
        ["well-known", "well\N{NON-BREAKING HYPHEN}known", "well known"],
        ["2020-2024", "2020–2024", "2020—2024", "2020\N{MINUS SIGN}2024", "2020 – 2024", "2020 -\n2024"],
        ["at -5 degrees", "at \N{MINUS SIGN}5  degrees", "At\n–5 degrees"],
        ["a<b", "a < b"],
        ["Straße", "STRASSE", "stra\N{SOFT HYPHEN}sse"],
        ["café", "cafe\N{COMBINING ACUTE ACCENT}"],
        ["ＡＢＣ，１２３％", "abc, 123%"],
        ["鍵は更新され、古い鍵は有効です", "鍵は更新され、 古い鍵は有効です。", "鍵は更新され古い鍵は有効です"],
        ["नमस्ते दुनिया।", "नमस्ते दुनिया"],
    ],
)
def test_marks_that_change_the_look_of_a_text_make_no_difference(texts: list[str]) -> None:
    for threshold in (0.8, 1.0):
        ranking = Deduplicated(InputOrder(), by="near", threshold=threshold).rank("q", texts)
        assert ranking.duplicates == dict.fromkeys(range(1, len(texts)), 0)


@pytest.mark.parametrize(
    "texts",
    [
        ["C", "C++", "C#", "C--"],
        ["It is -5 outside", "It is 5 outside", "It is +5 outside", "It is ±5 outside"],
        ["10%", "10‰", "10", "10°", "10′", "10″", "§10", "#10"],
        ["if a < b then", "if a > b then", "if a b then", "if a <= b then", "if a ≠ b then", "if a = b then"],
        ["x == y", "x = y", "x != y", "x := y"],
        ["5€", "5$", "5£", "5"],
        ["3.14", "3,14", "3 14", "3:14", "3-14", "3/14"],
        ["10²", "102", "10₂"],
        ["5½", "51/2"],
        ["A-", "A+", "A", "A*"],
        ["(a + b) * c", "a + (b * c)", "a + b * c"],
        ["[0, 1)", "(0, 1]", "[0, 1]"],
        ["ready", "!ready", "¬ready", "~ready"],
        [".NET", "NET"],
        ["run --force", "run -force", "run force"],
        ["x && y", "x || y", "x & y"],
        ["foo_bar", "foo bar", "foo/bar", "foo\\bar", "foo.bar"],
        ["👍", "👎"],
        ["価格は-5円", "価格は5円"],
        ["do", "do not", "don't"],
    ],
)
def test_marks_that_carry_meaning_are_counted(texts: list[str]) -> None:
    for threshold in (0.8, 1.0):
        assert not Deduplicated(InputOrder(), by="near", threshold=threshold).rank("q", texts).duplicates


def test_chinese_and_japanese_are_compared_by_character() -> None:
    near = Deduplicated(InputOrder(), by="near")
    text = "鍵は九十日ごとに更新され、古い鍵は一週間有効です"
    assert near.rank("q", [text, text + "。", "古い鍵は一週間有効です"]).duplicates == {1: 0}


def test_texts_equal_but_for_their_encoding_are_left_out(call: Call) -> None:
    documents = ["Café", "CAFE\N{COMBINING ACUTE ACCENT}", "ｃａｆé", "Cafe", "10²", "102"]
    assert call(Deduplicated(InputOrder()).rank, "q", documents).duplicates == {1: 0, 2: 0}


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
@settings(max_examples=50, deadline=None)
def test_any_text_is_cut_into_parts_that_letter_case_and_spaces_do_not_change(text: str) -> None:
    assert words_and_marks(f"  {text}\n") == words_and_marks(text)
    assert all(part and not part.isspace() for part in words_and_marks(text))


@pytest.mark.parametrize("piece", ["-", ".", ".-", "a-", "1 - ", "1-", " ", "!=", "'", "a\u0316\u0301", "，", "\u0301"])
def test_long_runs_of_marks_take_linear_time(piece: str) -> None:
    started = time.process_time()
    words_and_marks("a" + piece * (50_000 // len(piece)))
    assert time.process_time() - started < 2  # a pattern that goes back takes far longer


def test_texts_without_words_repeat_only_their_like() -> None:
    assert Deduplicated(InputOrder(), by="near").rank("q", ["?!", "...", "?!", "a", "a b"]).duplicates == {2: 0}


def test_one_is_compared_with_those_that_stay_only() -> None:
    a, b, c = (" ".join(f"w{number}" for number in range(count)) for count in (40, 44, 48))
    # 38, 42 and 46 sequences, each in the next: a and b 38 / 42 = 0.905, b and c 42 / 46 = 0.913, a and c 0.826
    reranker = Deduplicated(InputOrder(), by="near", threshold=0.9)
    assert reranker.rank("q", [a, b, c]).indices == (0, 2)
    assert reranker.rank("q", [b, a, c]).indices == (0,)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_near_finds_what_comparing_all_pairs_finds(threshold: float) -> None:
    generator = random.Random(int(threshold * 10))
    for _ in range(30):
        texts = [" ".join(generator.choices("abcd", k=generator.randint(1, 9))) for _ in range(25)]
        shingles = [shingles_of(text) for text in texts]
        expected: dict[int, int] = {}
        for earlier, later in sorted(combinations(range(len(texts)), 2), key=lambda pair: (pair[1], pair[0])):
            alike = _jaccard(shingles[earlier], shingles[later]) >= threshold
            if alike and earlier not in expected and later not in expected:
                expected[later] = earlier
        assert _alike(texts, threshold) == expected


def test_thousands_of_documents_that_share_their_boilerplate_do_not_hang() -> None:
    generator = random.Random(3)
    header = " ".join(f"header{number}" for number in range(60))
    documents = [header + " " + " ".join(f"w{generator.randint(0, 10**6)}" for _ in range(60)) for _ in range(1000)]
    started = time.process_time()
    ranking = Deduplicated(InputOrder(), by="near").rank("q", [*documents, *documents[:100]])
    assert len(ranking) == 1000
    assert len(ranking.duplicates) == 100
    assert time.process_time() - started < 5


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Deduplicated("lexical", by="near", threshold=threshold)


def test_another_way_of_comparing_is_refused() -> None:
    with pytest.raises(ValueError, match="'text' or 'near'"):
        Deduplicated("lexical", by="id")  # type: ignore[arg-type]
