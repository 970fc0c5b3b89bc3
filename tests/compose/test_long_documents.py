"""`LongDocuments`: windows in, one score a document out."""

from __future__ import annotations

import base64
import pickle
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank import CrossEncoderReranker, InputOrder, Ranked, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.compose._windows import CountsTokens, Window, _Long, windows
from ksdk_rerank.compose.cached import Cached
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.long_documents import LongDocuments, _estimates
from ksdk_rerank.errors import HubUnreachable

Call = Callable[..., Any]


class Counting(ScoringReranker):
    """Says how often the query is in the text as a word, of `room` words that it reads; a token is a word."""

    score_kind = ScoreKind.UNIT

    def __init__(self, room: int = 10_000) -> None:
        self.room = room
        self.asked: list[list[str]] = []
        self.counted = 0

    @property
    def name(self) -> str:
        return "counting"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(list(documents))
        read = [document.split()[: self.room] for document in documents]
        raw = [sum(query in word for word in words) / 10 for words in read]
        return Scores(raw, truncated=sum(len(document.split()) > self.room for document in documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


class Tokenizing(Counting):
    """Also counts tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted += len(texts)
        return [len(text.split()) for text in texts]

    def document_room(self, query: str) -> int:
        return self.room - len(query.split())


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


# What a window is


def test_the_worked_example_of_the_windows_holds() -> None:
    sentences = [f"{letter} w w w." for letter in "ABCD"]
    found, _ = windows([" ".join(sentences)], limit=10, stride=5, count=words)
    assert [window.text for window in found] == ["A w w w. B w w w.", "B w w w. C w w w.", "C w w w. D w w w."]
    assert [window.span for window in found] == [(0, 17), (9, 26), (18, 35)]


def test_a_document_that_fits_is_its_own_only_window() -> None:
    text = "  One. Two. Three.  "
    found, _ = windows([text, "Four."], limit=3, stride=1, count=words)
    assert found == [Window(0, text, None), Window(1, "Four.", None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is it? Yes! Go.", ["Is it?", "Yes!", "Go."]),
        ('He said "No." Then left.', ['He said "No."', "Then left."]),
        ("Version 1.2 is out. See a.b for more.", ["Version 1.2 is out.", "See a.b for more."]),
        ("# Title\n\nText\nmore", ["# Title", "Text", "more"]),
        ("これはペンです。「はい。」と言った｡終", ["これはペンです。", "「はい。」", "と言った｡", "終"]),
    ],
)
def test_windows_break_between_sentences(text: str, expected: list[str]) -> None:
    found, _ = windows([text], limit=1, stride=1, count=lambda texts: [1 for _ in texts])
    assert [window.text for window in found] == expected
    assert [text[slice(*window.span)] for window in found if window.span] == expected


def test_a_sentence_longer_than_a_window_is_cut_between_words() -> None:
    text = " ".join(f"w{number}" for number in range(100))
    found, _ = windows([text], limit=12, stride=6, count=words)
    assert all(len(window.text.split()) <= 12 for window in found)
    assert {word for window in found for word in window.text.split()} == set(text.split())
    assert all(set(a.text.split()) & set(b.text.split()) for a, b in pairwise(found))


def test_a_text_without_any_break_is_cut_where_it_must_be() -> None:
    text = "x" * 10_000
    found, _ = windows([text], limit=100, stride=50, count=_estimates)
    assert all(len(window.text) <= 400 for window in found)
    assert found[-1].span is not None
    assert found[-1].span[1] == 10_000


@pytest.mark.parametrize("text", ["पहला। दूसरा।", "أول؟ ثان؟", "የመጀመሪያ። ሁለተኛ።", "ទីមួយ។ ទីពីរ។", "ပထမ။ ဒုတိယ။"])
def test_windows_break_between_the_sentences_of_any_script(text: str) -> None:
    found, _ = windows([text], limit=1, stride=1, count=lambda texts: [1 for _ in texts])
    assert [window.text for window in found] == text.split()


@given(
    texts=st.lists(st.text(alphabet="ab .!?\n。東 ", max_size=120), max_size=4),
    limit=st.integers(1, 20),
    stride=st.integers(1, 20),
)
@settings(max_examples=50, deadline=None)
def test_windows_cover_every_character_that_is_not_white_space(texts: list[str], limit: int, stride: int) -> None:
    for count in (words, _estimates):
        found, _ = windows(texts, limit, min(stride, limit), count)
        for index, text in enumerate(texts):
            own = [window for window in found if window.document == index]
            if len(own) == 1 and own[0].span is None:
                assert own[0].text == text
                continue
            covered: set[int] = set()
            for window in own:
                assert window.span is not None
                assert text[slice(*window.span)] == window.text
                assert window.text == window.text.strip() != ""
                covered.update(range(*window.span))
            assert all(text[place].isspace() for place in set(range(len(text))) - covered)


def _sentences(text: str, characters: int) -> list[str]:
    """All sentences of `text`, taken in steps of about so many characters."""
    document = _Long(text, limit=1, stride=1, fits=0, most=1)
    found: list[str] = []
    while sum(map(len, found)) < len(text):
        found += [text[start:end] for start, end in document.next_sentences(characters)]
    return found


@given(st.text(max_size=200), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_sentences_are_the_whole_text_whatever_it_is(text: str, characters: int) -> None:
    assert "".join(_sentences(text, characters)) == text


@pytest.mark.parametrize("piece", [".", ". ", '."', ".) ", "。", "。」", "\n", "\n ", "!\u00a0", "।", "x", " ", "\r"])
def test_sentences_are_found_in_linear_time(piece: str) -> None:
    started = time.process_time()
    _sentences("a" + piece * (50_000 // len(piece)) + "b", characters=100_000)
    assert time.process_time() - started < 2  # a pattern that goes back takes far longer


def test_a_long_text_is_split_in_a_moment() -> None:
    started = time.process_time()
    found, _ = windows(
        ["A sentence of some words. " * 4_000, "y" * 100_000, "." * 100_000, ". " * 5_000],
        384,
        192,
        _estimates,
    )
    assert time.process_time() - started < 2
    assert len(found) > 200


# How many are read


@given(
    texts=st.lists(
        st.lists(
            st.sampled_from(["ab ", "a. ", "b! ", "\n", "東。", "x" * 700, " " * 900, "b" * 5000, "? "]), max_size=60
        ).map("".join),
        max_size=3,
    ),
    limit=st.integers(1, 40),
    stride=st.integers(1, 40),
    most=st.integers(1, 12),
)
@settings(max_examples=30, deadline=None)
def test_the_first_windows_are_those_of_all_windows(texts: list[str], limit: int, stride: int, most: int) -> None:
    for count in (words, _estimates):
        every, _ = windows(texts, limit, min(stride, limit), count)
        first, cut = windows(texts, limit, min(stride, limit), count, most=most)
        of = [[window for window in every if window.document == index] for index in range(len(texts))]
        assert first == [window for own in of for window in own[:most]]
        assert cut == sum(len(own) > most for own in of)


def test_a_document_is_read_no_further_than_its_windows_need() -> None:
    seen: list[str] = []

    def count(texts: Sequence[str]) -> list[int]:
        seen.extend(texts)
        return words(texts)

    endless = "Nothing here at all. " * 100_000
    found, cut = windows([endless, ONE], limit=8, stride=4, count=count, most=5)
    assert ([window.document for window in found], cut) == ([0, 0, 0, 0, 0, 1], 1)
    assert sum(map(len, seen)) < 10_000


def test_a_document_that_fits_is_whole_however_few_windows_are_read() -> None:
    text = "Nothing here at all. " * 100
    assert windows([text], limit=8, stride=4, count=words, fits=400, most=1) == ([Window(0, text, None)], 0)
    found, cut = windows([text], limit=8, stride=4, count=words, fits=399, most=1)
    assert (found, cut) == ([Window(0, text[:41], (0, 41))], 1)


def test_what_is_beyond_the_last_window_is_not_read_and_is_counted_by_document(call: Call) -> None:
    leaf = Counting()
    documents = [LONG, ONE, f"{LONG} {LONG}"]  # of four windows, one and eight
    ranking = call(LongDocuments(leaf, window=8, max_windows=3).rank, "fox", documents)
    assert len(leaf.asked[0]) == 3 + 1 + 3
    assert ranking.truncated == 2
    assert [(ranked.index, ranked.span) for ranked in ranking] == [(0, (43, 59)), (2, (43, 59)), (1, None)]
    ranking = call(LongDocuments(leaf, window=8, max_windows=2).rank, "fox", documents)
    assert [(ranked.index, ranked.score) for ranked in ranking] == [(1, 0.1), (0, 0.0), (2, 0.0)]
    assert call(LongDocuments(leaf, window=8, max_windows=None).rank, "fox", documents).truncated == 0


def test_windows_of_nothing_but_white_space_do_not_count() -> None:
    text = "One here. " + " " * 20_000 + "\n" * 20_000 + "Two here. And three."
    found, cut = windows([text], limit=4, stride=4, count=_estimates, most=3)
    assert ([window.text for window in found], cut) == (["One here.", "Two here.", "And three."], 0)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(random.Random(1).randbytes(150_000)).decode(),
        "word " * 40_000,
        "這是一個測試" * 30_000,
        "A sentence. " * 16_000,
        "a\n\n\n" * 50_000,
        "." * 200_000,
        '."' * 100_000,
    ],
    ids=["base64", "words", "chinese", "sentences", "lines", "dots", "quotes"],
)
def test_a_long_text_costs_what_its_windows_cost(text: str) -> None:
    class Watched(CrossEncoderReranker):
        read = 0

        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            self.read += sum(map(len, texts))
            return super().count_tokens(texts)

    leaf = Watched("embedded")
    ranking = LongDocuments(leaf, max_windows=4).rank("key", [text])
    assert ranking.truncated == 1
    assert leaf.read < len(text) / 4


# What becomes of the scores

LONG = "Nothing here at all. Still nothing at all. A fox and a fox. Nothing again here now."
ONE = "Only one fox is in this one."


def test_a_document_is_as_good_as_its_best_window_and_says_where_it_is(call: Call) -> None:
    leaf = Counting()
    # about 5 tokens a sentence: windows of one sentence each, as two are 10 and more
    ranking = call(LongDocuments(leaf, window=8).rank, "fox", [ONE, LONG])
    assert ranking.results == (
        Ranked(1, LONG, 0.2, 0.2, ((43, 59),)),
        Ranked(0, ONE, 0.1, 0.1),
    )
    assert LONG[43:59] == "A fox and a fox."
    assert len(leaf.asked) == 1, "the windows of all documents go in one call"
    assert leaf.asked[0][0] == ONE


def test_the_mean_is_of_the_best_windows_and_both_scores_are_it(call: Call) -> None:
    text = "A fox. A fox fox. No one. A fox fox fox."
    # scores of the windows: 0.1, 0.2, 0, 0.3; the best two: 0.25; of ONE its only one: 0.1
    ranking = call(LongDocuments(Counting(), window=4, stride=1, pool="mean", k=2).rank, "fox", ["One fox.", text])
    best = ranking[0]
    assert (best.index, best.raw_score, best.score) == (1, pytest.approx(0.25), pytest.approx(0.25))
    assert text[slice(*best.span)].endswith("A fox fox fox.")
    assert (ranking[1].index, ranking[1].score, ranking[1].span) == (0, pytest.approx(0.1), None)


def test_the_spans_are_those_of_the_windows_in_the_mean_best_first(call: Call) -> None:
    text = "A fox. A fox fox. No one. A fox fox fox."
    (ranked,) = call(LongDocuments(Counting(), window=4, stride=4, pool="mean", k=2).rank, "fox", [text])
    assert [text[start:end] for start, end in ranked.spans] == ["A fox fox fox.", "A fox fox."]


def test_windows_split_no_character() -> None:
    family = "👩\u200d👩\u200d👧"
    found, _ = windows([family * 100], 40, 20, lambda texts: [len(text) for text in texts])
    assert len(found) > 5
    assert all(window.text == family * (len(window.text) // len(family)) for window in found)


def test_ties_stay_in_input_order(call: Call) -> None:
    documents = [LONG, "fox fox", LONG + " " + ONE]
    for pool in ("max", "mean"):
        reranker = LongDocuments(Counting(), window=8, pool=pool, k=1)
        assert call(reranker.rank, "fox", documents).indices == (0, 1, 2)


def test_without_scores_documents_are_ordered_by_their_best_windows(call: Call) -> None:
    ranking = call(LongDocuments(InputOrder(), window=8).rank, "fox", [LONG, ONE])
    assert ranking.indices == (0, 1)
    assert [ranked.score for ranked in ranking] == [None, None]


def test_windows_that_a_cascade_leaves_unscored_count_only_where_there_is_no_other(call: Call) -> None:
    documents = [LONG, "No such animal. None at all. None of them.", ONE]
    for pool in ("max", "mean"):
        inner = Cascade("lexical", Counting(), keep=2)
        ranking = call(LongDocuments(inner, window=8, pool=pool).rank, "fox", documents)
        assert ranking.indices == (0, 2, 1)
        assert [ranked.score for ranked in ranking] == [pytest.approx(0.2), pytest.approx(0.1), None]


def test_a_window_left_out_counts_as_the_one_it_repeats(call: Call) -> None:
    shared = "A fox and a fox."
    documents = [f"First of all this. {shared}", f"Second there is this. {shared}", shared]
    ranking = call(LongDocuments(Deduplicated(Counting()), window=6).rank, "fox", documents)
    # the last has no other window, so nothing is left of it
    assert [(ranked.index, ranked.score) for ranked in ranking] == [(0, 0.2), (1, 0.2)]
    assert ranking.duplicates == {2: 0}
    assert [documents[ranked.index][slice(*ranked.span)] for ranked in ranking] == [shared, shared]


def test_spans_of_nested_windows_are_positions_in_the_document(call: Call) -> None:
    inner = LongDocuments(Counting(), window=8)
    ranking = call(LongDocuments(inner, window=14).rank, "fox", [LONG, ONE])
    assert LONG[slice(*ranking[0].span)] == "A fox and a fox."


# In whose tokens


def test_by_default_only_what_does_not_fit_is_split_and_that_into_short_windows(call: Call) -> None:
    sentences = [f"w{number} w w w w w w w w." for number in range(60)]
    fits, long = " ".join(sentences[:30]), " ".join(sentences)
    leaf = Tokenizing(room=301)
    ranking = call(LongDocuments(leaf).rank, "w7", [fits, long])
    assert leaf.asked[0][0] == fits  # 270 words, and 300 are left beside the query
    assert max(words(leaf.asked[0][1:])) == 126  # of 540, as many sentences of 9 as 128 hold
    assert {ranked.index: ranked.span is None for ranked in ranking} == {0: True, 1: False}


def test_windows_are_counted_in_the_tokens_of_the_leaf_and_fit_beside_the_query(call: Call) -> None:
    text = " ".join(f"w{number} w w w w w w w w." for number in range(20))
    leaf = Tokenizing(room=30)
    ranking = call(LongDocuments(leaf).rank, "three word query", [text])
    assert max(words(leaf.asked[0])) == 27  # 30 less the query's 3: three sentences of 9
    assert ranking.truncated == 0
    leaf = Tokenizing(room=30)
    call(LongDocuments(leaf, window=18).rank, "query", [text])
    assert max(words(leaf.asked[0])) == 18
    leaf = Tokenizing(room=30)
    call(LongDocuments(leaf, window=1_000).rank, "query", [text])
    assert max(words(leaf.asked[0])) == 27


def test_the_counting_leaf_is_found_inside_other_wrappers() -> None:
    text = " ".join(f"w{number} w w w w w w w w." for number in range(20))
    for wrapped in (
        lambda leaf: Cached(leaf),
        lambda leaf: Fusion([InputOrder(), leaf]),
        lambda leaf: Cascade("lexical", Deduplicated(leaf), keep=50),
    ):
        leaf = Tokenizing(room=30)
        LongDocuments(wrapped(leaf)).rank("query", [text])
        assert max(words(leaf.asked[0])) == 27


class Unreachable(Tokenizing):
    """A model that cannot be downloaded."""

    def document_room(self, query: str) -> int:
        raise HubUnreachable("no model hub")

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        raise HubUnreachable("no model hub")


def test_a_model_that_cannot_count_is_for_the_reranker_to_judge(call: Call) -> None:
    ranking = call(LongDocuments(Fallback([Unreachable(room=30), "lexical"])).rank, "fox", [ONE, LONG])
    assert ranking.reranked_by == "long-documents(lexical)"
    assert [failure.error for failure in ranking.failures] == ["HubUnreachable"]
    assert call(LongDocuments(Fallback([Counting(), Unreachable(room=30)])).rank, "fox", [ONE, LONG]).failures == ()
    with pytest.raises(HubUnreachable):
        call(LongDocuments(Unreachable(room=30)).rank, "fox", [ONE, LONG])


@pytest.mark.parametrize("wrapped", [lambda leaf: leaf, Cached])
def test_a_model_that_a_fallback_only_turns_to_in_an_outage_is_not_loaded_to_count(
    call: Call, wrapped: Callable[[Reranker], Reranker]
) -> None:
    spare = Tokenizing(room=30)
    hosted = Counting()
    call(LongDocuments(wrapped(Fallback([hosted, Fallback([spare])]))).rank, "fox", ["dog " * 600])
    assert spare.counted == 0
    assert max(words(hosted.asked[0])) > 30
    preferred = Tokenizing(room=30)
    call(LongDocuments(wrapped(Fallback([preferred, hosted]))).rank, "fox", ["dog " * 600])
    assert preferred.counted > 0


def test_short_documents_are_not_counted_and_change_nothing(call: Call) -> None:
    leaf = Tokenizing(room=512)
    wrapped = call(LongDocuments(leaf).rank, "fox", [ONE, LONG])
    assert wrapped.results == call(leaf.rank, "fox", [ONE, LONG]).results
    assert leaf.counted == 0
    assert leaf.asked == [[ONE, LONG], [ONE, LONG]]


def test_what_is_cut_all_the_same_is_counted_by_document(call: Call) -> None:
    ranking = call(LongDocuments(Counting(room=2), window=8).rank, "fox", [LONG])
    assert ranking.truncated == 1  # four windows, one document


def test_a_query_that_leaves_no_room_is_for_the_model_to_refuse(call: Call) -> None:
    leaf = Tokenizing(room=5)
    ranking = call(LongDocuments(leaf).rank, "a query of more than five", ["fox " * 100])
    assert len(ranking) == 1
    assert len(leaf.asked[0]) < 20


def test_protocol_is_recognised_by_its_methods() -> None:
    assert isinstance(Tokenizing(), CountsTokens)
    assert not isinstance(Counting(), CountsTokens)


async def test_async_calls_count_on_a_thread_of_their_own() -> None:
    class Where(Tokenizing):
        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            threads.append(threading.current_thread().name)
            return super().count_tokens(texts)

    threads: list[str] = []
    await LongDocuments(Where(room=30)).arank("query", ["w w w w w. " * 100])
    assert threads
    assert all(name.startswith("ksdk-rerank-long-documents") for name in threads)


def test_pickling_keeps_the_arguments_only() -> None:
    reranker = LongDocuments("lexical", window=50, stride=20, pool="mean", k=2, max_windows=9)
    assert repr(pickle.loads(pickle.dumps(reranker))) == repr(reranker)
    assert re.fullmatch(
        r"LongDocuments\(reranker=.*, window=50, stride=20, pool='mean', k=2, max_windows=9\)", repr(reranker)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "at least 1 token"),
        ({"window": 10, "stride": 11}, "at most window"),
        ({"stride": 0}, "use None for half of window"),
        ({"pool": "sum"}, "'max' or 'mean'"),
        ({"pool": "mean", "k": 0}, "at least 1"),
        ({"max_windows": 0}, "max_windows must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LongDocuments("lexical", **options)
