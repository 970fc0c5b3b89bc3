"""`LexicalReranker`: BM25, checked by hand and against bm25s."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import bm25s
import pytest

from ksdk_rerank import LexicalReranker, Scores
from ksdk_rerank._text.words import words_of

ARTICLES = [path.read_text() for path in sorted(Path("examples/knowledge_base").glob("*.md"))]


def test_the_worked_example_of_the_module_holds() -> None:
    ranking = LexicalReranker().rank("red fox", ["the dog", "the red fox"])
    # idf = ln 2; saturation = 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * 3 / 2.5)) = 1 / 2.38
    assert ranking[0].index == 1
    assert ranking[0].raw_score == pytest.approx(2 * math.log(2) / 2.38)
    assert ranking[0].score == pytest.approx(1 / 2.38)
    assert (ranking[1].raw_score, ranking[1].score) == (0.0, 0.0)


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (1.5, 0.75), (0.9, 0.4), (2.0, 0.0), (1.2, 1.0)])
def test_scores_equal_those_of_bm25s(k1: float, b: float) -> None:
    reference = bm25s.BM25(method="lucene", k1=k1, b=b)
    reference.index([words_of(article) for article in ARTICLES], show_progress=False)
    generator = random.Random(7)
    for _ in range(20):
        query = " ".join(generator.sample(words_of(generator.choice(ARTICLES)), 6))
        expected = reference.get_scores(words_of(query))
        ranking = LexicalReranker(k1=k1, b=b).rank(query, ARTICLES)
        for ranked in ranking:
            assert ranked.raw_score == pytest.approx(expected[ranked.index], abs=1e-4)  # bm25s computes in float32


def test_scores_stay_within_their_bound() -> None:
    for ranked in LexicalReranker().rank("key " * 3 + "alert", ["key key key key", *ARTICLES]):
        assert ranked.score is not None
        assert 0.0 <= ranked.score < 1.0


def test_case_and_punctuation_make_no_difference() -> None:
    assert LexicalReranker().rank("RESTORE, Project!", ["a panel", "restore a project"])[0].index == 1


def test_chinese_is_compared_by_characters_and_pairs() -> None:
    assert LexicalReranker().rank("如何退款", ["天气很好", "退款需要三天"])[0].index == 1


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [
        ("किताब कहाँ है", "मेरी किताब", "मेरा कताब और कुतुब"),
        ("cafe\N{COMBINING ACUTE ACCENT} crème", "le café", "cafe cafe"),
        ("ｶﾞｲﾄﾞ", "ガイドを読む", "カイトを見る"),
        ("再設定する", "パスワードの再設定", "設再定本"),
        ("รหัสผ่าน", "ลืมรหัสผ่าน", "ผ่านมาแล้ว"),
        ("비밀번호", "비밀번호를 바꾸다", "번호 비밀이 아니다"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER K}ey", "a key", "a door"),
        ("hyphenation", "hyphen\N{SOFT HYPHEN}ation", "hyphen"),
        ("میخواهم", "می\N{ZERO WIDTH NON-JOINER}خواهم", "می"),
    ],
)
def test_the_right_document_comes_first_in_any_script(query: str, right: str, wrong: str) -> None:
    ranking = LexicalReranker().rank(query, [wrong, right])
    assert ranking[0].document == right
    assert ranking[0].raw_score > ranking[1].raw_score  # type: ignore[operator]


def test_a_query_without_words_scores_nothing_and_keeps_the_order() -> None:
    ranking = LexicalReranker().rank("?!", ["b", "a"])
    assert [(ranked.index, ranked.score) for ranked in ranking] == [(0, 0.0), (1, 0.0)]


def test_documents_without_words_are_ranked_like_others() -> None:
    assert LexicalReranker().rank("key", ["***", "key"]).indices == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k1": -1.0}, "k1 must be"), ({"k1": math.nan}, "k1 must be"), ({"b": 1.5}, "b must be")],
)
def test_parameters_off_their_scale_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LexicalReranker(**options)


def test_the_asynchronous_path_works_beside_the_event_loop() -> None:
    threads: set[str] = set()

    class Watched(LexicalReranker):
        def score(self, query: str, documents: Sequence[str]) -> Scores:
            threads.add(threading.current_thread().name)
            return super().score(query, documents)

    ranking = asyncio.run(Watched().arank("restore project", ARTICLES))
    assert ranking == LexicalReranker().rank("restore project", ARTICLES)
    assert all(name.startswith("ksdk-rerank-lexical") for name in threads)


def test_the_repr_says_how_to_build_it() -> None:
    assert repr(LexicalReranker()) == "LexicalReranker()"
    assert repr(LexicalReranker(k1=2.0)) == "LexicalReranker(k1=2.0)"
