"""Whatever is in a file or a store: it is read, or a `ValueError` names the line, in time that grows with the size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("ir_measures")

from ksdk_rerank import SearchHit
from ksdk_rerank.compose._cache_entries import decoded
from ksdk_rerank.evaluation import (
    answers_to,
    read_beir,
    read_corpus,
    read_qrels,
    read_queries,
    read_questions,
    read_run,
)
from ksdk_rerank.evaluation.candidates import _decoded as hits_of
from ksdk_rerank.evaluation.qrels import QueryJudgements

CORPUS = {"d1": SearchHit("d1", "one"), "d2": SearchHit("d2", "two")}
READERS: dict[str, Callable[[Path], Any]] = {
    "questions": read_questions,
    "qrels": read_qrels,
    "queries": read_queries,
    "corpus": read_corpus,
    "corpus, some": partial(read_corpus, only={"d1"}),
    "run": partial(read_run, corpus=CORPUS),
}

word = st.sampled_from(
    ["q1", "d1", "0", "1", "-1", "1.5", "nan", "1e9", "#", '"', '"q1"', "\t", " ", "", "\x0b", "é", "\u2028"]
)
rows = st.lists(st.lists(word, max_size=7).map("\t".join) | st.lists(word, max_size=7).map(" ".join), max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
names = st.sampled_from(["_id", "id", "text", "title", "url", "question", "query", "answers", "score"])
records = st.lists(st.dictionaries(names, values, max_size=5).map(json.dumps), max_size=4)
contents = (
    (rows | records).map("\n".join).map(str.encode)
    | st.binary(max_size=200)
    | rows.map("\n".join).map(lambda text: text.encode("utf-16"))
)
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@relaxed
@given(contents)
@example(b"\xff\xfe\x00")
@example(b"\x1f\x8b")
@example("\u2028".encode())
@example("\u3000\n\t\x0b\x85".encode())
@example(b'{"id": ' + b"9" * 5000 + b"}")
def test_a_file_is_read_or_its_line_is_named(read: Callable[[Path], Any], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    for suffix in ("", ".gz"):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        error = _error_of(read, path)
        assert error is None or (str(error).startswith(str(path)) and not isinstance(error, UnicodeError)), error


def _error_of(read: Callable[[Path], Any], path: Path) -> ValueError | None:
    try:
        read(path)
    except ValueError as error:
        return error
    return None


@relaxed
@given(contents, contents, contents, contents)
def test_a_folder_is_read_or_the_file_is_named(
    tmp_path: Path, corpus: bytes, queries: bytes, qrels: bytes, run: bytes
) -> None:
    for name, content in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels), ("run", run)):
        (tmp_path / name).write_bytes(content)
    with suppress(ValueError):
        found = read_beir(tmp_path, tmp_path / "run")
        assert {*found.candidates} <= {*found.queries}


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=4), st.none() | st.text(max_size=30))
def test_any_texts_may_be_ids_sources_and_answers(id: str, answers: list[str], source: str | None) -> None:
    hit = SearchHit(id, "text", source=source)
    assert {*answers_to(hit, answers)} <= {*answers}
    judged = QueryJudgements([hit], answers)
    assert len(judged.grades()) == 1
    assert {*judged.missed()} <= {*answers}


def fields(**sound: Any) -> st.SearchStrategy[str]:
    """An entry that is sound but for any of its fields."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(sound, values)).map(lambda odd: json.dumps(sound | odd))


results = st.lists(st.lists(values, min_size=3, max_size=5), max_size=3)
RANKING: dict[str, Any] = {"written": 0, "results": [], "reranked_by": "x", "truncated": 0, "duplicates": []}
RANKING |= {"query_truncated": False, "usage": {}, "seconds": 1.0, "first": False}
entries = (
    values
    | values.map(json.dumps)
    | st.binary(max_size=50)
    | fields(**RANKING)
    | st.tuples(results, st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), max_size=3)).map(
        lambda pair: json.dumps(RANKING | {"results": pair[0], "duplicates": pair[1]})
    )
    | st.lists(fields(id="1", text="t", title=None, score=0.5, metadata={}), max_size=2).map(
        lambda hits: f"[{','.join(hits)}]"
    )
)


@relaxed
@given(entries, st.none() | st.just(10.0))
@example("[" * 100_000, None)
@example('{"a":' * 100_000, None)
@example("9" * 100_000, None)
@example(json.dumps(RANKING | {"results": [[0, 0.5, 1.0, []], [1, 0.5, 1.0, []]]}), None)
def test_an_entry_of_a_store_is_an_answer_or_a_miss(entry: object, ttl: float | None) -> None:
    read = decoded(entry, ["one", "two"], ttl)
    if read is not None:
        assert sorted([*read.ranking.indices, *read.ranking.duplicates]) == [0, 1]
        assert {*read.ranking.duplicates.values()} <= {*read.ranking.indices}
        assert read.seconds >= 0
    for hit in hits_of(entry) or ():
        assert isinstance(hit.text, str)


LINES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "questions": (read_questions, '{{"question": "q{n}", "answers": ["a{n}"]}}\n'),
    "qrels": (read_qrels, "q{n}\t0\td{n}\t1\n"),
    "one query": (read_qrels, "q 0 d{n} 1\n"),
    "queries": (read_queries, '{{"_id": "{n}", "text": "q{n}"}}\n'),
    "corpus": (read_corpus, '{{"_id": "{n}", "text": "q{n}"}}\n'),
    "broken lines": (partial(read_corpus, only=()), '{{"_id": "{n}", \n'),
    "run": (
        partial(read_run, corpus=dict.fromkeys((f"d{n}" for n in range(15_000)), CORPUS["d1"])),
        "q Q0 d{n} 1 1.0 t\n",
    ),
    "comments and blank lines": (read_qrels, "# {n}\n\n"),
}


@pytest.mark.parametrize(("read", "line"), LINES.values(), ids=LINES)
def test_reading_takes_time_in_proportion_to_the_lines(read: Callable[[Path], Any], line: str, tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        (tmp_path / "file").write_text("".join(line.format(n=n) for n in range(count)))
        started = time.process_time()
        with suppress(ValueError):
            read(tmp_path / "file")
        return time.process_time() - started

    few = min(seconds(1_500) for _ in range(3))
    assert min(seconds(15_000) for _ in range(3)) < 50 * max(few, 0.01)  # ten times the lines


@pytest.mark.parametrize("piece", ["a", "\t", " ", '"', "[", "{", "#", "9", "\\", "/", "é"])
def test_one_long_line_takes_time_in_proportion_to_its_length(piece: str, tmp_path: Path) -> None:
    def seconds(length: int) -> float:
        (tmp_path / "file").write_text(piece * length, encoding="utf-8")
        started = time.process_time()
        for read in READERS.values():
            with suppress(ValueError):
                read(tmp_path / "file")
        answers_to(SearchHit("1", "t", source=piece * length), [piece * 100, f"x/{piece}"])
        return time.process_time() - started

    few = min(seconds(10_000) for _ in range(3))
    assert min(seconds(100_000) for _ in range(3)) < 50 * max(few, 0.01)
