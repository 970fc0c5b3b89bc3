"""The HTML report: what is in the file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation import Evaluation, evaluate, html_report

Factory = Callable[[str, Callable[[str, Sequence[str]], Sequence[float]]], Any]


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


def test_everything_from_outside_is_escaped(evaluation: Evaluation, hostile: str) -> None:
    page = evaluation.to_html(title=f"Mine {hostile}")
    assert "document.title = 'stolen'</script>" not in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2
    data = data_of(page)
    assert data["documents"][0]["text"] == f"Text 0 of 0 {hostile}"
    assert data["rows"][3]["failure"] == f"Unauthorized: wrong key {hostile}"


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


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(evaluation: Evaluation) -> None:
    [(attributes, page)] = re.findall(r'<iframe ([^<>]*) srcdoc="([^"]*)"></iframe>', evaluation._repr_html_())
    assert 'sandbox="allow-scripts"' in attributes
    assert html.unescape(page) == evaluation.to_html()
