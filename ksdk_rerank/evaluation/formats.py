"""Readers for standard collection formats: TREC qrels and runs, and BEIR folders.

`ir-measures` reads qrels and runs, too. But: its errors name neither file nor line, it knows no headings, comments or
quotation marks, and it accepts contradictory grades.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Collection as Ids
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ksdk_rerank._arguments import finite, integer_or_none
from ksdk_rerank.evaluation.ids import by_id, grade_of, id_of
from ksdk_rerank.evaluation.input_lines import Line, lines_of, quoted
from ksdk_rerank.knowledgesdk.search_results import SearchHit

__all__ = ["Collection", "read_beir", "read_corpus", "read_qrels", "read_queries", "read_run"]

T = TypeVar("T")

_QRELS = ("qrels.tsv", "qrels/test.tsv")
_GRADE_HEADINGS = {"score", "grade", "relevance", "rel", "label"}


@dataclass(frozen=True, slots=True)
class Collection:
    """Queries, candidates and judgements, ready to pass to `evaluate`."""

    queries: Mapping[str, str]
    candidates: Mapping[str, tuple[SearchHit, ...]]
    judgements: Mapping[str, Mapping[str, int]]


def read_beir(
    folder: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    qrels: str | os.PathLike[str] | None = None,
    limit: int | None = None,
) -> Collection:
    """Read a folder in BEIR's layout, with candidates from a TREC run.

    Args:
        folder: holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels.tsv` or
            `qrels/test.tsv`.
        run: the first stage's candidates as a TREC run. Only the texts of these candidates are kept in memory.
        qrels: judgements from another file, in BEIR's or TREC's format.
        limit: maximum candidates per query; None takes all.

    Files may be gzipped (`.gz`). Queries that are neither judged nor in the run are left out. Malformed documents and
    queries are skipped if every document and query that is needed is found in other lines.

    Raises:
        ValueError: a line that is needed is malformed, or the run names a query or document that does not exist. The
            message gives file and line.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    judgements = read_qrels(qrels if qrels is not None else _existing(folder, *_QRELS))
    ranked = _ranked(run, limit)
    documents = {hit.document for hits in ranked.values() for hit in hits}
    corpus = _read(_existing(folder, "corpus.jsonl"), _hit, only=documents)
    queries = _read(_existing(folder, "queries.jsonl"), _query, only={*judgements, *ranked})
    return Collection(queries, _candidates(ranked, corpus, queries), judgements)


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements in TREC's or BEIR's format, as {query id: {document id: grade}}.

    q1 0 d17 2                           TREC: query, iteration, document, grade, separated by white space or tabs
    query-id<tab>corpus-id<tab>score     BEIR: this heading, then such lines
    q1<tab>d17<tab>2

    Lines that begin with `#` are comments. Quotation marks around a tab-separated column are removed, and ids are
    converted to Unicode's composed form (NFC). A grade is a whole number of at most 32 bits; `1.0` is accepted.

    Raises:
        ValueError: a line is malformed, a document has two grades for a query, or there are no judgements. The message
            gives the file, and the line if there is one.
        OSError: the file cannot be read.
    """
    judgements: dict[str, dict[str, int]] = {}
    for row, (line, columns) in enumerate(_rows(path, 3, 4)):
        if row == 0 and columns[-1].lower() in _GRADE_HEADINGS:
            continue
        if len(columns) not in (3, 4):
            raise line.wrong(f"write query, 0, document and grade (or BEIR's 3 columns), got {len(columns)} columns")
        query, document = _ids(line, columns[0], columns[-2])
        try:
            grade = grade_of(columns[-1])
        except ValueError as error:
            raise line.wrong(f"the grade {error}, got {quoted(columns[-1])}") from None
        known = judgements.setdefault(query, {})
        if known.setdefault(document, grade) != grade:
            raise line.wrong(f"{document!r} already has the grade {known[document]} for {query!r}; keep one of the two")
    if not judgements:
        raise ValueError(f"{path}: no judgements found; write lines such as: q1 0 d17 1")
    return judgements


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read `queries.jsonl` as {id: text}. Its lines look like {"_id": "q1", "text": "..."}."""
    return _read(path, _query)


def read_corpus(path: str | os.PathLike[str], *, only: Ids[str] | None = None) -> dict[str, SearchHit]:
    """Read `corpus.jsonl`, as hits by their ids. Its lines look like {"_id": "d1", "title": "...", "text": "..."}.

    With `only`, just these ids are read. A line whose id cannot be read is then skipped, if all of these ids are found
    in other lines.
    """
    return _read(path, _hit, only=None if only is None else {id_of(id) for id in only})


def _read(
    path: str | os.PathLike[str], made: Callable[[Line, str], T], *, only: Ids[str] | None = None
) -> dict[str, T]:
    """Call `made` with each line and its id, and return the results by id."""
    found: dict[str, T] = {}
    unreadable: ValueError | None = None
    for line in lines_of(path):
        try:
            id = line.id_in("_id", "id")
        except ValueError as error:
            if only is None:
                raise
            unreadable = unreadable or error
            continue
        if only is not None and id not in only:
            continue
        if id in found:
            raise line.wrong(f"the id {id!r} is already in use; keep one of the two")
        found[id] = made(line, id)
    if unreadable is not None and only is not None and any(id not in found for id in only):
        raise unreadable
    return found


