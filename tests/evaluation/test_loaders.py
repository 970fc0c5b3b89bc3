"""Files of questions, judgements and candidates: what is read, and where a malformed line is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation import (
    read_beir,
    read_corpus,
    read_qrels,
    read_queries,
    read_questions,
    read_run,
)

CORPUS = '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "title": "", "text": "second"}\n'


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_questions_have_ids_texts_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '\ufeff{"id": "a", "question": "How?", "answers": ["x", "y", "x"]}\n'
        "\n"
        '{"query": "Why?", "answers": "z"}\r\n'
        '{"_id": 7, "text": "When?", "answers": []}\n',
        encoding="utf-8",
    )
    questions = read_questions(path)
    assert questions.queries == {"a": "How?", "line 3": "Why?", "7": "When?"}
    assert questions.answers == {"a": ("x", "y"), "line 3": ("z",), "7": ()}


def test_the_sample_questions_are_read() -> None:
    assert len(read_questions("examples/knowledge_base/questions.jsonl").queries) == 40


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON .*write one JSON object per line"),
        ("[" * 100_000, "not valid JSON"),
        ('"text"', "expected a JSON object, got"),
        ('{"answers": []}', "'question' or 'query' or 'text' is missing; add it"),
        ('{"question": " ", "answers": []}', "'question' must be text, got ' '"),
        ('{"question": ["q"], "answers": []}', r"'question' must be text, got \['q'\]"),
        ('{"question": "q"}', "'answers' must be a list"),
        ('{"question": "q", "answers": {"a": 1}}', "'answers' must be a list"),
        ('{"question": "q", "answers": ["a", 3.5]}', "an answer must be .*, got 3.5"),
        ('{"question": "q", "answers": ["a", true]}', "an answer must be .*, got True"),
        ('{"question": "q", "answers": [""]}', "an answer must be .*, got ''"),
        ('{"id": "a", "question": "q", "answers": []}', "the id 'a' is already in use"),
        ('{"id": true, "question": "q", "answers": []}', "'id' must be text, got True"),
        (r'{"question": "caf\ud83d", "answers": []}', r"'question' must be text, got 'caf\\ud83d'"),
        (r'{"question": "q", "answers": ["caf\ud83d"]}', r"an answer must be .*, got 'caf\\ud83d'"),
    ],
)
def test_a_malformed_question_is_reported_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "a", "question": "q", "answers": ["x"]}\n\n' + line + "\n")
    with pytest.raises(ValueError, match=rf"questions\.jsonl:3: {message}"):
        read_questions(path)


def test_bytes_that_are_not_utf_8_are_reported_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b'{"question": "q", "answers": ["x"]}\n{"question": "caf\xe9", "answers": []}\n')
    with pytest.raises(ValueError, match=r"questions\.jsonl:2: not valid UTF-8 .*; save the file as UTF-8"):
        read_questions(path)


@pytest.mark.parametrize("read", [read_questions, read_qrels])
def test_a_file_without_lines_is_an_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "empty").write_text("\n\n")
    with pytest.raises(ValueError, match=r"empty: no .* found; write lines such as"):
        read(tmp_path / "empty")


def test_qrels_are_read_from_both_formats(tmp_path: Path) -> None:
    write(
        tmp_path,
        trec_txt="q1 0 d1 2\nq1 0 d2 0\nq2\t0\td1\t-1\n",
        beir_tsv="query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
    )
    expected = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}
    assert read_qrels(tmp_path / "trec.txt") == read_qrels(tmp_path / "beir.tsv") == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 0 d1", "the grade must be an integer, got 'd1'"),
        ("q1 d1", "write .*, got 2 columns"),
        ("q1 0 d1 2 x", "write .*, got 5 columns"),
        ("q1 0 d9 two", "the grade must be an integer, got 'two'"),
        ("q1 0 d1 2", "'d1' already has the grade 1 for 'q1'; keep one"),
    ],
)
def test_a_malformed_judgement_is_reported_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, qrels_txt=f"q1 0 d1 1\nq1 0 d1 1\n{line}\n")
    with pytest.raises(ValueError, match=rf"qrels\.txt:3: {message}"):
        read_qrels(tmp_path / "qrels.txt")


def test_a_run_is_ordered_by_score_and_then_by_rank(tmp_path: Path) -> None:
    corpus = {id: SearchHit(id, f"text {id}") for id in "abc"}
    write(tmp_path, run_trec="q1 Q0 a 3 1.0 tag\nq1 Q0 b 2 1.0 tag\nq1 Q0 c 9 2.5 tag\n")
    run = read_run(tmp_path / "run.trec", corpus)
    assert [(hit.id, hit.text, hit.score) for hit in run["q1"]] == [
        ("c", "text c", 2.5),
        ("b", "text b", 1.0),
        ("a", "text a", 1.0),
    ]
    assert [hit.id for hit in read_run(tmp_path / "run.trec", corpus, limit=1)["q1"]] == ["c"]
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        read_run(tmp_path / "run.trec", corpus, limit=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d2 2 1.0", "write query, Q0, .*, got 5 columns"),
        ("q1 Q0 d2 2 high tag", "the score must be a finite number, got 'high'"),
        ("q1 Q0 d2 2 nan tag", "the score must be a finite number, got 'nan'"),
        ("q1 Q0 d2 second 1.0 tag", "the rank must be an integer, got 'second'"),
        ("q1 Q0 d1 2 1.0 tag", "'d1' is already in line 1 for 'q1'"),
        ("q1 Q0 d9 2 1.0 tag", "the document 'd9' is not in the corpus"),
        ("q9 Q0 d1 2 1.0 tag", "the query 'q9' is not among the queries"),
    ],
)
def test_a_malformed_candidate_is_reported_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    write(
        tmp_path,
        corpus_jsonl=CORPUS,
        queries_jsonl='{"_id": "q1", "text": "q"}\n',
        qrels_tsv="query-id\tcorpus-id\tscore\nq1\td1\t1\n",
        run_trec=f"q1 Q0 d1 1 2.0 tag\n{line}\n",
    )
    with pytest.raises(ValueError, match=rf"run\.trec:2: {message}"):
        read_beir(tmp_path, tmp_path / "run.trec")


def test_a_beir_folder_is_read_with_the_candidates_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    queries = '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n{"_id": "q3", "text": "three"}\n'
    write(tmp_path, queries_jsonl=queries, other_txt="q1 0 d1 3\n")
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.write(CORPUS + '{"_id": "d3", "text": "never read"}\n')
    with gzip.open(tmp_path / "run.gz", "wt") as file:
        file.write("q1 Q0 d1 1 2.0 t\nq1 Q0 d2 2 1.0 t\nq2 Q0 d1 1 2.0 t\n")
    found = read_beir(tmp_path, tmp_path / "run.gz")
    assert found.queries == {"q1": "one", "q2": "two"}
    assert found.judgements == {"q1": {"d2": 1}}
    assert found.candidates["q1"] == (
        SearchHit("d1", "first", "One", score=2.0),
        SearchHit("d2", "second", score=1.0),
    )
    assert read_beir(tmp_path, tmp_path / "run.gz", qrels=tmp_path / "other.txt").judgements == {"q1": {"d1": 3}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "t"}', "'_id' or 'id' is missing"),
        ('{"_id": "d1", "text": "t"}', "the id 'd1' is already in use"),
        ('{"_id": "d9", "text": null}', "'text' must be a string, got None"),
    ],
)
def test_a_malformed_document_is_reported_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, corpus_jsonl=CORPUS + line)
    with pytest.raises(ValueError, match=rf"corpus\.jsonl:3: {message}"):
        read_corpus(tmp_path / "corpus.jsonl")


def test_a_query_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, queries_jsonl='{"_id": "q", "text": "a"}\n{"_id": "q", "text": "b"}\n')
    with pytest.raises(ValueError, match=r"queries\.jsonl:2: the id 'q' is already in use"):
        read_queries(tmp_path / "queries.jsonl")


def test_a_cut_archive_is_reported(tmp_path: Path) -> None:
    whole = gzip.compress(b"q1 0 d1 1\n" * 1000)
    (tmp_path / "qrels.gz").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match=r"qrels\.gz:\d+: the file cannot be decompressed \(.*\); download it again"):
        read_qrels(tmp_path / "qrels.gz")


@pytest.mark.parametrize("content", [b"q1 0 d1 1\n", gzip.compress(b"q1 0 d1 1\n", mtime=0)[:10] + b"\xff" * 20])
def test_what_is_no_archive_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "qrels.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"qrels\.gz:\d+: the file cannot be decompressed \(.*\); download it again"):
        read_qrels(tmp_path / "qrels.gz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no qrels\.tsv or qrels/test\.tsv; name a folder"):
        read_beir(tmp_path, tmp_path / "run.trec")
