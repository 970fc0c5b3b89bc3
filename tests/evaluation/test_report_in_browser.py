"""The HTML report, as a real browser shows it. `nox -s browser` runs these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import WINDOWS, Show, check_layout, skip_without_chromium

from ksdk_rerank import SearchHit
from ksdk_rerank.commands.main import main
from ksdk_rerank.evaluation import Evaluation, evaluate

skip_without_chromium()


@pytest.fixture
def report(evaluation: Evaluation, tmp_path: Path) -> str:
    """The URL of a report."""
    file = tmp_path / "report.html"
    file.write_text(evaluation.to_html(), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("window", WINDOWS)
def test_it_is_accessible_and_draws_what_was_measured(show: Show, report: str, pictures: Path, window: str) -> None:
    page = show(report, window)
    page.click(".bump ol:last-of-type button")
    page.screenshot(path=pictures / f"report-{window}.png", full_page=True)
    check_layout(page)
    assert page.title() == "Is reranking helping?"
    _, dark = WINDOWS[window]
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(252, 251, 248)")
    assert page.locator("#overview circle").count() == 2
    assert page.locator("#metrics svg").count() == 4
    assert page.locator("#rows tbody tr").count() == 4
    assert page.locator("#gains rect.bar").count() == 8
    assert page.text_content("#verdict").startswith("Yes: acme/knows orders these")


def test_the_command_writes_one_of_the_sample_knowledge_base(
    show: Show, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    docs = "examples/knowledge_base"
    arguments = ["--questions", f"{docs}/questions.jsonl", "--docs", docs, "--cache", str(tmp_path)]
    names = ["--reranker", "lexical", "--reranker", "cohere:rerank-v3.5"]
    assert main(["compare", *arguments, *names, "--report", str(report)]) == 0
    for window in WINDOWS:
        page = show(report.as_uri(), window)
        page.screenshot(path=pictures / f"sample-{window}.png", full_page=True)
        check_layout(page)
        assert page.text_content("#verdict").startswith("Not clearly: on these questions")


def test_a_chosen_question_shows_how_each_candidate_moved(show: Show, report: str) -> None:
    page = show(report)
    # Question 4: its answer is fifth at first, and first after "knows".
    page.select_option("#question", "4")
    assert page.text_content("#asked").strip() == "Question 4"
    assert "first stage 0.237" in page.text_content("#outcome")  # 1/log2(6), over 1.631
    assert "Not among the candidates: never found" in page.text_content("#outcome")
    label = "[...document.querySelectorAll('.bump ol:last-of-type button')].map(b => b.getAttribute('aria-label'))"
    moved = page.evaluate(label)
    assert moved[0].startswith("1, was 5: Title 4")
    assert moved[0].endswith(", relevant")
    assert moved[1].startswith("2, was 1: Title 0")
    assert page.locator(".bump path").count() == 6
    assert page.locator(".bump path.relevant").count() == 1
    # The line of the answer starts in the fifth row and ends in the first one; a row is 32 high.
    assert page.get_attribute(".bump path.relevant", "d") == "M0 144C45 144 55 16 100 16"
    page.select_option("#reranker", "1")
    assert page.text_content("#asked").strip() == "Question 4"
    assert page.evaluate(label)[0].startswith("1, was 6: Title 5")


def test_a_script_in_a_document_shows_as_text(show: Show, report: str, hostile: str) -> None:
    page = show(report)
    page.click(".bump ol:last-of-type button")
    shown = page.text_content("#document .text")
    assert shown.endswith(hostile)
    assert page.text_content("#document h3").endswith(hostile)
    assert "wrong key </script>" in page.text_content("#rows")
    assert page.locator("img, iframe").count() == 0
    assert page.title() == "Is reranking helping?"


def test_the_keyboard_alone_will_do(show: Show, report: str) -> None:
    page = show(report)
    page.focus("#gains svg")
    assert page.get_attribute(":focus", "role") == "slider"
    first = page.get_attribute(":focus", "aria-valuetext")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(":focus", "aria-valuenow") == "2"
    assert page.get_attribute(":focus", "aria-valuetext") != first
    page.keyboard.press("End")
    assert page.get_attribute(":focus", "aria-valuenow") == "8"
    chosen = page.get_attribute(":focus", "aria-valuetext")
    assert page.text_content("#asked").strip() in chosen
    page.focus(".bump ol:last-of-type button")
    assert page.locator(".bump path.lit").count() == 1
    page.keyboard.press("Enter")
    assert page.get_attribute(":focus", "aria-pressed") == "true"
    assert "place 1, score" in page.text_content("#document")
    page.keyboard.press("Tab")
    assert page.locator("li + li :focus").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#document.empty").count() == 1


def test_the_point_on_the_curve_moves_by_keyboard_and_pointer(show: Show, report: str) -> None:
    page = show(report, "phone")
    page.focus("#prompts svg")
    assert page.get_attribute(":focus", "role") == "slider"
    assert page.get_attribute(":focus", "aria-label") == "min_score of acme/knows, by tokens per question"

    def said() -> str:
        return str(page.get_attribute(":focus", "aria-valuetext"))

    def at() -> float:
        return float(page.get_attribute("#prompts .handle", "cx"))

    # "knows" puts the one answer of each question first, with a score of sigmoid(4) = 0.982, and all others below 0.5.
    assert page.text_content("#cut").startswith("min_score 0.982 keeps 100\u00a0% of the")
    assert page.text_content("#cut-arguments") == "min_score=0.982, top_n=None"
    before = at()
    page.keyboard.press("ArrowRight")
    assert at() > before
    assert said().startswith("min_score 0.5 keeps 100\u00a0% of the answers")
    assert said() == page.text_content("#cut")
    page.keyboard.press("End")
    assert said().startswith("min_score 0.00669 keeps 100\u00a0% of the answers")
    assert "It saves 0 tokens per 1,000 questions." in said()
    page.select_option("#cut-by", "byCount")
    area = page.locator("#prompts .hit").bounding_box()
    page.mouse.move(area["x"] + 1, area["y"] + 50)
    page.mouse.down()
    assert page.text_content("#cut-arguments") == "min_score=None, top_n=1"
    page.mouse.move(area["x"] + area["width"] - 1, area["y"] + 50)
    assert page.text_content("#cut-arguments") == "min_score=None, top_n=6"
    page.mouse.up()
    assert page.text_content("#cut-arguments") == "min_score=None, top_n=6"


def test_scores_are_shown_against_shares_before_and_after_calibrating(show: Show, report: str) -> None:
    page = show(report)
    pictures = "[...document.querySelectorAll('#reliability svg')].map(svg => svg.getAttribute('aria-label'))"
    before, after = page.evaluate(pictures)
    assert before.startswith("Scores as they are, and the share of relevant documents: from 0 to 0.1, 0\u00a0% of ")
    assert before.endswith("; from 0.9 to 1, 100\u00a0% of 8 documents")
    assert after.startswith("Calibrated scores, ")
    assert page.text_content("#calibrated").startswith("Calibrated(reranker, slope=")
    page.select_option("#cut-reranker", "1")
    assert len(page.evaluate(pictures)) == 1  # "backwards" cannot be calibrated
    assert "cannot be calibrated" in page.text_content("#reliability-note")
    assert page.locator("#smallest tbody tr").count() == 3  # the first stage, and two answered


def test_it_prints(show: Show, report: str, pictures: Path) -> None:
    page = show(report, "dark")
    page.pdf(path=pictures / "report.pdf")
    assert (pictures / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_clear_gain_is_told_before_a_larger_one_that_may_be_chance(show: Show, scripted: Any, tmp_path: Path) -> None:
    queries = {f"q{n}": f"Question {n}" for n in range(8)}
    hits = {id: [SearchHit(str(n), f"Text {n}") for n in range(12)] for id in queries}

    def sure(query: str, documents: Sequence[str]) -> list[float]:  # the answer is fourth, and becomes third
        return [-1.5 if n == 3 else -float(n) for n in range(12)]

    def lucky(query: str, documents: Sequence[str]) -> list[float]:  # it becomes first in three of eight, else last
        found = int(query.split()[1]) < 3
        return [(1.0 if found else -99.0) if n == 3 else -float(n) for n in range(12)]

    rerankers = [scripted("lucky", lucky), scripted("sure", sure)]
    result = evaluate(rerankers, queries, hits, {id: ["3"] for id in queries}, ["MRR@10"])
    # lucky: (3 * 0.75 - 5 * 0.25) / 8 = 0.125; sure: 1/3 - 1/4 = 0.083 each time
    assert [round(row.metrics["MRR@10"].difference, 3) for row in result.rerankers] == [0.125, 0.083]
    (tmp_path / "report.html").write_text(result.to_html(), encoding="utf-8")
    page = show((tmp_path / "report.html").as_uri())
    assert page.text_content("#verdict").startswith("Yes: sure orders these candidates")


def test_the_table_has_a_caption_and_headings_and_scrolls_by_the_keyboard(show: Show, report: str) -> None:
    page = show(report, "phone")
    assert page.text_content("#rows caption").startswith("Difference, interval and counts")
    assert page.evaluate("[...document.querySelectorAll('#rows thead th')].every(head => head.textContent)") is True
    around = "document.querySelector('#rows').parentElement"
    assert page.evaluate(f"{around}.scrollWidth > {around}.clientWidth") is True
    assert page.evaluate(f"{around}.matches('[tabindex=\"0\"][role=region][aria-label]')") is True


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_a_closed_document_hands_the_focus_back_to_its_candidate(show: Show, report: str, key: str) -> None:
    page = show(report)
    page.focus(".bump ol:last-of-type li:nth-child(2) button")
    page.keyboard.press("Enter")
    page.focus("#document .close")
    page.keyboard.press(key)
    assert page.locator("#document.empty").count() == 1
    assert page.get_attribute(":focus", "aria-label").startswith("2, ")


def test_the_mark_of_the_chosen_question_stays_in_sight(show: Show, scripted: Any, tmp_path: Path) -> None:
    queries = {f"q{n}": f"Question {n}" for n in range(300)}
    hits = {id: [SearchHit(str(n), f"Text {n}") for n in range(2)] for id in queries}
    result = evaluate(["lexical"], queries, hits, {id: ["1"] for id in queries}, ["P@1"], resamples=10)
    (tmp_path / "report.html").write_text(result.to_html(), encoding="utf-8")
    page = show((tmp_path / "report.html").as_uri(), "phone")
    chart = "document.getElementById('gains')"
    assert page.evaluate(f"{chart}.scrollWidth > 2 * {chart}.clientWidth") is True
    page.evaluate(f"{chart}.querySelector('svg').focus()")
    for key, end in (("End", "right"), ("Home", "left")):
        page.keyboard.press(key)
        mark, seen = (f"{each}.getBoundingClientRect()" for each in (f"{chart}.querySelector('.chosen')", chart))
        assert page.evaluate(f"{mark}.left >= {seen}.left && {mark}.right <= {seen}.right") is True, end


def test_a_report_where_nobody_answered_says_so(show: Show, tmp_path: Path) -> None:
    hits = {"q": [SearchHit("a", "text")]}
    (tmp_path / "report.html").write_text(evaluate(["cohere:x"], {"q": "query"}, hits, {"q": ["a"]}).to_html())
    page = show((tmp_path / "report.html").as_uri())
    assert page.text_content("#verdict") == "No reranker answered. The table shows why."
    assert page.locator("section[hidden]").count() == 2  # there is no prompt to shorten
    assert "no Cohere API key" in page.text_content("#rows")
