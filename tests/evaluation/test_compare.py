"""`ksdk-rerank compare`, from the files to the table and the report."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank.commands.main import main
from ksdk_rerank.testing import KnowledgeSDKStandIn

DOCS = "examples/knowledge_base"
QUESTIONS = f"{DOCS}/questions.jsonl"
LEXICAL = ["--reranker", "lexical"]  # the embedded model would take seconds


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """Arguments with the first six questions, a cache and a quick reranker."""
    lines = Path(QUESTIONS).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(lines[:6]), encoding="utf-8")
    return ["compare", "--questions", str(tmp_path / "few.jsonl"), "--cache", str(tmp_path / "cache"), *LEXICAL]


def test_a_folder_is_compared_and_a_failing_reranker_is_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--reranker", "lexical", "--reranker", "input-order", "--reranker", "cohere:rerank-v3.5"]
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["compare", "--questions", QUESTIONS, "--docs", DOCS, *arguments, *cache]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""  # no progress where nobody watches
    assert lines[0] == "40 queries, 20 candidates at most; difference: nDCG@10 against the first stage"
    rows = {line.split("  ")[0]: line for line in lines[4:8]}
    assert list(rows) == ["first stage", "lexical", "input-order", "cohere:rerank-v3.5"]
    assert rows["input-order"].split()[5:10] == ["+0.000", "+0.000", "to", "+0.000", "0/0/40"]
    assert rows["cohere:rerank-v3.5"].endswith("0/40")
    assert "cohere:rerank-v3.5: 1 failed, 39 skipped after that: MissingKey: no Cohere API key" in out


def test_the_smallest_prompts_are_named_with_what_they_save(few: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*few, "--docs", DOCS, "--keep-answers", "0.8", "--price", "2.5", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    prompts = written["rerankers"][0]["prompts"]
    assert prompts["smallest"]["kept"] >= written["keep_answers"] == 0.8
    saved = prompts["saved_tokens_per_1000_queries"]
    assert saved == pytest.approx(1000 * (prompts["uncut"]["tokens"] - prompts["smallest"]["tokens"]))
    assert prompts["saved_cost_per_1000_queries"] == pytest.approx(saved / 1e6 * 2.5)


def test_two_configurations_of_one_reranker_are_two_rows(
    few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rerankers = []
    for name, k1 in (("flat", 0.0), ("steep", 9.0)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"class": "LexicalReranker", "parameters": {"k1": k1}}))
        rerankers += ["--reranker", str(file)]
    assert main([*few, "--docs", DOCS, *rerankers, "--json"]) == 0
    plain, flat, steep = json.loads(capsys.readouterr().out)["rerankers"]
    assert [row["name"] for row in (plain, flat, steep)] == ["lexical", rerankers[1], rerankers[3]]
    orders = [[query["order"] for query in row["queries"].values()] for row in (plain, flat, steep)]
    assert orders[0] != orders[1] != orders[2]


def test_nothing_is_asked_twice(
    live: KnowledgeSDKStandIn, few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*few, "--json"]
    assert main(arguments) == 0
    assert len(live.requests) == 6
    first = capsys.readouterr().out
    assert main(arguments) == 0
    assert len(live.requests) == 6
    assert capsys.readouterr().out == first  # the times are those of the calls that were made
    assert main([*arguments, "--limit", "5"]) == 0
    assert len(live.requests) == 12
    assert main([*arguments, "--fresh"]) == 0
    assert len(live.requests) == 18
    assert live.api_key.encode() not in b"".join(file.read_bytes() for file in (tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_used_is_told_once_and_costs_no_answer(
    live: KnowledgeSDKStandIn, few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache"
    folder.write_text("mine")
    assert main(few) == 0
    out, err = capsys.readouterr()
    assert "6/6" in out
    assert err.startswith("ksdk-rerank: the cache store DiskStore failed: ")
    assert str(folder) in err
    assert err.count("\n") == 1
    assert len(live.requests) == 6


def test_candidates_that_were_kept_oddly_are_searched_again(
    live: KnowledgeSDKStandIn, few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(few) == 0
    with closing(sqlite3.connect(tmp_path / "cache" / "answers.sqlite3", isolation_level=None)) as database:
        database.execute("UPDATE entries SET entry = '[{}]'")
    assert main(few) == 0
    assert len(live.requests) == 12


def test_an_interrupted_search_goes_on(
    live: KnowledgeSDKStandIn, few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(few) == 0
    assert len(live.requests) == 6
    assert main(["compare", "--questions", QUESTIONS, "--cache", str(tmp_path / "cache"), *LEXICAL]) == 0
    assert len(live.requests) == 40


def test_questions_without_answers_cost_nothing(
    live: KnowledgeSDKStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"question": "rotate a key", "answers": ["rotate-an-api-key"]}\n{"question": "new", "answers": []}\n'
    )
    assert main(["compare", "--questions", str(questions), "--cache", str(tmp_path)]) == 0
    assert len(live.requests) == 1
    assert "left out, not judged: line 2 (1)" in capsys.readouterr().out


def test_malformed_input_stops_before_anything_is_asked(
    live: KnowledgeSDKStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "q", "answers": ["a"]}\n{"question": "q2"}\n')
    list_of_names = tmp_path / "list.json"
    list_of_names.write_text('["lexical"]')
    assert main(["compare", "--questions", str(questions), "--cache", str(tmp_path)]) == 1
    assert f"ksdk-rerank: {questions}:2: 'answers' must be a list" in capsys.readouterr().err
    for wrong in (
        ["--reranker", "nope"],
        ["--reranker", "lexical", "--reranker", "lexical"],
        ["--reranker", str(tmp_path / "missing.json")],
        ["--reranker", str(list_of_names)],
        ["--metric", "nope"],
        ["--report", str(tmp_path / "no" / "report.html")],
        ["--limit", "0"],
        ["--keep-answers", "95"],
    ):
        assert main(["compare", "--questions", QUESTIONS, "--cache", str(tmp_path), *wrong]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert live.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beir", "b"], "--beir needs candidates: pass --run"),
        (["--beir", "b", "--run", "r", "--docs", "d"], "leave out --docs and --corpus"),
        (["--questions", "q", "--run", "r"], "--run and --corpus go together"),
        (["--questions", "q", "--qrels", "r"], "--qrels goes with --beir"),
        (["--questions", "q", "--run", "r", "--corpus", "c", "--docs", "d"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together_are_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_beir_folder_with_a_run_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "coffee"}\n{"_id": "d2", "text": "green tea"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "tea"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    (tmp_path / "run.trec").write_text("q1 Q0 d1 1 2.0 t\nq1 Q0 d2 2 1.0 t\n")
    run = ["--run", str(tmp_path / "run.trec"), "--cache", str(tmp_path / "cache"), "--json", "--metric", "MRR@10"]
    assert main(["compare", "--beir", str(tmp_path), *run]) == 0
    beir = json.loads(capsys.readouterr().out)
    assert beir["first_stage"]["metrics"]["MRR@10"]["value"] == 0.5
    assert beir["rerankers"][0]["metrics"]["MRR@10"]["value"] == 1.0
    assert beir["rerankers"][0]["queries"]["q1"]["order"] == ["d2", "d1"]
    (tmp_path / "questions.jsonl").write_text('{"id": "q1", "question": "tea", "answers": ["d2"]}\n')
    own = ["--questions", str(tmp_path / "questions.jsonl"), "--corpus", str(tmp_path / "corpus.jsonl")]
    assert main(["compare", *own, *run]) == 0
    assert json.loads(capsys.readouterr().out)["rerankers"][0]["metrics"] == beir["rerankers"][0]["metrics"]


def test_the_report_is_written(few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    assert main([*few, "--docs", DOCS, "--report", str(report)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {report}"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_it_fails_where_no_reranker_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--questions", QUESTIONS, "--docs", DOCS, "--cache", str(tmp_path), "--reranker", "cohere:x"]
    assert main(["compare", *arguments]) == 1
