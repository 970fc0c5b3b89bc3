import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank.testing.search_index import Chunk, SearchIndex, chunks_of


def cut(text: str, path: str = "guide/billing.md") -> list[Chunk]:
    return list(chunks_of(PurePosixPath(path), text))


def pairs(text: str, path: str = "guide/billing.md") -> list[tuple[str, str]]:
    return [(chunk.title, chunk.content) for chunk in cut(text, path)]


@contextmanager
def index_of(folder: Path, **files: str) -> Iterator[SearchIndex]:
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    index = SearchIndex(folder)
    try:
        yield index
    finally:
        index.close()


# --- cutting files


def test_each_heading_starts_a_chunk_with_the_article_in_its_title() -> None:
    assert pairs("# Invoices\n\nWe bill monthly.\n\n## Due dates\n\nNet 30.\n") == [
        ("Invoices", "We bill monthly."),
        ("Invoices > Due dates", "Net 30."),
    ]


def test_sources_are_paths_with_the_anchor_of_the_section() -> None:
    text = "Before.\n# Invoices\nA\n## Due dates & fees!\nB\n## Due dates & fees!\nC\n"
    assert [chunk.source for chunk in cut(text)] == [
        "guide/billing.md",
        "guide/billing.md#invoices",
        "guide/billing.md#due-dates--fees",
        "guide/billing.md#due-dates--fees-1",
    ]


def test_ids_are_unique_and_the_same_on_every_run() -> None:
    text = "# A\n\nText.\n\n## B\n\nText.\n\n## B\n\n" + "\n\n".join(["word " * 100] * 8)
    ids = [chunk.id for chunk in cut(text)]
    assert len(ids) == len(set(ids)) == 6
    assert ids == [chunk.id for chunk in cut(text)]
    # printf guide/billing.md#a | sha256sum
    assert ids[0] == "ki_e2ab4ab5e2863051"


def test_a_heading_without_text_of_its_own_is_merged_into_the_titles_below_it() -> None:
    assert pairs("# Plans\n\n## Refunds\n\n### Time limits\n\n14 days.\n\n## Empty\n") == [
        ("Plans > Refunds > Time limits", "14 days.")
    ]


def test_a_deeper_heading_ends_with_the_next_one_of_a_higher_level() -> None:
    assert [title for title, _ in pairs("# A\n1\n### B\n2\n## C\n3\n### D\n4\n# E\n5\n## F\n6\n")] == [
        "A",
        "A > B",
        "A > C",
        "A > C > D",
        "A > E",
        "A > E > F",
    ]


def test_a_file_without_a_top_heading_is_titled_by_its_name() -> None:
    assert pairs("Hello.\n\n## Part\n\nText.", "guide/api_key-rotation.md") == [
        ("api key rotation", "Hello."),
        ("api key rotation > Part", "Text."),
    ]


@pytest.mark.parametrize(
    "block",
    [
        "```bash\n# no heading\n```",
        "~~~\n# no heading\n```\n# nor this\n~~~",
        "````\n```\n# no heading\n````",
        "  ```\n# no heading\n  ```",
        "```\n# no heading\n\n# never closed",
    ],
)
def test_a_hash_in_a_code_block_is_no_heading(block: str) -> None:
    assert pairs(f"# Title\n\nRun this:\n\n{block}") == [("Title", f"Run this:\n\n{block}")]


def test_a_heading_after_a_closed_code_block_counts_again() -> None:
    assert [title for title, _ in pairs("# A\n```\n# x\n```\n## B\ntext\n")] == ["A", "A > B"]


def test_front_matter_is_left_out() -> None:
    assert pairs("---\ntitle: x\n---\n# A\n\ntext\n\n---\n\nmore\n") == [("A", "text\n\n---\n\nmore")]


