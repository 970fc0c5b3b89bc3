# ruff: noqa: RUF001 - ambiguous characters are what is tested
"""The words of a text: the same ones whoever cuts it, in any script and any encoding of it."""

from __future__ import annotations

import sys
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksdk_rerank._text import words
from ksdk_rerank._text.words import encodable, estimated_tokens, normalised, terms_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't restore C++ v3.14, foo_bar!", ["don", "t", "restore", "c", "v3", "14", "foo", "bar"]),
        ("the “quick” fox — déjà vu", ["the", "quick", "fox", "déjà", "vu"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("தமிழ் മലയാളം বাংলা", ["தமிழ்", "മലയാളം", "বাংলা"]),
        ("كِتَاب שָׁלוֹם", ["كِتَاب", "שָׁלוֹם"]),
        ("東京に行く。", ["東", "京", "に", "行", "く"]),
        ("iPhone15を買う", ["iphone15", "を", "買", "う"]),
        ("ไทยที่", ["ไ", "ท", "ย", "ที่"]),
        ("한국어를", ["한", "국", "어", "를"]),
        ("𠀀𠮷", ["𠀀", "𠮷"]),
        ("𑄟𑄬 𝐁𝐨𝐥𝐝", ["𑄟𑄬", "bold"]),
        ("10² ½ Plans™", ["10", "2", "1", "2", "plans", "tm"]),
        ("1️⃣ 👍 ???", ["1"]),
        ("", []),
    ],
)
def test_a_text_has_these_words(text: str, words: list[str]) -> None:
    assert words_of(text) == [unicodedata.normalize("NFKC", word) for word in words]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("ガイド", "ｶﾞｲﾄﾞ"),
        ("ガイド", unicodedata.normalize("NFD", "ガイド")),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("ABC 123", "ＡＢＣ　１２３"),
        ("office", "oﬃce"),
        ("hyphenation", "hyphen\N{SOFT HYPHEN}ation"),
        ("میخواهم", "می\N{ZERO WIDTH NON-JOINER}خواهم"),
        ("STRASSE", "straße"),
        ("don't", "don’t"),
        ("м'який", "м\N{MODIFIER LETTER APOSTROPHE}який"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
def test_spellings_of_one_word_are_equal(one: str, other: str) -> None:
    assert words_of(one) == words_of(other) != []
    assert terms_of(one) == terms_of(other)


def test_scripts_without_spaces_are_searched_by_characters_and_pairs() -> None:
    assert terms_of("退款 in 三天,好") == ["退", "款", "退款", "in", "三", "天", "三天", "好"]
    assert terms_of("退款 in 三天,好", inner=False) == ["退款", "in", "三天", "好"]
    assert terms_of("ที่นี่") == ["ที่", "นี่", "ที่นี่"]
    assert terms_of("plain words, déjà vu") == words_of("plain words, déjà vu")


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=200)  # with lone surrogates


@given(ANY_TEXT)
@example("\ud800a\u0301")
@example("İ\u0345ΐ")
@settings(max_examples=60, deadline=None)
def test_any_text_is_cut_into_parts_of_itself(text: str) -> None:
    normal, words = normalised(text), words_of(text)
    at = 0
    for word in words:
        at = normal.index(word, at) + len(word)
        assert not any(character.isspace() for character in word)
    kept = "".join(words)
    assert all(character in kept for character in normal if character.isalnum())
    assert set(words) <= set(terms_of(text)) | set(terms_of(text, inner=False))
    assert words_of(text) == words_of(unicodedata.normalize("NFD", text))


def test_what_needs_no_large_classes_has_neither_marks_nor_letters_without_spaces() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if words._MARKED.search(character) or 0xD800 <= code <= 0xDFFF:
            continue
        assert unicodedata.category(character) not in ("Mn", "Mc") or words._INVISIBLE.match(character), hex(code)
        wide = unicodedata.east_asian_width(character) == "W" and character.isalnum()
        assert not wide or code >= 0x40000, hex(code)


@pytest.mark.parametrize(
    "piece", ["x", "東", "e\u0301", "क्", "\u0301", "\u0316\u0301", "\uff9e\u0301", "-'", "𠀀", "ﷺ", " "]
)
def test_long_runs_of_anything_are_cut_in_linear_time(piece: str) -> None:
    text = "a" + piece * (50_000 // len(piece))
    started = time.process_time()
    words_of(text), terms_of(text)
    assert time.process_time() - started < 2  # a pattern that goes back takes far longer


# Encodable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain \N{GRINNING FACE}", "plain \N{GRINNING FACE}"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00b", "\ufffdb"),
        ("\ud83dx\ude00", "\ufffdx\ufffd"),
        ("\ufeffa\ud800", "\ufeffa\ufffd"),
    ],
)
def test_halves_of_pairs_are_joined_or_replaced(text: str, expected: str) -> None:
    assert encodable(text) == expected


@given(ANY_TEXT)
@settings(deadline=None)
def test_any_text_can_be_encoded_afterwards(text: str) -> None:
    encodable(text).encode()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("four words it is", 4),  # 16 characters of one byte
        ("東京都庁舎", 5),
        ("東京abc", 3),  # 2 + 3 / 4
        ("", 0),
        ("déjà vu", 3),  # 2 / 2 + 5 / 4 = 2.25
        ("пароль", 3),  # 6 characters of two bytes
        ("비밀번호", 4),
        ("รหัสผ่าน", 8),
        ("សម្ងាត់", 7),
        ("किताब", 5),
    ],
)
def test_tokens_are_estimated_by_the_size_of_characters(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens
