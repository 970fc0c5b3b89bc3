"""Judgements, runs and collections as people have them: what comes of every oddity."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ir_measures")

import numpy as np

from ksdk_rerank import SearchHit
from ksdk_rerank.evaluation import (
    answers_to,
    evaluate,
    read_beir,
    read_corpus,
    read_qrels,
    read_queries,
    read_questions,
    read_run,
)

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
assert NFC != NFD

EXPECTED = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
QRELS: dict[str, bytes] = {
    "TREC": b"q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n",
    "TREC with tabs": b"q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t1\n",
    "no line end at the end": b"q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1",
    "line ends of Windows": b"q1 0 d1 2\r\nq1 0 d2 0\r\nq2 0 d1 1\r\n",
    "blank lines and white space": b"\n  q1  0   d1 2  \n \t \nq1 0 d2 0\n\nq2 0 d1 1\n\n",
    "blank lines of other white space": "\u2028\n\u3000\nq1 0 d1 2\nq1 0 d2 0\n\x85\nq2 0 d1 1\n".encode(),
    "comments": b"# made by hand\nq1 0 d1 2\n  # q1 0 d9 1\n#q1 0 d8 1\nq1 0 d2 0\nq2 0 d1 1\n",
    "a byte order mark": b"\xef\xbb\xbfq1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n",
    "a mark before a comment": b"\xef\xbb\xbf# c\nq1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n",
    "UTF-16": "q1 0 d1 2\r\nq1 0 d2 0\r\nq2 0 d1 1\r\n".encode("utf-16"),
    "BEIR": b"query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    "BEIR without a heading": b"q1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    "BEIR, a comment before the heading": b"# c\n\nquery-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    "another heading": b"qid\tdocid\trelevance\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    "quotation marks": b'"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t"2"\n"q1"\t"d2"\t"0"\n"q2"\t"d1"\t"1"\n',
    "grades of a table of floats": b"q1\td1\t2.0\nq1\td2\t0.0\nq2\td1\t1e0\n",
    "a judgement twice": b"q1 0 d1 2\nq1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n",
    "other iterations": b"q1 Q0 d1 2\nq1 1 d2 0\nq2 x d1 +1\n",
}

WRONG_QRELS = {
    b"q1 0 d1 2\nq1 0 d1 1\n": r":2: 'd1' already has the grade 2 for 'q1'; keep one",
    b"q1 0 d1 1.5\n": r":1: the grade must be an integer, got '1\.5'",
    b"q1 0 d1 2147483648\n": r":1: the grade must fit in 32 bits, got '2147483648'",
    b"q1 0 d1 1e999999999999\n": r":1: the grade must .*, got '1e999999999999'",
    b"q1 0 d1 nan\n": r":1: the grade must be an integer, got 'nan'",
    b"q1 0 d1 1_0\n": r":1: the grade must be an integer, got '1_0'",
    b"q1\td1\t\n": r":1: ",
    b"q1\t\t1\n": r":1: ",
    b'q1\t""\t1\n': r":1: the document id is empty; add it",
    b"q1,d1,1\n": r":1: write query, 0, document and grade .*, got 1 columns",
    b"q1 d1\n": r":1: write query, .*, got 2 columns",
    b"q1 0 d1 2 x\n": r":1: write query, .*, got 5 columns",
    b"q1 0 d1\n": r":1: the grade must be an integer, got 'd1'",
    b"q1 0 d1 1\nq1 0 caf\xe9 1\n": r":2: not valid UTF-8 \(.*\); save the file as UTF-8",
    "q1 0 d1 1\n".encode("utf-16-le"): r":1: not UTF-8 text \(it contains null characters\); save the file as UTF-8",
    "q1 0 d1 1\n".encode("utf-16")[:-1]: r":1: not valid utf-16-le",
    b"# nothing\n\n": r": no judgements found; write lines such as",
    b"": r": no judgements found; write lines such as",
}


@pytest.mark.parametrize("content", QRELS.values(), ids=QRELS)
def test_judgements_are_the_same_however_they_are_written(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_bytes(content)
    assert read_qrels(tmp_path / "qrels") == EXPECTED


@pytest.mark.parametrize(("content", "message"), WRONG_QRELS.items())
def test_judgements_that_cannot_be_read_are_reported_with_file_and_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "qrels").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path}/qrels{message}"):
        read_qrels(tmp_path / "qrels")


def test_ids_between_tabs_may_have_spaces_and_quotation_marks(tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text('a b\tdocs/my page.md\t1\n"say ""hi"""\t"x\ty"\n"q"\t"half\t1\n', "utf-8")
    with pytest.raises(ValueError, match=r"tsv:2: the grade must be an integer, got 'y\"'"):
        read_qrels(tmp_path / "qrels.tsv")
    (tmp_path / "qrels.tsv").write_text('a b\tdocs/my page.md\t1\n"say ""hi"""\t"x"\t1\n"q"\t"half\t1\n', "utf-8")
    assert read_qrels(tmp_path / "qrels.tsv") == {
        "a b": {"docs/my page.md": 1},
        'say "hi"': {"x": 1},
        "q": {'"half': 1},
    }