def test_a_long_section_is_cut_between_paragraphs_and_keeps_its_title_and_source() -> None:
    paragraphs = [f"{number} " + "x" * 598 for number in range(5)]  # 600 characters each
    chunks = cut("# A\n\n" + "\n\n".join(paragraphs))
    assert [chunk.content for chunk in chunks] == [
        "\n\n".join(paragraphs[0:2]),
        "\n\n".join(paragraphs[2:4]),
        paragraphs[4],
    ]
    assert {(chunk.title, chunk.source) for chunk in chunks} == {("A", "guide/billing.md#a")}


def test_a_long_paragraph_and_a_code_block_stay_whole() -> None:
    code = "```\n" + "line\n\n" * 400 + "```"
    assert [content for _, content in pairs(f"# A\n\n{code}\n\n{'y' * 2000}\n")] == [code, "y" * 2000]


def test_a_text_file_has_no_headings() -> None:
    assert pairs("# not a heading\n\ntext\n", "notes/release-notes.txt") == [
        ("release notes", "# not a heading\n\ntext")
    ]


@pytest.mark.parametrize("text", ["", "\n \n", "# Only a heading\n", "---\ntitle: x\n---\n"])
def test_a_file_without_text_gives_nothing(text: str) -> None:
    assert cut(text) == []


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# A", "A"),
        ("   #  A  ", "A"),
        ("#\tA\t#", "A"),
        ("# A # B ##", "A # B"),
        ("###### A", "billing > A"),
        ("# #", "#"),
        ("# A#", "A#"),
        ("# " + "x" * 1000, "x" * 1000),
        ("#", None),
        ("# ", None),
        ("#A", None),
        ("text # A", None),
        ("####### A", None),
        ("    # A", None),
        ("# " + "x" * 1001, None),
    ],
)
def test_a_line_is_a_heading_with_this_text(line: str, title: str | None) -> None:
    (chunk,) = cut(f"{line}\ntext\n")
    assert chunk.title == (title or "billing")
    assert (chunk.content == "text") == (title is not None)


def test_anchors_keep_the_vowel_signs_of_a_heading() -> None:
    assert cut("# हिन्दी में\ntext\n")[0].source == "guide/billing.md#हिन्दी-में"


def test_an_anchor_with_a_number_that_a_heading_has_already_is_passed_over() -> None:
    sources = [chunk.source for chunk in cut("# a\n1\n# a-1\n2\n# a\n3\n# a-1\n4\n# a\n5\n")]
    assert [source.partition("#")[2] for source in sources] == ["a", "a-1", "a-2", "a-1-1", "a-3"]


def test_a_file_name_that_is_no_unicode_is_replaced_and_ids_stay_apart() -> None:
    one, other = (cut("# A\ntext\n\n", f"gu\udce9/caf{half}.md")[0] for half in ("\udce9", "\udcea"))
    assert one.source == "gu\ufffd/caf\ufffd.md#a"
    assert one.id != other.id
    assert cut("text", "caf\udce9.md")[0].title == "caf\ufffd"


@given(st.text(st.sampled_from("#`~- \n\t\rax一\u0301\ud800"), max_size=120), st.sampled_from(["a.md", "a.txt"]))
@settings(max_examples=50, deadline=None)
def test_any_text_is_cut_into_chunks_that_hold_all_its_lines(text: str, path: str) -> None:
    chunks = cut(text, path)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    content = "\n".join(chunk.content for chunk in chunks)
    for line in text.split("\n"):
        is_marked = path == "a.md" and (line.lstrip().startswith("#") or text.startswith("---"))
        assert is_marked or line.strip() in content


MANY = 4_000


