"""Passages: sentences, and Markdown blocks that stay whole. Excerpts: passages as one text."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank._text.excerpts import excerpt
from ksdk_rerank._text.passages import merged, passages_of
from ksdk_rerank.errors import MissingExtra

PAGE = """\
# Rotate a key

Run `lf rotate`, e.g. at night. The old key works
for a day. See [the list](x).

## Plans

| plan | price |
|------|-------|
| Free | 0. No card. |
| Team | 20 |

- Ask an owner. Then wait.
  - Or ask two.
- Call us.

```sh
# not a heading
lf rotate. now

lf list
```

> Quoted. Twice.
"""


def parts(text: str) -> list[str]:
    return [text[slice(*passage.span)] for passage in passages_of(text)]


def span_of(part: str) -> tuple[int, int]:
    start = PAGE.index(part)
    return start, start + len(part)


def test_prose_is_split_into_sentences_and_code_rows_and_list_items_stay_whole() -> None:
    assert parts(PAGE) == [
        "Run `lf rotate`, e.g. at night.",
        "The old key works\nfor a day.",
        "See [the list](x).",
        "| Free | 0. No card. |",
        "| Team | 20 |",
        "- Ask an owner. Then wait.\n  - Or ask two.",
        "- Call us.",
        "```sh\n# not a heading\nlf rotate. now\n\nlf list\n```",
        "> Quoted.",
        "Twice.",
    ]


def test_a_passage_is_read_below_its_headings_and_the_header_of_its_table() -> None:
    row = passages_of(PAGE)[3]
    assert row.text_in(PAGE) == "# Rotate a key\n## Plans\n| plan | price |\n|------|-------|\n| Free | 0. No card. |"
    titled = "Rotation\n\n# Keys\n\nRotate."
    assert passages_of(titled)[0].text_in(titled) == "Rotation\n# Keys\nRotate."
    again = "# A\n\n## B\n\n# C\n\nText."  # a new section of the same level ends the one before
    assert passages_of(again)[0].text_in(again) == "# C\nText."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ("鍵は九十日ごとに。赤い狐。", ["鍵は九十日ごとに。", "赤い狐。"]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("Title\r\n=====\r\n\r\nOne. Two.\r\n", ["One.", "Two."]),
        ("A line\n---\nanother", ["A line\n---", "another"]),
        ("One. .", ["One. ."]),
        ("A first line without a full stop is a title", []),
        ("  \n", []),
        ("# Only a heading", []),
    ],
)
def test_plain_text_in_any_script(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


def test_abbreviations_are_those_of_the_language() -> None:
    text = "Am 3. Oktober ist frei."
    assert len(passages_of(text, "de")) == 1


def test_a_sentence_without_an_end_is_cut_at_lines_or_spaces() -> None:
    lines = "\n".join(f"2026-11-26 request {number} took long" for number in range(100))
    found = parts(lines)
    assert all(len(part) <= 1_000 and part.endswith("took long") for part in found)
    assert [line for part in found for line in part.splitlines()] == lines.splitlines()
    assert max(map(len, parts("word " * 1_000 + "é" * 3_000))) == 1_000


def test_an_excerpt_keeps_the_order_the_headings_and_the_white_space() -> None:
    best_first = [span_of("| Team | 20 |"), span_of("See [the list](x)."), span_of("- Ask an owner. Then wait.")]
    assert excerpt(PAGE, best_first) == (
        "# Rotate a key\n\n… See [the list](x).\n\n## Plans\n\n| plan | price |\n|------|-------|\n…\n| Team | 20 |\n\n"
        "- Ask an owner. Then wait."
    )
    neighbours = [span_of("- Call us."), (span_of("- Ask")[0], span_of("- Call")[0])]
    assert excerpt(PAGE, neighbours).endswith(
        "## Plans\n\n…\n\n- Ask an owner. Then wait.\n  - Or ask two.\n- Call us."
    )
    assert excerpt("一。二。三。", [(4, 6), (0, 2)]) == "一。…三。"  # no spaces where the text has none
    assert excerpt(PAGE, ()) == PAGE


TEXTS = st.lists(
    st.sampled_from(
        [
            *("# H\n", "\n\n", "\r\n", "| a | b |\n", "|---|---|\n", "- x. y\n", "```\n", "> q. "),
            *("One. ", "e\u0301. ", ".́ ", "👩\u200d👩\u200d👧! ", "🇩🇪🇫🇷", "한글. ", "क्षि।", "赤い。", "word "),
            *("\t", " ̈", "�", "\x00", "\u2028", "   "),
        ]
    ),
    max_size=25,
).map("".join)


@pytest.mark.parametrize("space", ["\u00a0", "\u0085", "\u2003", "\u2028", "\u3000"])
def test_a_wide_space_before_a_full_stop_is_like_any_other(space: str) -> None:
    text = f"Ask J{space}. Smith. Then wait."
    assert passages_of(text) == passages_of(text.replace(space, " "))


@given(text=TEXTS, data=st.data())
@settings(max_examples=300, deadline=None)
def test_passages_lie_in_the_text_in_order_and_split_no_character(text: str, data: st.DataObject) -> None:
    spans = [passage.span for passage in passages_of(text)]
    assert spans == sorted(spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    boundaries = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    assert boundaries.issuperset(at for span in spans for at in span)

    chosen = data.draw(st.lists(st.sampled_from(spans), unique=True)) if spans else []
    short = excerpt(text, chosen)
    assert all(text[start:end] in short for start, end in merged(chosen))
    rest = iter(text)
    assert all(character in rest for character in short.replace("…", "")), "not a subsequence"


def test_without_the_extra_the_message_is_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[passages\]"'):
        passages_of("One. Two.")