RUNS = {
    "spaces": "q1 Q0 b 1 2.5 bm25\nq1 Q0 a 2 1.5 bm25\n",
    "tabs, quotation marks": '"q1"\tQ0\t"b"\t1\t2.5\tbm25\n"q1"\tQ0\t"a"\t2\t1.5\tbm25\n',
    "not in order": "# run\nq1 Q0 a 2 1.5 bm25\nq1 Q0 b 1 2.5 bm25\n",
    "ranks that contradict the scores": "q1 Q0 a 1 1.5 bm25\nq1 Q0 b 2 2.5 bm25\n",
    "equal scores go by rank": "q1 Q0 a 2 1.5 bm25\nq1 Q0 b 1 1.5 bm25\n",
    "equal scores and ranks go by line": "q1 Q0 b 0 1.5 bm25\nq1 Q0 a 0 1.5 bm25\n",
    "line ends of Windows": "\ufeffq1 Q0 b 1 2.5 bm25\r\n\r\nq1 Q0 a 2 1.5 bm25\r\n",
}


@pytest.mark.parametrize("content", RUNS.values(), ids=RUNS)
def test_runs_are_the_same_however_they_are_written(content: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text(content, encoding="utf-8", newline="")
    found = read_run(tmp_path / "run", {"a": SearchHit("a", "text a"), "b": SearchHit("b", "text b")})
    assert {query: [(hit.id, hit.text) for hit in hits] for query, hits in found.items()} == {
        "q1": [("b", "text b"), ("a", "text a")]
    }


def test_a_limit_keeps_the_best_of_each_query(tmp_path: Path) -> None:
    (tmp_path / "run").write_text(RUNS["not in order"])
    corpus = {"b": SearchHit("b", "text")}  # the others are not looked up
    assert read_run(tmp_path / "run", corpus, limit=1) == {"q1": (SearchHit("b", "text", score=2.5),)}
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        read_run(tmp_path / "run", corpus, limit=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 b 2 1.0 dense", "a second system's run starts here: 'dense', after 'bm25' in line 1; put each"),
        ("q2 Q0 a 1 1.0 dense", "a second system's run starts here"),
        ("q1 Q0 a 2 1.0 bm25", "'a' is already in line 1 for 'q1'; keep one"),
        ("q1 Q0 b 2 1.0", "write query, Q0, .*, got 5 columns"),
        ("\tQ0\tb\t2\t1.0\tbm25", "the query id is empty; add it"),
        ("q1 Q0 b 2 inf bm25", "the score must be a finite number, got 'inf'"),
        ("q1 Q0 b 2 1,5 bm25", "the score must be a finite number, got '1,5'"),
        ("q1 Q0 b 1.5 1.0 bm25", "the rank must be an integer, got '1.5'"),
    ],
)
def test_a_run_that_is_not_one_is_reported(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text(f"q1 Q0 a 1 2.0 bm25\n{line}\n")
    with pytest.raises(ValueError, match=f"run:2: {message}"):
        read_run(tmp_path / "run", {"a": SearchHit("a", "text"), "b": SearchHit("b", "text")})
    (tmp_path / "run").write_text("# nothing\n")
    with pytest.raises(ValueError, match="run: no candidates found; write lines such as"):
        read_run(tmp_path / "run", {})


# Ids


@pytest.mark.parametrize("given", [7, 7.0, np.int64(7), np.float64(7), "7", np.str_("7")], ids=repr)
@pytest.mark.parametrize("found", ["7", 7])
def test_ids_are_compared_as_text(given: Any, found: Any) -> None:
    hits = [SearchHit("6", "six"), SearchHit(found, "seven")]
    for judgements in ({given: {given: 1}}, {given: [given]}):
        result = evaluate(["input-order"], {given: "seven"}, {given: hits}, judgements, ["MRR@10"])
        assert result.first_stage.metrics["MRR@10"].value == 0.5
        assert [query.id for query in result.queries] == ["7"]
        json.loads(result.to_json())


@pytest.mark.parametrize(("given", "found"), [(NFC, NFD), (NFD, NFC)])
def test_ids_are_the_same_however_their_accents_are_encoded(given: str, found: str, tmp_path: Path) -> None:
    for hit in (SearchHit(found, "text"), SearchHit("1", "text", source=f"docs/{found}.md#x")):
        assert answers_to(hit, [given]) == [given]
    queries, candidates = {found: "q"}, {found: [SearchHit(found, "text")]}
    result = evaluate(["input-order"], queries, candidates, {given: {given: 1}}, ["P@1"])
    assert result.first_stage.metrics["P@1"].value == 1.0
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": found, "text": "t"}))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": given, "text": "t"}))
    (tmp_path / "qrels.tsv").write_text(f"{found}\t{given}\t1\n", "utf-8")
    (tmp_path / "run").write_text(f"{found} Q0 {given} 1 1.0 t\n", "utf-8")
    beir = read_beir(tmp_path, tmp_path / "run")
    assert (list(beir.queries), list(beir.judgements), beir.candidates[NFC][0].id) == ([NFC], [NFC], NFC)
    assert list(read_corpus(tmp_path / "corpus.jsonl", only=[given])) == [NFC]