def _query(line: Line, id: str) -> str:
    return line.text_in("text", "query", "question")


def _hit(line: Line, id: str) -> SearchHit:
    title, text, url = (line.fields.get(name) for name in ("title", "text", "url"))
    if not isinstance(text, str):  # blank is fine: public collections contain empty documents
        raise line.wrong(f"'text' must be a string, got {quoted(text)}")
    return SearchHit(
        id, text, title if isinstance(title, str) and title else None, url if isinstance(url, str) else None
    )


def read_run(
    path: str | os.PathLike[str], corpus: Mapping[str, SearchHit], *, limit: int | None = None
) -> dict[str, tuple[SearchHit, ...]]:
    """Read candidates from a TREC run, with their texts from `corpus`. Lines look like `q1 Q0 d17 1 12.5 bm25`.

    Candidates are sorted by score, as in trec_eval, then by rank, then by line. Lines that begin with `#` are comments.

    Args:
        path: the run, which may be gzipped (`.gz`).
        corpus: documents by id, as `read_corpus` returns them.
        limit: maximum candidates per query; None takes all.

    Raises:
        ValueError: a line is malformed, a query has a document twice, the file holds runs of two systems, a score is
            not a finite number, a document is not in `corpus`, or the file has no candidates. The message gives the
            file, and the line if there is one.
        OSError: the file cannot be read.
    """
    return _candidates(_ranked(path, limit), by_id(corpus, "corpus"), None)


@dataclass(frozen=True, slots=True)
class _Place:
    line: Line
    document: str
    rank: int
    score: float


def _ranked(path: str | os.PathLike[str], limit: int | None) -> dict[str, list[_Place]]:
    limit = integer_or_none("limit", limit, advice="use None for all candidates")
    found: dict[str, dict[str, _Place]] = {}
    system: tuple[str, int] | None = None
    for line, columns in _rows(path, 6):
        if len(columns) != 6:
            raise line.wrong(f"write query, Q0, document, rank, score and tag, got {len(columns)} columns")
        query, document = _ids(line, columns[0], columns[2])
        rank, score, tag = columns[3:]
        system = system or (tag, line.number)
        if tag != system[0]:
            raise line.wrong(
                f"a second system's run starts here: {tag!r}, after {system[0]!r} in line {system[1]};"
                " put each system in its own file"
            )
        value = finite(score)
        if value is None:
            raise line.wrong(f"the score must be a finite number, got {quoted(score)}")
        places = found.setdefault(query, {})
        if document in places:
            raise line.wrong(
                f"{document!r} is already in line {places[document].line.number} for {query!r}; keep one of the two"
            )
        try:
            places[document] = _Place(line, document, int(rank), value)
        except ValueError:
            raise line.wrong(f"the rank must be an integer, got {quoted(rank)}") from None
    if not found:
        raise ValueError(f"{path}: no candidates found; write lines such as: q1 Q0 d17 1 12.5 bm25")
    return {
        query: sorted(places.values(), key=lambda place: (-place.score, place.rank))[:limit]
        for query, places in found.items()
    }


def _candidates(
    ranked: Mapping[str, list[_Place]], corpus: Mapping[str, SearchHit], queries: Ids[str] | None
) -> dict[str, tuple[SearchHit, ...]]:
    candidates = {}
    for query, places in ranked.items():
        if queries is not None and query not in queries:
            raise places[0].line.wrong(f"the query {query!r} is not among the queries; use the queries of this run")
        hits = []
        for place in places:
            if place.document not in corpus:
                raise place.line.wrong(
                    f"the document {place.document!r} is not in the corpus; use the corpus of this run"
                )
            hits.append(replace(corpus[place.document], score=place.score))
        candidates[query] = tuple(hits)
    return candidates


def _rows(path: str | os.PathLike[str], *counts: int) -> Iterator[tuple[Line, list[str]]]:
    """The lines of a table with their columns, without comments.

    A line is split at tabs if that gives one of `counts` columns, otherwise at white space. Quotation marks around a
    tab-separated column belong to the file format and are removed.
    """
    for line in lines_of(path):
        text = line.text
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        columns = [_unquoted(column.strip()) for column in text.split("\t")]
        yield line, columns if len(columns) in counts else text.split()


def _unquoted(column: str) -> str:
    if len(column) > 1 and column[0] == column[-1] == '"':
        return column[1:-1].replace('""', '"').strip()
    return column


def _ids(line: Line, query: str, document: str) -> tuple[str, str]:
    query, document = id_of(query), id_of(document)
    if not (query and document):
        raise line.wrong(f"the {'document' if query else 'query'} id is empty; add it")
    return query, document


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.exists():
                return path
    raise FileNotFoundError(f"{folder} has no {' or '.join(names)}; name a folder in BEIR's layout")