@pytest.mark.parametrize(
    "text",
    [
        "# Same\ntext\n" * MANY,
        "".join(f"# a-{number}\n# a\ntext\n" for number in range(MANY)),
        "# a" + " " * 20 * MANY + "b\n",
        "# " + "# " * 10 * MANY + "\n",
        "#" * 20 * MANY + "\n",
        "`" * 20 * MANY + "a\n",
        " " * 20 * MANY + "`\n",
        "```\n" * MANY,
        "---\n" + "--\n" * MANY,
        "line of text\n" * 5 * MANY,
        "\n \t" * 10 * MANY + "x",
        ("\n" + " " * 200 + "x") * (MANY // 10),
        "## " + "x" * 10 * MANY + "\n" + "### a\nt\n" * MANY,
        "x\n\n" * 10 * MANY,
    ],
    ids=lambda text: ascii(text[:12]),
)
@pytest.mark.parametrize("path", ["a.md", "a.txt"])
def test_cutting_takes_linear_time(text: str, path: str) -> None:
    started = time.process_time()
    cut(text, path)
    assert time.process_time() - started < 2  # what goes back takes far longer


# --- reading folders


def test_all_markdown_and_text_files_below_the_folder_are_read(tmp_path: Path) -> None:
    for name in ["b.md", "a/deep/er.markdown", "c.TXT", "d.rst", ".hidden.md", ".git/e.md", "f.py"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("needle")
    with index_of(tmp_path) as index:
        hits = index.search("needle", 10)
        assert len(index) == 3
    assert [hit.chunk.source for hit in hits] == ["a/deep/er.markdown", "b.md", "c.TXT"]  # a tie: file order


def test_a_folder_that_is_missing_a_file_or_empty_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pass a folder of Markdown"):
        SearchIndex(tmp_path / "missing")
    (tmp_path / "only.md").write_text("# Only a heading\n")
    with pytest.raises(NotADirectoryError, match="pass the folder that contains it"):
        SearchIndex(tmp_path / "only.md")
    with pytest.raises(ValueError, match=r"add a \.md, \.markdown or \.txt file"):
        SearchIndex(tmp_path)


# --- searching


def test_scores_are_bm25_worked_by_hand(tmp_path: Path) -> None:
    # Three chunks; with their one-word titles they hold 3, 3 and 6 words, 4 on average. "needle" is in one:
    # idf = ln((3 - 1 + 0.5) / (1 + 0.5)) = ln(5/3) = 0.510826, once among 3 words, k1 = 1.2, b = 0.75:
    # 0.510826 * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 4)) = 1.123817 / 1.975 = 0.569021
    with index_of(tmp_path, one="needle here", two="nothing there", three="far more words than that") as index:
        (hit,) = index.search("needle", 10)
    assert type(hit.score) is float
    assert hit.score == pytest.approx(0.569021, abs=1e-5)


def test_better_matches_come_first_and_any_word_is_enough(tmp_path: Path) -> None:
    files = {"a": "Invoices are due.", "b": "Rotate the key.", "c": "Rotate the tyres.", "d": "Nothing."}
    with index_of(tmp_path, **files) as index:
        hits = index.search("How do I rotate my API key?", 10)
    assert [hit.chunk.source for hit in hits] == ["b.md", "c.md"]
    assert hits[0].score > hits[1].score > 0


def test_titles_are_searched_too(tmp_path: Path) -> None:
    with index_of(tmp_path, a="# Refunds\n\nFourteen days.", b="# Plans\n\nThree.") as index:
        assert [hit.chunk.title for hit in index.search("refund", 10)] == ["Refunds"]


def test_limit_cuts_the_list_and_may_be_huge(tmp_path: Path) -> None:
    with index_of(tmp_path, **{f"f{n}": "needle" for n in range(5)}) as index:
        assert len(index.search("needle", 2)) == 2
        assert len(index.search("needle", 10**30)) == 5


@pytest.mark.parametrize("query", ["café", "CAFÉ", "cafe\N{COMBINING ACUTE ACCENT}", "cafe"])
def test_accents_and_case_do_not_matter(tmp_path: Path, query: str) -> None:
    with index_of(tmp_path, a="Le Café.", b="Straße") as index:
        assert [hit.chunk.source for hit in index.search(query, 10)] == ["a.md"]
        assert [hit.chunk.source for hit in index.search("STRASSE straße", 10)] == ["b.md"]


@pytest.mark.parametrize("query", ["", " ", "?!", '"', "'", "_", "\x00", "\ud800", "🙂", "*", "( ) ^ : -", "\n"])
def test_a_query_without_words_finds_nothing(tmp_path: Path, query: str) -> None:
    with index_of(tmp_path, a="needle _ ? *") as index:
        assert index.search(query, 10) == []


@pytest.mark.parametrize(
    "query",
    [
        'needle"',
        '"needle',
        "needle' OR 1=1; DROP TABLE chunks; --",
        "title:needle",
        "NEAR(needle",
        "needle AND",
        "NOT needle",
        "-needle*",
        "^needle +",
        "{needle}",
        "(needle",
        "needle\x00",
        "\ud800needle\udfff",
        "needle_ _ ²",
        "nëedlé",
        "needle 🙂 日本語 हिन्दी",
        " ".join(f"word{n}" for n in range(3000)) + " needle",
    ],
    ids=lambda query: ascii(query[:20]),
)
def test_any_text_is_a_safe_query(tmp_path: Path, query: str) -> None:
    with index_of(tmp_path, a="needle") as index:
        assert [hit.chunk.source for hit in index.search(query, 10)] == ["a.md"]
        assert len(index.search("needle", 10)) == 1


def test_threads_may_share_an_index(tmp_path: Path) -> None:
    found: list[int] = []
    with index_of(tmp_path, **{f"f{n}": f"needle {n}" for n in range(20)}) as index:

        def search() -> None:
            found.extend(len(index.search(f"needle {n}", 5)) for n in range(20))

        threads = [threading.Thread(target=search) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [5] * 160


# --- scripts


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("パスワードを再設定する方法", "再設定"),
        ("パスワードを再設定する方法", "パスワードの変更"),
        ("パスワードを再設定する方法", "ﾊﾟｽﾜｰﾄﾞ"),
        ("退款需要三天", "如何退款"),
        ("退款需要三天", "款"),
        ("ลืมรหัสผ่าน", "รหัสผ่าน"),
        ("비밀번호를 재설정하는 방법", "비밀번호 재설정"),
        ("ពាក្យសម្ងាត់", "សម្ងាត់"),
        ("စကားဝှက်ကို", "စကားဝှက်"),
        ("पासवर्ड कैसे बदलें", "पासवर्ड"),
        ("Сбросить пароль", "ПАРОЛЬ"),
        ("𠀀𠮷野家", "𠮷野"),
        ("The café", "CAFE\N{COMBINING ACUTE ACCENT}"),
        ("Tiếng Việt", "tieng viet"),
        ("hyphen\N{SOFT HYPHEN}ation", "hyphenation"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_any_script_are_found_inside_of_a_text(
    tmp_path: Path, text: str, query: str, form: Literal["NFC", "NFD"]
) -> None:
    other = "天気がいい。天气很好 สวัสดี 안녕하세요 សួស្តី မင်္ဂလာပါ नमस्ते привет hello"
    with index_of(tmp_path, a=unicodedata.normalize(form, text), b=other) as index:
        (hit,) = index.search(query, 10)
    assert hit.chunk.source == "a.md"
    assert hit.chunk.content == unicodedata.normalize(form, text)


def test_vowel_signs_are_part_of_a_word(tmp_path: Path) -> None:
    with index_of(tmp_path, a="किताब", b="कताब") as index:
        assert [hit.chunk.source for hit in index.search("किताब", 10)] == ["a.md"]


def test_a_query_of_several_characters_does_not_find_every_text_that_has_one(tmp_path: Path) -> None:
    with index_of(tmp_path, a="退款需要三天", b="条款") as index:
        assert [hit.chunk.source for hit in index.search("退款", 10)] == ["a.md"]
        assert [hit.chunk.source for hit in index.search("款", 10)] == ["b.md", "a.md"]