def test_one_id_of_two_types_is_one_or_an_error() -> None:
    hits = {"q": [SearchHit("7", "seven")]}
    same: Any = {"q": {7: 1, "7": 1}}
    assert evaluate(["input-order"], {"q": "q"}, hits, same, ["P@1"]).first_stage.metrics["P@1"].value == 1.0
    for changed, message in (
        ({"judgements": {"q": {7: 1, "7": 2}}}, r"judgements\['q'\]: the id '7' appears twice"),
        ({"queries": {"q": "a", 1: "b", "1": "c"}}, "queries: the id '1' appears twice"),
        ({"candidates": {"q": [SearchHit("7", "a"), SearchHit(7, "b")]}}, "has the candidate '7' twice"),  # type: ignore[arg-type]
    ):
        given: Any = {"queries": {"q": "q"}, "candidates": hits, "judgements": {"q": {"7": 1}}, **changed}
        with pytest.raises(ValueError, match=message):
            evaluate(["input-order"], **given)


def test_judgements_of_which_none_is_a_candidate_say_so_with_examples_of_both() -> None:
    hits = {"q": [SearchHit(f"ki_{n}", "text", source=f"docs/page-{n}.md") for n in range(5)]}
    for judgements, candidates in (
        ({"q": {"doc-1": 1, "doc-2": 0}}, "'ki_0', 'ki_1', 'ki_2', ..."),
        ({"q": ["doc-1", "doc-2"]}, "'docs/page-0.md', 'docs/page-1.md', 'docs/page-2.md', ..."),
    ):
        with pytest.raises(ValueError, match="no judged document is among the candidates") as caught:
            evaluate(["lexical"], {"q": "q"}, hits, judgements)
        assert f"the judgements name 'doc-1', 'doc-2', and the candidates are {candidates}; make" in str(caught.value)
    found = evaluate(["lexical"], {"q": "q"}, hits, {"q": {"doc-1": 1, "ki_1": 0}}, ["P@1"])
    assert found.first_stage.metrics["P@1"].value == 0.0  # the ids are of one kind, but what is relevant was not found


