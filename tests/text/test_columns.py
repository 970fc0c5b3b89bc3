"""Tables for a fixed-width font: aligned, and as narrow as the terminal."""

from __future__ import annotations

import pytest

from ksdk_rerank._text.columns import one_line, table


def test_text_is_on_the_left_and_numbers_on_the_right() -> None:
    assert table(["rank", "title"], [["1", "Tea"], ["10", "Green tea"]], texts={"title"}) == [
        "rank  title",
        "----  ---------",
        "   1  Tea",
        "  10  Green tea",
    ]


def test_a_wide_character_takes_two_columns() -> None:
    assert table(["title", "n"], [["\u5bc6\u94a5", "1"], ["keys", "2"]], texts={"title"}) == [
        "title  n",
        "-----  -",
        "\u5bc6\u94a5   1",
        "keys   2",
    ]


@pytest.mark.parametrize(("width", "heading"), [(None, "name a b c"), (60, "name a b c"), (28, "name b")])
def test_a_narrow_terminal_goes_without_some_columns(width: int | None, heading: str) -> None:
    row = ["n" * 12, "1" * 9, "2" * 9, "3" * 9]
    lines = table(["name", "a", "b", "c"], [row], texts={"name"}, width=width, dispensable=["c", "a"])
    assert lines[0].split() == heading.split()


def test_a_long_text_continues_below_and_leaves_the_numbers_alone() -> None:
    cells = ["1", "a title of several words that go on", "folder/with-a-long-name/file.md"]
    lines = table(["rank", "title", "source"], [cells], texts={"title", "source"}, width=52)
    assert lines == [
        "rank  title                   source",
        "----  ----------------------  ----------------------",
        "   1  a title of several      folder/with-a-long-nam",
        "      words that go on        e/file.md",
    ]


def test_a_table_that_cannot_fit_is_still_whole() -> None:
    lines = table(["n", "title"], [["123456", "tea " * 9]], texts={"title"}, width=5)
    assert " ".join(lines).count("tea") == 9
    assert "123456" in lines[2]


def test_outside_text_is_one_line_without_control_characters() -> None:
    assert one_line("a\x1b[2J\n\tb\u202e") == "a [2J b"
    assert table(["title"], [["a\x1bb\nc"]], texts={"title"})[2] == "a b c"
    assert table(["title"], [[""]], texts={"title"})[2:] == [""]
