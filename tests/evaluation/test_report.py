"""The HTML report: what is in the file, and what a real browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import SearchHit
from ksdk_rerank.commands.main import main
from ksdk_rerank.errors import Unauthorized
from ksdk_rerank.evaluation import Evaluation, evaluate, html_report

Factory = Callable[[str, Callable[[str, Sequence[str]], Sequence[float]]], Any]

HOSTILE = (
    "</script><script>document.title = 'stolen'</script><img src=x onerror=\"document.title='stolen'\"> & %%data%%"
)
QUERIES = {f"q{n}": f"Question {n} {HOSTILE if n == 3 else ''}" for n in range(8)}


@pytest.fixture
def evaluation(scripted: Factory) -> Evaluation:
    candidates = {
        id: [
            SearchHit(f"d{n}-{m}", f"Text {m} of {n} {HOSTILE}", f"Title {m} {HOSTILE}", f"https://x.com/{m}", 9.0 - m)
            for m in range(6)
        ]
        for n, id in enumerate(QUERIES)
    }
    judgements = {id: {f"d{n}-{n % 6}": 1, "never found": 1} for n, id in enumerate(QUERIES)}

    def knows(query: str, documents: Sequence[str]) -> list[float]:
        wanted = int(query.split()[1]) % 6
        return [4.0 if f"Text {wanted} of" in document else -float(n) for n, document in enumerate(documents)]

    def backwards(query: str, documents: Sequence[str]) -> list[float]:
        return [float(n) for n, _ in enumerate(documents)]

    def refuses(query: str, documents: Sequence[str]) -> list[float]:
        raise Unauthorized(f"wrong key {HOSTILE}")

    rerankers = [scripted("acme/knows", knows), scripted(f"backwards {HOSTILE}", backwards), scripted("no", refuses)]
    return evaluate(rerankers, QUERIES, candidates, judgements)


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_is_one_file_that_loads_nothing(evaluation: Evaluation) -> None:
    page = evaluation.to_html()
    assert not re.findall(r"<(?:script|img|iframe|object|embed)[^>]*\ssrc=|@import|url\(", page)
    assert re.findall(r'<link[^>]*href="([^"]*)"', page) == ["data:,"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_everything_from_outside_is_escaped(evaluation: Evaluation) -> None:
    page = evaluation.to_html(title=f"Mine {HOSTILE}")
    assert "document.title = 'stolen'</script>" not in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2
    data = data_of(page)
    assert data["documents"][0]["text"] == f"Text 0 of 0 {HOSTILE}"
    assert data["rows"][3]["failure"] == f"Unauthorized: wrong key {HOSTILE}"


def test_long_texts_are_cut_and_each_document_is_there_once(scripted: Factory) -> None:
    hits = [SearchHit("a", "x" * 5000), SearchHit("b", "short")]
    queries = {"q1": "one", "q2": "two"}
    result = evaluate(["lexical"], queries, dict.fromkeys(queries, hits), {"q1": ["a"], "q2": ["a"]})
    documents = data_of(result.to_html())["documents"]
    assert [len(document["text"]) for document in documents] == [2004, 5]


def test_of_many_questions_those_that_differ_most_have_their_candidates(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_report, "_MOST_DETAILED", 2)
    queries = data_of(evaluation.to_html())["queries"]
    assert sum(query["detailed"] for query in queries) == 2
    # "backwards" moves the answer of q0 from first to last, and that of q5 from last to first.
    assert [query["id"] for query in queries if query["detailed"]] == ["q0", "q5"]
    assert all(query["values"] for query in queries)


def test_the_same_result_gives_the_same_page(evaluation: Evaluation) -> None:
    assert evaluation.to_html() == evaluation.to_html()


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(evaluation: Evaluation) -> None:
    [(attributes, page)] = re.findall(r'<iframe ([^<>]*) srcdoc="([^"]*)"></iframe>', evaluation._repr_html_())
    assert 'sandbox="allow-scripts"' in attributes
    assert html.unescape(page) == evaluation.to_html()


@pytest.fixture
def report(evaluation: Evaluation, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(evaluation.to_html(), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_a_browser_shows_it_without_a_complaint(
    page: Any, report: Path, pictures: Path, width: int, dark: bool
) -> None:
    page.open(report, width=width, dark=dark)
    page.run("document.querySelector('.bump ol:last-of-type button').click()")
    page.screenshot(pictures / f"report-{'phone' if width < 600 else 'dark' if dark else 'light'}.png")
    assert page.problems == []
    assert set(page.requests) == {report.absolute().as_uri()}
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.title") == "Is reranking helping?"
    assert page.run("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(20, 23, 27)" if dark else "rgb(252, 251, 248)"
    )
    assert page.run("document.querySelectorAll('#overview circle').length") == 2
    assert page.run("document.querySelectorAll('#metrics svg').length") == 4
    assert page.run("document.querySelectorAll('#rows tbody tr').length") == 4
    assert page.run("document.querySelectorAll('#gains rect.bar').length") == 8
    assert page.run("document.getElementById('verdict').textContent").startswith("Yes: acme/knows orders these")


def test_the_sample_knowledge_base_makes_the_pictures_that_people_look_at(
    page: Any, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    docs = "examples/knowledge_base"
    arguments = ["--questions", f"{docs}/questions.jsonl", "--docs", docs, "--cache", str(tmp_path)]
    names = ["--reranker", "lexical", "--reranker", "cohere:rerank-v3.5"]
    assert main(["compare", *arguments, *names, "--report", str(report)]) == 0
    for name, width, dark in (("light", 1200, False), ("dark", 1200, True), ("phone", 390, False)):
        page.open(report, width=width, dark=dark)
        page.screenshot(pictures / f"sample-{name}.png")
        assert page.problems == []
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.getElementById('verdict').textContent").startswith("Not clearly: on these questions")


def test_a_chosen_question_shows_how_each_candidate_moved(page: Any, report: Path) -> None:
    page.open(report)
    # Question 4: its answer is fifth at first, and first after "knows".
    page.run("(s => { s.value = '4'; s.dispatchEvent(new Event('change')); })(document.getElementById('question'))")
    assert page.run("document.getElementById('asked').textContent").strip() == "Question 4"
    assert "first stage 0.237" in page.run("document.getElementById('outcome').textContent")  # 1/log2(6), over 1.631
    assert "Not among the candidates: never found" in page.run("document.getElementById('outcome').textContent")
    label = "[...document.querySelectorAll('.bump ol:last-of-type button')].map(b => b.getAttribute('aria-label'))"
    moved = page.run(label)
    assert moved[0].startswith("1, was 5: Title 4")
    assert moved[0].endswith(", relevant")
    assert moved[1].startswith("2, was 1: Title 0")
    assert page.run("document.querySelectorAll('.bump path').length") == 6
    assert page.run("document.querySelectorAll('.bump path.relevant').length") == 1
    # The line of the answer starts in the fifth row and ends in the first one; a row is 32 high.
    assert page.run("document.querySelector('.bump path.relevant').getAttribute('d')") == "M0 144C45 144 55 16 100 16"
    page.run("(s => { s.value = '1'; s.dispatchEvent(new Event('change')); })(document.getElementById('reranker'))")
    assert page.run("document.getElementById('asked').textContent").strip() == "Question 4"
    assert page.run(label)[0].startswith("1, was 6: Title 5")
    assert page.problems == []


def test_a_script_in_a_document_shows_as_text(page: Any, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('.bump ol:last-of-type button').click()")
    shown = page.run("document.querySelector('#document .text').textContent")
    assert shown.endswith(HOSTILE)
    assert page.run("document.querySelector('#document h3').textContent").endswith(HOSTILE)
    assert "wrong key </script>" in page.run("document.getElementById('rows').textContent")
    assert page.run("document.querySelectorAll('img, iframe').length") == 0
    assert page.run("document.title") == "Is reranking helping?"
    assert page.problems == []


def test_the_keyboard_alone_will_do(page: Any, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#gains svg').focus()")
    assert page.run("document.activeElement.getAttribute('role')") == "slider"
    first = page.run("document.activeElement.getAttribute('aria-valuetext')")
    page.press("ArrowRight")
    assert page.run("document.activeElement.getAttribute('aria-valuenow')") == "2"
    assert page.run("document.activeElement.getAttribute('aria-valuetext')") != first
    page.press("End")
    assert page.run("document.activeElement.getAttribute('aria-valuenow')") == "8"
    chosen = page.run("document.activeElement.getAttribute('aria-valuetext')")
    assert page.run("document.getElementById('asked').textContent").strip() in chosen
    page.run("document.querySelector('.bump ol:last-of-type button').focus()")
    assert page.run("document.querySelectorAll('.bump path.lit').length") == 1
    page.press("Enter")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert "place 1, score" in page.run("document.getElementById('document').textContent")
    page.press("Tab")
    assert page.run("document.activeElement.closest('li').previousElementSibling !== null") is True
    page.press("Escape")
    assert page.run("document.getElementById('document').classList.contains('empty')") is True
    assert page.problems == []


def test_the_point_on_the_curve_moves_by_keyboard_and_pointer(page: Any, report: Path) -> None:
    page.open(report, width=390)
    page.run("document.querySelector('#prompts svg').focus()")
    named = "document.activeElement.getAttribute('{}')"
    assert page.run(named.format("role")) == "slider"
    assert page.run(named.format("aria-label")) == "min_score of acme/knows, by tokens per question"
    said, at = named.format("aria-valuetext"), "document.querySelector('#prompts .handle').getAttribute('cx') * 1"
    # "knows" puts the one answer of each question first, with a score of sigmoid(4) = 0.982, and all others below 0.5.
    assert page.run("document.getElementById('cut').textContent").startswith("min_score 0.982 keeps 100\u00a0% of the")
    assert page.run("document.getElementById('cut-arguments').textContent") == "min_score=0.982, top_n=None"
    before = page.run(at)
    page.press("ArrowRight")
    assert page.run(at) > before
    assert page.run(said).startswith("min_score 0.5 keeps 100\u00a0% of the answers")
    assert page.run(said) == page.run("document.getElementById('cut').textContent")
    page.press("End")
    assert page.run(said).startswith("min_score 0.00669 keeps 100\u00a0% of the answers")
    assert "It saves 0 tokens per 1,000 questions." in page.run(said)
    page.run("(s => { s.value = 'byCount'; s.dispatchEvent(new Event('change')); })(document.getElementById('cut-by'))")
    area = page.run("(a => [a.left, a.right, a.top])(document.querySelector('#prompts .hit').getBoundingClientRect())")
    for kind, x in (("mousePressed", area[0] + 1), ("mouseMoved", area[1] - 1), ("mouseReleased", area[1] - 1)):
        mouse = {"x": x, "y": area[2] + 50, "button": "left", "buttons": 1, "clickCount": 1}
        page.send("Input.dispatchMouseEvent", type=kind, **mouse)
        shown = page.run("document.getElementById('cut-arguments').textContent")
        assert shown == f"min_score=None, top_n={1 if kind == 'mousePressed' else 6}"
    assert page.problems == []


def test_scores_are_shown_against_shares_before_and_after_calibrating(page: Any, report: Path) -> None:
    page.open(report)
    pictures = "[...document.querySelectorAll('#reliability svg')].map(svg => svg.getAttribute('aria-label'))"
    before, after = page.run(pictures)
    assert before.startswith("Scores as they are, and the share of relevant documents: from 0 to 0.1, 0\u00a0% of ")
    assert before.endswith("; from 0.9 to 1, 100\u00a0% of 8 documents")
    assert after.startswith("Calibrated scores, ")
    assert page.run("document.getElementById('calibrated').textContent").startswith("Calibrated(reranker, slope=")
    page.run("(s => { s.value = '1'; s.dispatchEvent(new Event('change')); })(document.getElementById('cut-reranker'))")
    assert len(page.run(pictures)) == 1  # "backwards" cannot be calibrated
    assert "cannot be calibrated" in page.run("document.getElementById('reliability-note').textContent")
    assert page.run("document.querySelectorAll('#smallest tbody tr').length") == 3  # the first stage, and two answered
    assert page.problems == []


def test_it_prints(page: Any, report: Path, pictures: Path) -> None:
    page.open(report, dark=True)
    page.pdf(pictures / "report.pdf")
    assert (pictures / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.problems == []


def test_a_clear_gain_is_told_before_a_larger_one_that_may_be_chance(
    page: Any, scripted: Factory, tmp_path: Path
) -> None:
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
    page.open(tmp_path / "report.html")
    assert page.run("document.getElementById('verdict').textContent").startswith("Yes: sure orders these candidates")


def test_the_table_has_a_caption_and_headings_and_scrolls_by_the_keyboard(page: Any, report: Path) -> None:
    page.open(report, width=390)
    assert page.run("document.querySelector('#rows caption').textContent").startswith("Difference, interval and counts")
    assert page.run("[...document.querySelectorAll('#rows thead th')].every(head => head.textContent)") is True
    around = "document.querySelector('#rows').parentElement"
    assert page.run(f"{around}.scrollWidth > {around}.clientWidth") is True
    assert page.run(f"{around}.matches('[tabindex=\"0\"][role=region][aria-label]')") is True


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_a_closed_document_hands_the_focus_back_to_its_candidate(page: Any, report: Path, key: str) -> None:
    page.open(report)
    page.run("document.querySelector('.bump ol:last-of-type li:nth-child(2) button').focus()")
    page.press("Enter")
    page.run("document.querySelector('#document .close').focus()")
    page.press(key)
    assert page.run("document.getElementById('document').classList.contains('empty')") is True
    assert page.run("document.activeElement.getAttribute('aria-label')").startswith("2, ")
    assert page.problems == []


def test_the_mark_of_the_chosen_question_stays_in_sight(page: Any, scripted: Factory, tmp_path: Path) -> None:
    queries = {f"q{n}": f"Question {n}" for n in range(300)}
    hits = {id: [SearchHit(str(n), f"Text {n}") for n in range(2)] for id in queries}
    result = evaluate(["lexical"], queries, hits, {id: ["1"] for id in queries}, ["P@1"], resamples=10)
    (tmp_path / "report.html").write_text(result.to_html(), encoding="utf-8")
    page.open(tmp_path / "report.html", width=390)
    chart = "document.getElementById('gains')"
    assert page.run(f"{chart}.scrollWidth > 2 * {chart}.clientWidth") is True
    page.run(f"{chart}.querySelector('svg').focus()")
    for key, end in (("End", "right"), ("Home", "left")):
        page.press(key)
        mark, seen = (f"{each}.getBoundingClientRect()" for each in (f"{chart}.querySelector('.chosen')", chart))
        assert page.run(f"{mark}.left >= {seen}.left && {mark}.right <= {seen}.right") is True, end


def test_a_report_where_nobody_answered_says_so(page: Any, tmp_path: Path) -> None:
    hits = {"q": [SearchHit("a", "text")]}
    (tmp_path / "report.html").write_text(evaluate(["cohere:x"], {"q": "query"}, hits, {"q": ["a"]}).to_html())
    page.open(tmp_path / "report.html")
    assert page.run("document.getElementById('verdict').textContent") == "No reranker answered. The table shows why."
    assert page.run("document.querySelectorAll('section[hidden]').length") == 2  # there is no prompt to shorten
    assert "no Cohere API key" in page.run("document.getElementById('rows').textContent")
    assert page.problems == []