# Grades


@pytest.mark.parametrize(
    "grade",
    [1, 1.0, True, np.int64(1), np.uint8(1), np.float32(1), np.bool_(True), Decimal("1.0"), Fraction(2, 2), "1"],
)
def test_whole_numbers_of_any_type_are_grades(grade: Any) -> None:
    hits = {"q": [SearchHit("a", "t"), SearchHit("b", "t")]}
    result = evaluate(["input-order"], {"q": "q"}, hits, {"q": {"b": grade}})
    assert result.queries[0].grades == (0, 1)
    assert result.first_stage.metrics["MRR@10"].value == 0.5
    json.loads(result.to_json())


@pytest.mark.parametrize(
    ("grade", "what"),
    [
        (1.5, "must be an integer"),
        (float("nan"), "must be an integer"),
        (float("inf"), "must be an integer"),
        (Decimal("0.5"), "must be an integer"),
        (Fraction(1, 2), "must be an integer"),
        ("high", "must be an integer"),
        (None, "must be an integer"),
        ([1], "must be an integer"),
        (1j, "must be an integer"),
        (2**31, "must fit in 32 bits"),
        (-(2**31) - 1, "must fit in 32 bits"),
        (10**400, "must fit in 32 bits"),
        (1e300, "must fit in 32 bits"),
        (Decimal("1e999999"), "must fit in 32 bits"),
    ],
)
def test_other_grades_are_named_with_their_query(grade: Any, what: str) -> None:
    hits = {"q": [SearchHit("a", "t")]}
    with pytest.raises(ValueError, match=rf"judgements\['q'\]: the grade of 'a' {what}, got .*; write 0 for"):
        evaluate(["input-order"], {"q": "q"}, hits, {"q": {"a": grade}})


def test_large_grades_take_neither_memory_nor_another_order() -> None:
    hits = {"q": [SearchHit("a", "t"), SearchHit("b", "t")]}
    for scale in (1, 2**29):
        grades = {"q": {"a": scale, "b": 3 * scale, "c": 0, "d": -(2**31)}}
        values = evaluate(["input-order"], {"q": "q"}, hits, grades, ["nDCG@10", "P(rel=2)@1", "AP"])
        # a b instead of b a: (1 + 3 / log2(3)) / (3 + 1 / log2(3)) = 0.7967
        assert values.first_stage.metrics["nDCG@10"].value == pytest.approx(0.7967, abs=1e-4)
        assert values.first_stage.metrics["P(rel=2)@1"].value == (0.0 if scale == 1 else 1.0)
        assert values.first_stage.metrics["AP"].value == 1.0


# BEIR


