"""Text shortened to one line, in any script."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank._text.snippets import shortened


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fits  on\none line", "fits on one line"),
        ("word " * 10, "word word word ..."),
        ("東京都" * 10, "東京都東京都東京都東京都東京都東..."),
        ("x " + "東京都" * 10, "x 東京都東京都東京都東京都東京..."),
        ("x" * 40, "x" * 16 + "..."),
        ("e\u0301" * 20, "e\u0301" * 8 + "..."),
        ("x" + "e\u0301" * 20, "x" + "e\u0301" * 7 + "..."),
        ("🇩🇪" * 20, "🇩🇪" * 8 + "..."),
        ("x" + "🇩🇪" * 20, "x" + "🇩🇪" * 7 + "..."),
        ("x" * 15 + "👩\u200d🔬" * 20, "x" * 15 + "..."),
        ("กำ" * 20, "กำ" * 8 + "..."),
    ],
)
def test_a_snippet_ends_after_a_word_or_a_whole_character(text: str, expected: str) -> None:
    assert shortened(text, 20) == expected


@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.integers(10, 90))
@settings(deadline=None)
def test_a_snippet_is_the_start_of_its_text(text: str, width: int) -> None:
    line, short = " ".join(text.split()), shortened(text, width)
    assert len(short) <= width
    assert short == line or (short.endswith("...") and line.startswith(short[:-3].rstrip()) and len(short) > width // 3)


@pytest.mark.parametrize("piece", ["x", " ", "-", "\u0301", "🇩", "\u200d", "x "])
def test_a_long_text_is_shortened_in_a_moment(piece: str) -> None:
    started = time.process_time()
    shortened("a" + piece * (10**5 // len(piece)), 200)
    assert time.process_time() - started < 2