def beir(folder: Path, **changed: str) -> Path:
    files = {
        "corpus.jsonl": '{"_id": "d1", "text": "one"}\n',
        "queries.jsonl": '{"_id": "q1", "text": "first"}\n',
        "qrels.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
        "run.trec": "q1 Q0 d1 1 1.0 t\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text + changed.get(name.partition(".")[0], ""), encoding="utf-8")
    return folder


def test_a_beir_folder_is_read_with_the_candidates_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    queries = '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n{"_id": "q3", "text": "three"}\n'
    (tmp_path / "queries.jsonl").write_text(queries)
    (tmp_path / "other.txt").write_text("q1 0 d1 3\n")
    documents = '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "title": "", "text": "second"}\n'
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.write(documents + '{"_id": "d3", "text": "never read"}\n')
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


def test_a_folder_without_judgements_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no qrels\.tsv or qrels/test\.tsv; name a folder"):
        read_beir(tmp_path, tmp_path / "run.trec")


@pytest.mark.parametrize(
    ("read", "line", "message"),
    [
        (read_corpus, '{"text": "t"}', "'_id' or 'id' is missing"),
        (read_corpus, '{"_id": "2", "text": null}', "'text' must be a string, got None"),
        (read_queries, '{"_id": "2", "text": " "}', "'text' must be text, got ' '"),
    ],
)
def test_a_malformed_record_is_reported_with_file_and_line(
    read: Callable[[Path], object], line: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "records.jsonl").write_text(f'{{"_id": "1", "text": "t"}}\n\n{line}\n')
    with pytest.raises(ValueError, match=rf"records\.jsonl:3: {message}"):
        read(tmp_path / "records.jsonl")


UNUSED = {
    "a blank text": '{"_id": "x", "text": " "}\n',
    "no text": '{"_id": "x"}\n',
    "a text of another type": '{"_id": "x", "text": ["a"]}\n',
    "half a character": '{"_id": "x", "text": "caf\\ud83d"}\n',
    "an id twice": '{"_id": "x", "text": "a"}\n{"_id": "x", "text": "b"}\n',
    "no id": '{"text": "a"}\n',
    "an id that is null": '{"_id": null, "text": "a"}\n',
    "an id that is blank": '{"_id": " ", "text": "a"}\n',
    "an id of another type": '{"_id": {"a": 1}, "text": "a"}\n',
    "no object": "[1]\n",
    "a cut line": '{"_id": "x", "te',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("lines", UNUSED.values(), ids=UNUSED)
@pytest.mark.parametrize("name", ["corpus", "queries"])
def test_a_record_that_is_not_needed_may_be_anything(name: str, lines: str, tmp_path: Path) -> None:
    found = read_beir(beir(tmp_path, **{name: lines}), tmp_path / "run.trec")
    assert (dict(found.queries), found.candidates["q1"][0].text) == ({"q1": "first"}, "one")


def test_a_line_that_is_no_text_matters_only_if_it_is_needed(tmp_path: Path) -> None:
    beir(tmp_path)
    with (tmp_path / "corpus.jsonl").open("ab") as file:
        file.write(b'{"_id": "x", "text": "caf\xe9"}\n')
    assert read_beir(tmp_path, tmp_path / "run.trec").candidates["q1"]
    (tmp_path / "run.trec").write_text("q1 Q0 x 1 1.0 t\n")
    with pytest.raises(ValueError, match=r"corpus\.jsonl:2: not valid UTF-8"):
        read_beir(tmp_path, tmp_path / "run.trec")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("run", "q1 Q0 x 2 0.5 t\n", r"run\.trec:2: the document 'x' is not in the corpus"),
        ("run", "q9 Q0 d1 2 0.5 t\n", r"run\.trec:2: the query 'q9' is not among the queries"),
        ("queries", '{"_id": "q1", "text": "b"}\n', r"queries\.jsonl:2: the id 'q1' is already in use"),
        ("corpus", '{"_id": "d1", "text": "b"}\n', r"corpus\.jsonl:2: the id 'd1' is already in use"),
    ],
)
def test_a_record_that_is_needed_must_be_sound(name: str, lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_beir(beir(tmp_path, **{name: lines}), tmp_path / "run.trec")


def test_a_broken_line_is_blamed_if_something_is_missing(tmp_path: Path) -> None:
    beir(tmp_path, run="q1 Q0 x 2 0.5 t\n", corpus='{"_id": "x", "te')
    with pytest.raises(ValueError, match=r"corpus\.jsonl:2: not valid JSON"):
        read_beir(tmp_path, tmp_path / "run.trec")
    assert read_beir(tmp_path, tmp_path / "run.trec", limit=1).candidates["q1"]  # x is cut off before it is looked up


@pytest.mark.parametrize("read", [read_qrels, read_questions, read_corpus])
def test_a_file_that_never_ends_a_line_is_refused(read: Callable[[Path], object]) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero")
    with pytest.raises(ValueError, match="/dev/zero:1: the line is longer than 64 MB; name a text file"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"q1 0 d1 1\n" * 1000, mtime=0)[:-12],
        gzip.compress(b"q1 0 d1 1\n", mtime=0)[:10] + b"\xff" * 20,
        b"q1 0 d1 1\n",
    ],
)
def test_an_archive_that_is_cut_or_none_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "qrels.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"qrels\.gz:\d+: the file cannot be decompressed \(.*\); download it again"):
        read_qrels(tmp_path / "qrels.gz")
